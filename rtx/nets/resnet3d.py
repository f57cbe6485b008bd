"""Video ResNets of 18 layers (Tran et al. 2018): R3D, MC3 and R(2+1)D. The state dict's names are torchvision's."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, PooledHead

Kind = Literal["3d", "2d", "2+1d"]
"""Convolutions over time and space, over space alone, or over space and then over time."""


def convolution(kind: Kind, inputs: int, outputs: int, between: int, stride: int) -> nn.Module:
    """3x3x3, or what takes its place, with padding 1. `between`: channels between space and time."""
    if kind == "3d":
        return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
    if kind == "2d":
        return nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    return nn.Sequential(
        nn.Conv3d(inputs, between, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        nn.Conv3d(between, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, kind: Kind = "3d"):
        super().__init__()
        self.stride, self.kind = stride, kind
        # As many parameters as 3x3x3 would have.
        between = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
        self.conv1 = nn.Sequential(
            convolution(kind, inputs, outputs, between, stride), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(convolution(kind, outputs, outputs, between, 1), nn.BatchNorm3d(outputs))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            steps = (1, stride, stride) if kind == "2d" else stride
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, steps, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class ResNet3D(PooledHead):
    """Clips N 3 T H W: a stem and four stages of blocks, each of its kind; the features are those of layer4.

    `width`: channels of the stem, which every stage after the first doubles.
    """

    def __init__(
        self,
        classes: int = 400,
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        kinds: tuple[Kind, Kind, Kind, Kind] = ("3d", "3d", "3d", "3d"),
        width: int = 64,
    ):
        super().__init__(8 * width, classes)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["stem"] = _factored_stem(width) if kinds[0] == "2+1d" else _stem(width)
        inputs = width
        for number, (count, kind) in enumerate(zip(blocks, kinds, strict=True)):
            outputs = width << number
            strides = [2 if number else 1, *[1] * (count - 1)]
            stages[f"layer{number + 1}"] = nn.Sequential(
                *(Block(inputs if i == 0 else outputs, outputs, stride, kind) for i, stride in enumerate(strides))
            )
            inputs = outputs
        self.stages = nn.ModuleDict(stages)

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        if stage == "stem":
            return [(3, 1, 1)], [(7, 2, 3)], [(7, 2, 3)]
        blocks = [block for block in self.stages[stage].children() if isinstance(block, Block)]
        along: Layers = [layer for block in blocks for layer in ((3, block.stride, 1), (3, 1, 1))]
        return [] if blocks[0].kind == "2d" else along, along, along


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True)
    )


def _factored_stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(45), nn.ReLU(inplace=True),
        nn.Conv3d(45, width, (3, 1, 1), 1, (1, 0, 0), bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True),
    )  # fmt: skip


def r3d_18(classes: int = 400, width: int = 64) -> ResNet3D:
    return ResNet3D(classes, width=width)


def mc3_18(classes: int = 400) -> ResNet3D:
    """Three-dimensional at first, then over space alone."""
    return ResNet3D(classes, kinds=("3d", "2d", "2d", "2d"))


def r2plus1d_18(classes: int = 400) -> ResNet3D:
    return ResNet3D(classes, kinds=("2+1d", "2+1d", "2+1d", "2+1d"))
