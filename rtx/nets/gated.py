"""Gated networks (Yudistira et al., section 3.5): chosen stages each have a linear layer, whose logits are added."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, Staged
from rtx.nets.hara import resnext_101
from rtx.nets.i3d import I3D

EVERY = 2
"""Of so many cells in time one is kept (the paper's factor t)."""


class Gated(Staged):
    """The stages of another network, without its head.

    Of each gated stage: ReLU, the mean over space and over `EVERY` cells in time, a linear layer; their logits are
    added. A linear layer counts its inputs, so that a network belongs to clips of one length.
    """

    def __init__(self, base: Staged, gates: dict[str, int], classes: int, frames: int, size: int):
        """`gates`: stages and their channels."""
        super().__init__()
        self._base = (base,)  # In a tuple: its head is none of this network's modules.
        self.stages = base.stages
        self.kept = {name: max(1, base.shape((frames, size, size), name)[0] // EVERY) for name in gates}
        self.gates = nn.ModuleDict({name: nn.Linear(k * self.kept[name], classes) for name, k in gates.items()})

    def gate(self, name: str, a: Tensor) -> Tensor:
        """A stage's logits N M, of what it gave."""
        pooled = F.adaptive_avg_pool3d(F.relu(a).float(), (self.kept[name], 1, 1))
        logits: Tensor = self.gates[name](pooled.flatten(1))
        return logits

    def run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        features, given = clip, []
        for name, stage in self.stages.items():
            clip = stage(clip)
            if name in self.gates:
                given.append(self.gate(name, clip))
            if name == self.last:
                features = clip if name == self.names[-1] else clip.clone()  # The next stage may write into it.
        logits = given[0]
        for more in given[1:]:
            logits = logits + more
        return features, logits

    def forward(self, clip: Tensor) -> Tensor:
        return self.run(clip)[1]

    @property
    def linear(self) -> None:
        """Its head is several, of several stages."""
        return None

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        return self._base[0].axes(stage)


def gated_resnext_101(classes: int = 400, frames: int = 16, size: int = 112) -> Gated:
    """Gates at the stem and the four stages of blocks."""
    gates = {"stem": 64, "layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}
    return Gated(resnext_101(classes), gates, classes, frames, size)


def gated_i3d(classes: int = 400, frames: int = 64, size: int = 224) -> Gated:
    """Gates at the end of each size in space after the stem (the paper names a `mixed 3d`, which I3D has not)."""
    return Gated(I3D(classes), {"Mixed_3c": 480, "Mixed_4f": 832, "Mixed_5c": 1024}, classes, frames, size)
