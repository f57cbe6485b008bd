"""What explaining costs: (classify + explain) / classify, in turns in one process (Fuad et al. 2020, Table II)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np

from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values

PAIRS = 3
"""Of a pass with and one without, a clip; the first of all warms up and does not count."""


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    clip = example.frames[None]

    def classify() -> None:
        assert backend.forward(clip, [None]).logits is not None
        backend.finish()

    values: Values = {}
    classify()
    for name in explainers:
        engines = [Engine(backend, f"{name}{step}", continual=False) for step in ("", " | selective")]
        for engine in engines:
            engine.run(clip)
        works: list[Callable[[], object]] = [classify, *(partial(engine.run, clip) for engine in engines)]
        turns = [[_ms(work) for work in works] for _ in range(PAIRS)]
        plain, with_selective = ([turn[i] / turn[0] for turn in turns] for i in (1, 2))
        values[name] = {
            "classify, ms": round(median(turn[0] for turn in turns), 3),
            "explain, ms": round(median(turn[1] - turn[0] for turn in turns), 3),
            "ratio": round(median(plain), 5),
            "selective too, ms": round(median(turn[2] - turn[0] for turn in turns), 3),
            "ratio with selective": round(median(with_selective), 5),
        }
    return values


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


OVERHEAD = Study(
    "overhead",
    ("ksigma", "cam", "saliency", "grad_cam", "guided_backprop", "guided_grad_cam", "dtd", "pyramid"),
    measure,
    "Medians over clips, of medians of turns: a pass that classifies, and one that explains, too. ratio: the latter "
    "over the former. Clips are already decoded and of the network's size.",
    middle=np.median,
)
