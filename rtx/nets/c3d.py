"""C3D (Tran et al. 2015): eight 3x3x3 convolutions and a fully connected head."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from rtx.nets.forward import Layers, Staged, exact

# Name, channels in widths, and the pooling after it: kernel in time and in space.
_STAGES = (
    ("conv1a", 1, (1, 2)), ("conv2a", 2, (2, 2)), ("conv3a", 4, None), ("conv3b", 4, (2, 2)),
    ("conv4a", 8, None), ("conv4b", 8, (2, 2)), ("conv5a", 8, None), ("conv5b", 8, None),
)  # fmt: skip


class C3D(Staged):
    """C3D over clips N 3 16 112 112; the features are those of conv5b, before the last pooling.

    The paper's has 64 channels in its first layer and 4096 in its head; thinner ones learn on small machines.
    """

    def __init__(self, classes: int = 487, width: int = 64, hidden: int = 4096):
        super().__init__()
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for name, widths, pool in _STAGES:
            channels = widths * width
            stages[name] = nn.Sequential(nn.Conv3d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True))
            if pool is not None:
                t, s = pool
                stages[f"pool{name[4]}"] = nn.MaxPool3d((t, s, s))
            inputs = channels
        self.stages = nn.ModuleDict(stages)
        # Of 16 frames of 112 pixels.
        self.fc6 = nn.Linear(inputs * 1 * 4 * 4, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)

    def classify(self, features: Tensor) -> Tensor:
        pooled = F.max_pool3d(exact(features), 2, 2, (0, 1, 1))
        hidden = F.relu(self.fc6(pooled.flatten(1)))
        logits: Tensor = self.fc8(F.relu(self.fc7(hidden)))
        return logits

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        layer = self.stages[stage]
        if isinstance(layer, nn.MaxPool3d):
            t, y, x = layer.kernel_size  # type: ignore[misc]
            return [(t, t, 0)], [(y, y, 0)], [(x, x, 0)]
        return [(3, 1, 1)], [(3, 1, 1)], [(3, 1, 1)]
