"""TSTCNN, the twin spatio-temporal network (Martin et al. 2018; Fuad et al. 2020): RGB beside optical flow."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Forward, Layers, Staged, exact


class Twin(nn.Module):
    """A 3x3x3 convolution and ReLU for each branch; channels are those of RGB, then those of flow."""

    def __init__(self, rgb: int, flow: int, filters: int):
        super().__init__()
        self.inputs = [rgb, flow]
        self.rgb, self.flow = (nn.Conv3d(inputs, filters, 3, padding=1) for inputs in self.inputs)

    def forward(self, x: Tensor) -> Tensor:
        rgb, flow = torch.split(x, self.inputs, dim=1)
        return torch.cat((F.relu(self.rgb(rgb)), F.relu(self.flow(flow))), dim=1)

    def alone(self, branch: int) -> nn.Module:
        """One branch's layers."""
        return nn.Sequential(self.flow if branch else self.rgb, nn.ReLU())


class TSTCNN(Staged):
    """Clips N 5 T H W: red, green, blue in 0..1, then flow along x and y in -1..1 (Fuad et al. 2020, Eq. 2).

    Three blocks, each pooled by two, a fully connected layer (500) for each branch, and one over both. The features
    are the last block's: N 160 T/8 H/8 W/8, the first half of RGB, the second of flow. A fully connected layer counts
    its inputs, so that a network belongs to clips of one length and size.
    """

    branches = 2

    def __init__(
        self,
        classes: int = 21,
        frames: int = 100,
        size: int = 120,
        filters: tuple[int, int, int] = (30, 60, 80),
        hidden: int = 500,
    ):
        super().__init__()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        rgb, flow = 3, 2
        for number, outputs in enumerate(filters, 1):
            stages[f"conv{number}"] = Twin(rgb, flow, outputs)
            stages[f"pool{number}"] = nn.MaxPool3d(2)
            rgb = flow = outputs
        self.stages = nn.ModuleDict(stages)
        inputs = filters[-1] * (frames // 8) * (size // 8) ** 2
        self.rgb, self.flow = (nn.Linear(inputs, hidden) for _ in range(self.branches))
        self.fusion = nn.Linear(2 * hidden, classes)

    def classify(self, features: Tensor) -> Tensor:
        rgb, flow = torch.chunk(exact(features), self.branches, dim=1)
        hidden = (F.relu(self.rgb(rgb.flatten(1))), F.relu(self.flow(flow.flatten(1))))
        logits: Tensor = self.fusion(torch.cat(hidden, dim=1))
        return logits

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        along: Layers = [(2, 2, 0)] if stage.startswith("pool") else [(3, 1, 1)]
        return along, along, along


class Branch(Staged):
    """A twin network as one of its branches has it: clips N 3 T H W of RGB or N 2 T H W of flow.

    What the other branch gave of these clips stays as it was; features are this branch's, logits the twin network's.
    """

    def __init__(self, twin: TSTCNN, number: int, features: Tensor):
        super().__init__()
        self.stages = nn.ModuleDict({
            name: stage.alone(number) if isinstance(stage, Twin) else stage for name, stage in twin.stages.items()
        })  # fmt: skip
        self.twin, self.axes = twin, twin.axes  # type: ignore[method-assign]
        self._number, self._given = number, features.chunk(twin.branches, dim=1)

    def classify(self, features: Tensor) -> Tensor:
        parts = list(self._given)
        parts[self._number] = features
        return self.twin.classify(torch.cat(parts, dim=1))


def apart(forward: Forward) -> tuple[Forward, ...]:
    """A twin network's pass as each of its branches has it: RGB, flow. Of another network, the pass itself."""
    twin = forward.network
    if not isinstance(twin, TSTCNN):
        return (forward,)
    seen = forward.outcome.features
    least, most = forward.bounds or (None, None)
    channels = (slice(None, 3), slice(3, None))
    return tuple(
        replace(
            forward.branch(number, twin.branches),
            clip=forward.clip[:, of], network=Branch(twin, number, seen), run=None,
            bounds=None if least is None or most is None else (least[:, of], most[:, of]),
        )
        for number, of in enumerate(channels)
    )  # fmt: skip
