"""What explaining costs beside classifying: ours, and in the same run other packages', on three networks.

Time: (classify + explain) / classify, in alternating pairs in one process; what lies below the noise of that is timed
apart and stated as a share of the forward pass. Memory: the peak beyond the network's own, in a process of its own.
`python -m benchmarks.explainers [--networks c3d,r3d-18,i3d] [--rounds 9]`; `--methods pyramid` measures only that anew,
and keeps it with its commit among what was measured before.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rtx
from benchmarks import peers
from benchmarks.record import RESULTS, keep, show
from rtx.explain.registry import DECLARED, parse
from rtx.explain.run import explain
from rtx.machine import commit, cores
from rtx.nets.c3d import C3D
from rtx.nets.forward import Forward, Network
from rtx.nets.resnet3d import ResNet3D

LOW, HIGH = -1.0, 1.0
"""Bounds of a pixel."""
OURS = (*(of.name for of in DECLARED.values() if not of.is_step), "cam | selective")
PEERS: dict[str, dict[str, Callable[[Network], peers.Peer]]] = {
    "ksigma": {"pytorch-grad-cam FEM": lambda n: peers.pytorch_grad_cam(n, _last(n), "FEM")},
    "cam": {"torch-cam CAM": lambda n: peers.torch_cam(n, _last(n), "CAM")},
    "grad_cam": {
        "torch-cam GradCAM": lambda n: peers.torch_cam(n, _last(n), "GradCAM"),
        "captum LayerGradCam": lambda n: peers.captum(n, _last(n), "LayerGradCam"),
        "pytorch-grad-cam GradCAM": lambda n: peers.pytorch_grad_cam(n, _last(n), "GradCAM"),
    },
    "grad_cam_pp": {"torch-cam GradCAMpp": lambda n: peers.torch_cam(n, _last(n), "GradCAMpp")},
    "layer_cam": {"torch-cam LayerCAM": lambda n: peers.torch_cam(n, _last(n), "LayerCAM")},
    "saliency": {"captum Saliency": lambda n: peers.captum(n, _last(n), "Saliency")},
    "guided_backprop": {"captum GuidedBackprop": lambda n: peers.captum(n, _last(n), "GuidedBackprop")},
    "guided_grad_cam": {"captum GuidedGradCam": lambda n: peers.captum(n, _last(n), "GuidedGradCam")},
    "dtd": {"zennit": lambda n: peers.zennit_deep_taylor(n, LOW, HIGH)},
    "excitation_backprop": {"zennit ExcitationBackprop": lambda n: peers.zennit_excitation(n, _last(n))},
}
GOALS = {"guided_backprop": 2.2, "dtd": 3.4, "p3dcam": 3.0}
"""Highest ratio."""
GOAL_SHARES = {"ksigma": 1.0, "cam": 0.1, "contrast": 0.1}
"""Explaining alone, highest per cent of the forward pass."""
GOAL_MS = {"pyramid": 2.0}
"""Beyond the forward pass."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", default="c3d,r3d-18,i3d")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--methods", help="Only these anew, among the results that are there.")
    parser.add_argument("--memory", metavar="NETWORK", help="Only its peaks, as JSON: run in a process of its own.")
    wanted = parser.parse_args()
    torch.set_num_threads(cores())
    if wanted.memory:
        print(json.dumps(_peaks(wanted.memory)))
        return
    methods = wanted.methods.split(",") if wanted.methods else OURS
    networks = {name: measure(name, wanted.rounds, methods) for name in wanted.networks.split(",")}
    for name, of in networks.items():
        _show(name, of)
    if wanted.methods:
        _put_among(networks)
        return
    goals = {"ratio": GOALS, "explain-only, % of the forward pass": GOAL_SHARES, "ms beyond the forward pass": GOAL_MS}
    keep("explainers", {"precision": "fp32", "batch": 1, "goals": goals, "networks": networks})


