"""MFNet, the multi-fiber network (Chen et al. 2018): thin groups of channels, joined by a multiplexer."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, PooledHead

FIBERS = 16


class Activated(nn.Module):
    """BatchNorm and ReLU before the convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1), groups: int = 1,
    ):  # fmt: skip
        super().__init__()
        t, y, x = (size // 2 for size in kernel)
        self.bn = nn.BatchNorm3d(inputs)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, (t, y, x), groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.relu(self.bn(x)))
        return out


class Fibers(nn.Module):
    """A multi-fiber unit: the multiplexer's two pointwise convolutions, then the fibers', beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int], first: bool):
        super().__init__()
        self.stride, self.first = stride, first
        self.conv_i1 = Activated(inputs, outputs // 4)
        self.conv_i2 = Activated(outputs // 4, inputs)
        self.conv_m1 = Activated(inputs, outputs, (3, 3, 3), stride, FIBERS)
        self.conv_m2 = Activated(outputs, outputs) if first else Activated(outputs, outputs, (1, 3, 3), groups=FIBERS)
        self.conv_w1 = Activated(inputs, outputs, stride=stride) if first else None

    def forward(self, x: Tensor) -> Tensor:
        mixed = x + self.conv_i2(self.conv_i1(x))
        out: Tensor = self.conv_m2(self.conv_m1(mixed))
        return out + (x if self.conv_w1 is None else self.conv_w1(x))


class MFNet(PooledHead):
    """Clips N 3 T H W, 16 frames of 224 pixels as trained; the features are those of the tail after conv5."""

    def __init__(self, classes: int = 400):
        super().__init__(768, classes)
        stem = nn.Conv3d(3, 16, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False)
        stages: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Sequential(OrderedDict(conv=stem, bn=nn.BatchNorm3d(16), relu=nn.ReLU(inplace=True))),
            maxpool=nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        inputs = 16
        for number, count in enumerate((3, 4, 6, 3)):
            outputs, stride = 96 << number, (1, 2, 2) if number else (2, 1, 1)
            units = [Fibers(inputs, outputs, stride, True)]
            units += [Fibers(outputs, outputs, (1, 1, 1), False) for _ in range(count - 1)]
            names = (f"B{i + 1:02d}" for i in range(count))
            stages[f"conv{number + 2}"] = nn.Sequential(OrderedDict(zip(names, units, strict=True)))
            inputs = outputs
        stages["tail"] = nn.Sequential(OrderedDict(bn=nn.BatchNorm3d(inputs), relu=nn.ReLU(inplace=True)))
        self.stages = nn.ModuleDict(stages)

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        if stage == "conv1":
            return [(3, 1, 1)], [(5, 2, 2)], [(5, 2, 2)]
        if stage == "maxpool":
            return [], [(3, 2, 1)], [(3, 2, 1)]
        units = [unit for unit in self.stages[stage].children() if isinstance(unit, Fibers)]
        t, y, x = ([(3, unit.stride[axis], 1) for unit in units] for axis in range(3))
        return t, y, x
