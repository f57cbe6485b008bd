"""TSTCNN, the twin spatio-temporal network (Martin et al. 2018; Fuad et al. 2020): RGB beside optical flow."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, Staged, exact

FILTERS = (30, 60, 80)
HIDDEN = 500


class Twin(nn.Module):
    """A 3x3x3 convolution and ReLU for each branch; channels are those of RGB, then those of flow."""

    def __init__(self, rgb: int, flow: int, filters: int):
        super().__init__()
        self.inputs = [rgb, flow]
        self.rgb, self.flow = (nn.Conv3d(inputs, filters, 3, padding=1) for inputs in self.inputs)

    def forward(self, x: Tensor) -> Tensor:
        rgb, flow = torch.split(x, self.inputs, dim=1)
        return torch.cat((F.relu(self.rgb(rgb)), F.relu(self.flow(flow))), dim=1)


class TSTCNN(Staged):
    """Clips N 5 T H W: red, green, blue in 0..1, then flow along x and y in -1..1 (Fuad et al. 2020, Eq. 2).

    Three blocks, each pooled by two, a fully connected layer of 500 for each branch, and one over both. The features
    are the last block's: N 160 T/8 H/8 W/8, the first half of RGB, the second of flow. A fully connected layer counts
    its inputs, so that a network belongs to clips of one length and size.
    """

    branches = 2

    def __init__(self, classes: int = 21, frames: int = 100, size: int = 120):
        super().__init__()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        rgb, flow = 3, 2
        for number, filters in enumerate(FILTERS, 1):
            stages[f"conv{number}"] = Twin(rgb, flow, filters)
            stages[f"pool{number}"] = nn.MaxPool3d(2)
            rgb = flow = filters
        self.stages = nn.ModuleDict(stages)
        inputs = FILTERS[-1] * (frames // 8) * (size // 8) ** 2
        self.rgb, self.flow = (nn.Linear(inputs, HIDDEN) for _ in range(self.branches))
        self.fusion = nn.Linear(2 * HIDDEN, classes)

    def classify(self, features: Tensor) -> Tensor:
        rgb, flow = torch.chunk(exact(features), self.branches, dim=1)
        hidden = (F.relu(self.rgb(rgb.flatten(1))), F.relu(self.flow(flow.flatten(1))))
        logits: Tensor = self.fusion(torch.cat(hidden, dim=1))
        return logits

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = [(2, 2, 0)] if stage.startswith("pool") else [(3, 1, 1)]
        return along, along, along