def _put_among(networks: dict[str, Any]) -> None:
    """These methods in place of what is known of them, each with the forward pass and the commit of its own."""
    path = RESULTS / "explainers.json"
    known = json.loads(path.read_text())
    for name, of in networks.items():
        for method, by in of["methods"].items():
            by["rtx"] |= {"commit": commit(), "forward_ms": of["forward_ms"]}
            known["networks"][name]["methods"][method] = by
    path.write_text(json.dumps(known, indent=2) + "\n")


def measure(name: str, rounds: int, chosen: Sequence[str]) -> dict[str, Any]:
    """These methods on one network."""
    subject = Subject(name)
    forward_ms: list[float] = []
    methods: dict[str, Any] = {}
    peaks = peaks_in_child(name)
    for method in chosen:
        made: dict[str, peers.Peer] = {"rtx": subject.ours(method)}
        failed: dict[str, str] = {}
        for peer, make in PEERS.get(method, {}).items():
            made[peer] = _lazily(make, subject.network)
        for peer, run in list(made.items()):
            try:
                run(subject.clip, subject.target)
            except Exception as error:  # What another package cannot do is part of the result.
                failed[peer] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
                del made[peer]
        if "rtx" not in made:
            methods[method] = {"rtx": {"failed": failed["rtx"]}}
            continue
        timed = {peer: against_classifying(subject, run, rounds, forward_ms) for peer, run in made.items()}
        for peer in timed:
            timed[peer]["peak_mib"] = peaks[f"{method} by {peer}"]
            if peer != "rtx":
                del timed[peer]["after_pass_ms"]
                timed[peer]["agrees"] = _agreement(*(made[of](subject.clip, subject.target) for of in ("rtx", peer)))
        if parse(method).reads == "features":
            timed["rtx"]["explain_only_ms"] = explain_only_ms(subject, method)
        methods[method] = timed | {peer: {"failed": why} for peer, why in failed.items()}
        print(f"{name} {method}: {json.dumps(methods[method])}", flush=True)
    return {
        "clip": "x".join(map(str, subject.clip.shape)), "weights": "DeepMind's" if name == "i3d" else "random",
        "forward_ms": round(statistics.median(forward_ms), 1), "classify_peak_mib": peaks["classify"],
        "methods": methods,
    }  # fmt: skip


class Subject:
    """A network in float32 and a clip of the drawn hall as it takes it; random weights are the same each time."""

    def __init__(self, name: str):
        torch.manual_seed(0)
        self.chosen: tuple[str, ...] = ()
        self.after_pass_ms = 0.0
        """What our last explanation took from when the logits were there."""
        frames = rtx.read_clip("scene:hall?seed=7", "i3d-k400" if name == "i3d" else "figures").clip.frames
        if name == "i3d":
            backend = rtx.load("i3d-k400", "cpu", "fp32")
            self.network: Network
            self.network, self.chosen = backend.network, backend.card.layers
        else:
            network = {"c3d": C3D, "r3d-18": ResNet3D}[name](classes=400).eval().requires_grad_(False)
            self.network = network.to(memory_format=torch.channels_last_3d)
        pixels = torch.from_numpy(frames).flip(-1).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        self.clip = pixels.contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode():
            self.target = int(self.network(self.clip).argmax())

    def forward(self) -> Forward:
        """A pass that is yet to be made."""
        t, h, w = self.clip.shape[2:]
        low, high = (self.clip.new_full((1, 3, 1, 1, 1), bound) for bound in (LOW, HIGH))
        return Forward(
            clip=self.clip, wanted=[self.target], weight=self.network.linear,
            pooling=self.network.pooling(self.network.shape((t, h, w))[0]), cells=self.network.cells((t, h, w)),
            frames=t, network=self.network, bounds=(low, high), chosen=self.chosen,
        )  # fmt: skip

    def ours(self, method: str) -> peers.Peer:
        chain = parse(method)

        def run(clip: Tensor, target: int) -> Tensor:
            forward = self.forward()
            relevance = explain(chain, forward).relevance
            self.after_pass_ms = (time.perf_counter() - forward.outcome.at) * 1e3
            return relevance

        return run


