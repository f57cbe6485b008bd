"""Explaining every frame: frame by frame with a memory, against the whole cold clip for every frame. One thread.

Both paths alternate in one process over the same frames; memory is the peak of a process that ran only one of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

import rtx
from benchmarks.record import keep, show
from rtx.engine.engine import Engine
from rtx.nets.causal import Past
from rtx.scenes.film import film
from rtx.scenes.scene import Cast

GOAL = 10.0
PATHS = ("frame by frame", "clip by clip")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--frames", type=int, default=150)
    options.add_argument("--explainer", default="cam")
    options.add_argument("--only", choices=PATHS, help="run one path and print its memory")
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps(_memory(chosen.only, chosen.explainer)))
        return
    ms = _alternating(chosen.frames, chosen.explainer)
    memory = {
        path: json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.continual", "--only", path, "--explainer", chosen.explainer],
                capture_output=True, text=True, check=True,
            ).stdout
        )
        for path in PATHS
    }  # fmt: skip
    medians = {path: round(statistics.median(ms[path]), 3) for path in PATHS}
    ratios = [clip / frame for frame, clip in zip(ms[PATHS[0]], ms[PATHS[1]], strict=True)]
    ratio = round(statistics.median(ratios), 2)
    rows = [[path, medians[path], memory[path]["grown_mb"], memory[path]["state_mb"]] for path in PATHS]
    show(f"explaining every frame, {chosen.explainer}: {ratio} times cheaper (goal {GOAL})",
         ["path", "ms a frame", "MB grown", "MB kept a stream"], rows)  # fmt: skip
    keep("continual", {
        "goal_ratio": GOAL, "model": "figures", "explainer": chosen.explainer, "threads": 1, "precision": "fp32",
        "ms_per_frame": medians, "ratio": ratio, "ratio_quartiles": [round(q, 2) for q in statistics.quantiles(ratios)],
        "frames": chosen.frames, "memory": memory,
    })  # fmt: skip


def _engine(explainer: str, continual: bool) -> Engine:
    return Engine(rtx.load("figures", device="cpu", threads=1), explainer, continual=continual)


def _alternating(count: int, explainer: str) -> dict[str, list[float]]:
    """Milliseconds of each frame on each path, the two in turn."""
    pictures = film(Cast.draw(1, held_out=True), count + 16, 15, 112, 112).frames
    engine = _engine(explainer, True)
    past = Past(16)
    ms: dict[str, list[float]] = {path: [] for path in PATHS}
    for number in range(count + 16):
        took = {PATHS[0]: _ms(lambda at=number: engine.run(pictures[None, at : at + 1], pasts=[past]))}
        if number >= 15:
            took[PATHS[1]] = _ms(lambda at=number: engine.run(pictures[None, at - 15 : at + 1]))
        if number >= 16:
            for path, value in took.items():
                ms[path].append(value)
    return ms


def _ms(work: Any) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _memory(path: str, explainer: str) -> dict[str, float]:
    """Peak memory beyond what loading took, and what a stream keeps between frames, in MB."""
    engine = _engine(explainer, path == PATHS[0])
    pictures = np.zeros((40, 112, 112, 3), np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    past = Past(16)
    for number in range(16, 40):
        if engine.follows:
            engine.run(pictures[None, number : number + 1], pasts=[past])
        else:
            engine.run(pictures[None, number - 16 : number])
    tensors = [*past.layers.values(), *([past.features] if past.features is not None else [])]
    state = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"grown_mb": round(grown, 1), "state_mb": round(state, 2)}


if __name__ == "__main__":
    main()
