"""3D ResNets (Tran et al. 2018; Hara et al. 2018): residual blocks of 3x3x3 convolutions. Torchvision's names."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, Staged


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm3d(outputs))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class ResNet3D(Staged):
    """R3D-18 of clips N 3 T H W: a stem and four stages of blocks; the features are those of layer4."""

    def __init__(self, classes: int = 400, blocks: tuple[int, int, int, int] = (2, 2, 2, 2)):
        super().__init__()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        stages["stem"] = nn.Sequential(
            nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU(inplace=True)
        )
        inputs = 64
        for number, count in enumerate(blocks):
            outputs = 64 << number
            strides = [2 if number else 1, *[1] * (count - 1)]
            stages[f"layer{number + 1}"] = nn.Sequential(
                *(Block(inputs if i == 0 else outputs, outputs, stride) for i, stride in enumerate(strides))
            )
            inputs = outputs
        self.stages = nn.ModuleDict(stages)
        self.fc = nn.Linear(inputs, classes)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.fc.weight

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        return self.fc.bias

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        if stage == "stem":
            return [(3, 1, 1)], [(7, 2, 3)], [(7, 2, 3)]
        along: Layers = [
            layer for block in self.stages[stage].children() if isinstance(block, Block)
            for layer in ((3, block.stride, 1), (3, 1, 1))
        ]  # fmt: skip
        return along, along, along