def _lazily(make: Callable[[Network], peers.Peer], network: Network) -> peers.Peer:
    """What cannot even be made fails where it is first run."""
    made: list[peers.Peer] = []

    def run(clip: Tensor, target: int) -> Tensor:
        if not made:
            made.append(make(network))
        return made[0](clip, target)

    return run


def against_classifying(subject: Subject, run: peers.Peer, rounds: int, forward_ms: list[float]) -> dict[str, Any]:
    """Alternating: classify, then classify and explain."""
    ratios, ms, after = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        with torch.inference_mode():
            subject.network(subject.clip)
        between = time.perf_counter()
        run(subject.clip, subject.target)
        done = time.perf_counter()
        ratios.append((done - between) / (between - started))
        ms.append((done - between) * 1e3)
        after.append(subject.after_pass_ms)
        forward_ms.append((between - started) * 1e3)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "ratio": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "ms": round(statistics.median(ms), 1),
        "after_pass_ms": round(statistics.median(after), 3),
    }


def explain_only_ms(subject: Subject, method: str) -> float:
    """The explainer's own time, apart from the pass that it reads."""
    chain, forward = parse(method), subject.forward()
    took = []
    for _ in range(200):
        started = time.perf_counter()
        explain(chain, forward)
        took.append((time.perf_counter() - started) * 1e3)
    return round(statistics.median(took[20:]), 4)


def peaks_in_child(network: str) -> dict[str, float | None]:
    """MiB of each method by each package, in a process in which freed memory goes back to the system at once."""
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.explainers", "--memory", network]
    said = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    peaks: dict[str, float | None] = json.loads(said.stdout.splitlines()[-1])
    return peaks


def _peaks(name: str) -> dict[str, float | None]:
    subject = Subject(name)
    peaks = {"classify": _peak_mib(subject, lambda: subject.network)}
    for method in OURS:
        peaks[f"{method} by rtx"] = _peak_mib(subject, partial(subject.ours, method))
        for peer, make in PEERS.get(method, {}).items():
            peaks[f"{method} by {peer}"] = _peak_mib(subject, partial(make, subject.network))
    return peaks


def _peak_mib(subject: Subject, make: Callable[[], Any]) -> float | None:
    """Highest resident memory of the second run beyond that before it; None where it cannot run."""
    gc.collect()
    try:
        run = make()
        plain = isinstance(run, torch.nn.Module)
        given = (subject.clip,) if plain else (subject.clip, subject.target)
        with torch.inference_mode(plain):
            run(*given)
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
            run(*given)
    except Exception:  # The main process runs it as well, and says why.
        return None
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(key: str) -> int:
    """In KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def _agreement(ours: Tensor, theirs: Tensor) -> float | None:
    """Correlation of the two maps, at the larger one's size; None where one of them is constant."""
    ours, theirs = (of.detach().double().reshape(1, 1, *of.shape[-3:]) for of in (ours, theirs))
    size = tuple(max(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:], strict=True))
    both = torch.stack([torch.nn.functional.interpolate(of, size, mode="trilinear").flatten() for of in (ours, theirs)])
    correlation = float(torch.corrcoef(both)[0, 1])
    return None if correlation != correlation else round(correlation, 4)


def _last(network: Network) -> str:
    return network.path(network.last)


def _show(name: str, of: dict[str, Any]) -> None:
    rows = [
        (method, peer, *(about.get(key) for key in ("ratio", "ms", "explain_only_ms", "peak_mib", "agrees", "failed")))
        for method, by in of["methods"].items() for peer, about in by.items()
    ]  # fmt: skip
    title = (
        f"{name} ({of['weights']} weights), {of['clip']}: classify {of['forward_ms']} ms, {of['classify_peak_mib']} MiB"
    )
    show(title, ("method", "by", "ratio", "ms", "explain only", "MiB", "agrees", "failed"), rows)


if __name__ == "__main__":
    main()
