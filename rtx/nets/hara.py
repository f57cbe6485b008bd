"""3D ResNets of 18 to 152 layers and ResNeXt-101 (Hara et al. 2018)."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, PooledHead


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(outputs))


class Thinned(nn.Module):
    """A shortcut without parameters: every stride-th cell, and channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.more, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(F.avg_pool3d(x, 1, self.stride), (0, 0, 0, 0, 0, 0, 0, self.more))


class Basic(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, groups: int, shortcut: nn.Module | None):
        super().__init__()
        self.stride = stride
        self.conv1, self.conv2 = _normed(inputs, planes, 3, stride), _normed(planes, planes, 3)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 in groups, 1x1x1, beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, groups: int, shortcut: nn.Module | None):
        super().__init__()
        self.stride = stride
        self.conv1 = _normed(inputs, planes, 1)
        self.conv2 = _normed(planes, planes, 3, stride, groups)
        self.conv3 = _normed(planes, planes * self.expansion, 1)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.conv2(F.relu(self.conv1(x), inplace=True)), inplace=True)
        return F.relu(self.conv3(out) + (x if self.downsample is None else self.downsample(x)))


class Grouped(Bottleneck):
    """ResNeXt's: wide in the middle."""

    expansion = 2


class HaraResNet(PooledHead):
    """Clips N 3 T H W: a 7x7x7 stem, pooling, four stages of blocks; the features are those of layer4.

    `shortcut`: where sizes change, "B" is a convolution, "A" thins out and pads with zeros.
    """

    def __init__(
        self, classes: int = 400, blocks: tuple[int, ...] = (2, 2, 2, 2), kind: type[Basic | Bottleneck] = Basic,
        width: int = 64, groups: int = 1, shortcut: str = "B",
    ):  # fmt: skip
        super().__init__(8 * width * kind.expansion, classes)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stem = nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False)
        stages["stem"] = nn.Sequential(stem, nn.BatchNorm3d(64), nn.ReLU(inplace=True))
        stages["pool"] = nn.MaxPool3d(3, 2, 1)
        inputs = 64
        for number, count in enumerate(blocks):
            planes, outputs = width << number, (width << number) * kind.expansion
            made: list[nn.Module] = []
            for i in range(count):
                stride = 2 if number and i == 0 else 1
                other = None
                if stride != 1 or inputs != outputs:
                    other = Thinned(inputs, outputs, stride) if shortcut == "A" else _normed(inputs, outputs, 1, stride)
                made.append(kind(inputs, planes, stride, groups, other))
                inputs = outputs
            stages[f"layer{number + 1}"] = nn.Sequential(*made)
        self.stages = nn.ModuleDict(stages)

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        if stage == "stem":
            return [(7, 1, 3)], [(7, 2, 3)], [(7, 2, 3)]
        if stage == "pool":
            pooled: Layers = [(3, 2, 1)]
            return pooled, pooled, pooled
        along: Layers = [layer for block in self.stages[stage].children() for layer in _layers(block)]
        return along, along, along


def _layers(block: nn.Module) -> Layers:
    assert isinstance(block, Basic | Bottleneck)
    return [(3, block.stride, 1), *([(3, 1, 1)] if isinstance(block, Basic) else [])]


def resnet_18(classes: int = 400, shortcut: str = "B") -> HaraResNet:
    return HaraResNet(classes, shortcut=shortcut)


def resnet_34(classes: int = 400, shortcut: str = "B") -> HaraResNet:
    return HaraResNet(classes, (3, 4, 6, 3), shortcut=shortcut)


def resnet_50(classes: int = 400) -> HaraResNet:
    return HaraResNet(classes, (3, 4, 6, 3), Bottleneck)


def resnet_101(classes: int = 400) -> HaraResNet:
    return HaraResNet(classes, (3, 4, 23, 3), Bottleneck)


def resnet_152(classes: int = 400) -> HaraResNet:
    return HaraResNet(classes, (3, 8, 36, 3), Bottleneck)


def resnext_101(classes: int = 400) -> HaraResNet:
    """32 groups."""
    return HaraResNet(classes, (3, 4, 23, 3), Grouped, width=128, groups=32)
