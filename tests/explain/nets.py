"""Three small random networks for tests of explainers: a fully connected head, residual sums, branches and groups."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Forward, Layers, Staged

SIZE = (8, 24, 24)
CLASSES = 5


def conv(inputs: int, outputs: int, stride: int = 1, groups: int = 1, bias: bool = True) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, stride, 1, groups=groups, bias=bias)


def norm(channels: int) -> nn.BatchNorm3d:
    """As after training: means and scales that are not 0 and 1, some of them negative."""
    made = nn.BatchNorm3d(channels)
    with torch.no_grad():
        made.running_mean.normal_(0, 0.3)
        made.running_var.uniform_(0.5, 2)
        made.weight.normal_(1, 0.5)
        made.bias.normal_(0, 0.2)
    return made


class Plain(Staged):
    """Like C3D: convolutions, max pooling, two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(OrderedDict(
            one=nn.Sequential(conv(3, 6), nn.ReLU(inplace=True), nn.MaxPool3d((1, 2, 2))),
            two=nn.Sequential(conv(6, 8), nn.ReLU(inplace=True), nn.MaxPool3d(2)),
            three=nn.Sequential(conv(8, 8), nn.ReLU(inplace=True)),
        ))  # fmt: skip
        self.hidden = nn.Linear(8 * 2 * 3 * 3, 16)
        self.relu = nn.ReLU()
        self.out = nn.Linear(16, CLASSES)

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.out(self.relu(self.hidden(F.max_pool3d(features, 2).flatten(1))))
        return logits

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        here: Layers = [(3, 1, 1)]
        if stage == "one":
            return here, [*here, (2, 2, 0)], [*here, (2, 2, 0)]
        return ([*here, (2, 2, 0)],) * 3 if stage == "two" else (here, here, here)


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.one = nn.Sequential(conv(inputs, outputs, stride, bias=False), norm(outputs), nn.ReLU(inplace=True))
        self.two = nn.Sequential(conv(outputs, outputs, bias=False), norm(outputs))
        same = stride == 1 and inputs == outputs
        self.relu = nn.ReLU()
        self.short = None if same else nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.two(self.one(x))
        out += x if self.short is None else self.short(x)
        relevant: Tensor = self.relu(out)
        return relevant


class Pooled(Staged):
    """A head of pooling and one linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, channels) * 0.5)
        self.bias = nn.Parameter(torch.randn(CLASSES) * 0.1)


class Residual(Pooled):
    """Like a ResNet: residual sums and BatchNorm."""

    def __init__(self) -> None:
        super().__init__(10)
        stem = nn.Sequential(conv(3, 6, bias=False), norm(6), nn.ReLU(inplace=True))
        self.stages = nn.ModuleDict(OrderedDict(
            stem=stem, one=nn.Sequential(Block(6, 6, 1), Block(6, 8, 2)), two=Block(8, 10, 2),
        ))  # fmt: skip

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = {
            "stem": [(3, 1, 1)], "one": [(3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1)], "two": [(3, 2, 1), (3, 1, 1)],
        }[stage]  # fmt: skip
        return along, along, along


class Branches(nn.Module):
    """Side by side: pointwise, grouped, and pooled."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.point = nn.Sequential(nn.Conv3d(inputs, outputs, 1), nn.ReLU())
        self.grouped = nn.Sequential(conv(inputs, outputs, groups=2), nn.ReLU())
        self.pooled = nn.Sequential(nn.MaxPool3d(3, 1, 1), nn.Conv3d(inputs, outputs, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.point(x), self.grouped(x), self.pooled(x)), dim=1)


class Branched(Pooled):
    """Like an Inception network, with groups."""

    def __init__(self) -> None:
        super().__init__(12)
        self.stages = nn.ModuleDict(OrderedDict(
            stem=nn.Sequential(conv(3, 6, 2), nn.ReLU()), mixed=Branches(6, 4), last=Branches(12, 4),
        ))  # fmt: skip

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = [(3, 2 if stage == "stem" else 1, 1)]
        return along, along, along


NETS = (Plain, Residual, Branched)


def a_net(kind: type[Staged], seed: int = 0, dtype: torch.dtype = torch.float32) -> Staged:
    torch.manual_seed(seed)
    return kind().eval().requires_grad_(False).to(dtype)


def a_clip(n: int = 2, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Between -1 and 1, as normalised pixels are."""
    return (2 * torch.rand(n, 3, *SIZE, generator=torch.Generator().manual_seed(seed)) - 1).to(dtype)


def forward_of(network: Staged, clip: Tensor, target: int | None = None) -> Forward:
    """A pass that is yet to be made."""
    t, h, w = clip.shape[2:]
    low, high = (torch.full((1, 3, 1, 1, 1), bound, dtype=clip.dtype) for bound in (-1.0, 1.0))
    return Forward(
        clip=clip, wanted=[target] * len(clip), weight=network.linear, cells=network.cells((t, h, w)), frames=t,
        pooling=network.pooling(network.shape((t, h, w))[0]), network=network, bounds=(low, high),
    )  # fmt: skip
