"""A model with explainers as one ONNX file: frames in, scores and heatmaps out, in any ONNX runtime, without rtx."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from rtx.engine.onnx_graph import graph_of, open_session
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.explain.chain import bind
from rtx.explain.placing import upsample
from rtx.explain.registry import Chain
from rtx.explain.run import run
from rtx.machine import default_threads
from rtx.nets.forward import Forward, Outcome

NEAR = 1e-3
"""What the file gives and what torch gives may differ by so much, of the largest value."""
ON_THRESHOLD = 1e-3
"""But for so many cells of a map: those that lie on an explainer's threshold, where rounding decides."""


@dataclass(frozen=True)
class _Traced(Forward):
    """A pass in which the class to explain is a tensor, as it must be in a graph."""

    classes: Tensor | None = None

    @property
    def target(self) -> Tensor:
        assert self.classes is not None
        return self.classes


class Graph(nn.Module):
    """What is exported: `clip` uint8 N T H W 3 (RGB) and `target` int64 N (-1: the likeliest class) to logits N M and,
    of each chain, a map N T H W at the clip's resolution, not normalised.
    """

    mean: Tensor
    std: Tensor
    rest: Tensor

    def __init__(self, backend: TorchBackend, chains: Sequence[Chain]):
        super().__init__()
        self.network, self.card, self.chains = backend.network, backend.card, tuple(chains)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(backend.card.clip, name)).view(1, 3, 1, 1, 1))
        self.register_buffer("rest", backend.rest(backend.card.clip.input_size).clone())

    def forward(self, clip: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        size = self.card.clip.input_size
        x = (clip.permute(0, 4, 1, 2, 3).float() - self.mean) / self.std
        features, logits = self.network.run(x)
        forward = _Traced(
            clip=x, wanted=(), weight=self.network.linear, pooling=self.network.pooling(features.shape[2]),
            cells=self.network.cells(size), frames=size[0], classes=torch.where(target >= 0, target, logits.argmax(1)),
            resting=lambda: self.rest, done=[Outcome(features, logits)],
        )  # fmt: skip
        return logits, *(_map(chain, forward) for chain in self.chains)


def _map(chain: Chain, forward: Forward) -> Tensor:
    relevance = run(chain, forward).relevance
    return relevance if tuple(relevance.shape[1:]) == forward.input_size else upsample(forward, relevance)


def output_of(chain: Chain) -> str:
    """What a chain's map is called in the file: `cam`, `cam_selective`."""
    return "_".join(call.declaration.name for call in chain.calls)


def export(backend: TorchBackend, chains: Sequence[Chain], path: Path) -> None:
    """Write the file, and compare what it gives with what torch gives. UserError where that cannot be."""
    if path.suffix != ".onnx" or not path.parent.is_dir():
        raise UserError(f"-o {str(path)!r}: name a file that ends in .onnx, in a folder that is there")
    if backend.card.flow is not None:
        raise UserError(f"{backend.card.name} sees optical flow, but a graph is given pictures alone: none is written")
    chains = [bind(chain, backend.labels) for chain in chains]
    names = ["logits", *map(output_of, chains)]
    for chain, name in zip(chains, names[1:], strict=True):
        _check(chain, name, names)
    # A batch of two: of one, the graph would take the size for a constant.
    clip = torch.from_numpy(_noise((2, *backend.card.clip.input_size, 3)))
    inputs = {"clip": clip, "target": torch.tensor([-1, 0])}
    graph = Graph(backend, chains)
    made = graph_of(graph, inputs, names, backend.card.name)
    made.model.metadata_props.update(_about(backend, chains))
    made.save(path)
    _compare(path, graph, inputs, names)


def _check(chain: Chain, name: str, names: list[str]) -> None:
    if names.count(name) > 1:
        raise UserError(f"two of the explainers would be called {name!r} in the file; give each once")
    if chain.reads != "features":
        raise UserError(
            f"{chain.name} reads {chain.reads}; a graph holds what reads features: ksigma, cam, contrast, tube"
        )
    if any(call.declaration.name == "fuse" for call in chain.calls):
        raise UserError("fuse joins several clips, a graph sees one: leave it out")


def _noise(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _about(backend: TorchBackend, chains: Sequence[Chain]) -> dict[str, str]:
    """What a reader of the file must know; each value is JSON."""
    card = backend.card
    about = {
        "model": card.name, "title": card.title, "paper": card.paper, "labels": backend.labels,
        "licence": card.weights.licence if card.weights else "",
        "clip": msgspec.to_builtins(card.clip) | {"input": "uint8 N T H W 3, RGB; normalised in the graph"},
        "explainers": [
            {"output": output_of(chain), "explainer": str(chain), "class_blind": chain.class_blind} for chain in chains
        ],
        "precision": "fp32", "made_by": f"rtx {version('rtx-explain')}",
    }  # fmt: skip
    return {f"rtx.{key}": json.dumps(value) for key, value in about.items()}


def _compare(path: Path, graph: Graph, inputs: dict[str, Tensor], names: list[str]) -> None:
    """The file in ONNX Runtime on the CPU against torch."""
    found = open_session(path, "cpu", default_threads()).run(None, {name: of.numpy() for name, of in inputs.items()})
    with torch.no_grad():
        expected = graph(*inputs.values())
    for name, ours, theirs in zip(names, expected, found, strict=True):
        far = np.abs(ours.numpy() - theirs) > NEAR * max(float(ours.abs().max()), 1e-12)
        if float(far.mean()) > ON_THRESHOLD:
            path.unlink()
            raise UserError(
                f"{path}: {100 * far.mean():.2g} % of {name} is not what torch gives; the file was not kept"
            )
