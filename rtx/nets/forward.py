"""The forward-pass contract: a network is stages and a head, and one pass gives everything an explainer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtx.link.wire import Cells


@dataclass(frozen=True)
class Forward:
    """One forward pass. Explainers read it and change nothing."""

    clip: Tensor
    """N C T H W, as the network took it."""
    features: Tensor
    """The last stage's output: N K t h w."""
    logits: Tensor
    """N M, before softmax, float32."""
    weight: Tensor
    """The linear head: M K, float32."""
    pooling: Tensor
    """How much the head's pooling weighs each feature frame: t, mean 1."""
    target: Tensor
    """The class to explain: N, int64."""
    cells: Cells
    """Where the features' cells lie in the clip."""
    frames: int
    """Frames of the clip, T, as the camera gave them."""

    @property
    def input_size(self) -> tuple[int, int, int]:
        """T H W of the clip."""
        return self.frames, int(self.clip.shape[-2]), int(self.clip.shape[-1])


Layer = tuple[int, int] | tuple[int, int, int]
"""Kernel and stride along one axis, and the padding before it; without that, SAME padding."""
Layers = Sequence[Layer]


class Staged(nn.Module):
    """Named stages, one after another, then a head of pooling and one linear layer.

    Subclasses set `stages`, `weight` (M K) and `bias` (M), and override `pooling` where the mean is not plain.
    """

    stages: nn.ModuleDict
    weight: nn.Parameter
    bias: nn.Parameter

    def pooling(self, frames: int) -> Tensor:
        """Weight of each of `frames` feature frames in the head's mean: t, mean 1."""
        return torch.ones(frames, device=self.weight.device)

    def extract(self, clip: Tensor) -> Tensor:
        """Features N K t h w of a clip N C T H W."""
        for stage in self.stages.values():
            clip = stage(clip)
        return clip

    def classify(self, features: Tensor) -> Tensor:
        """Logits N M of features N K t h w, in float32."""
        per_frame = features.float().mean(dim=(3, 4))
        pooled = (per_frame * self.pooling(features.shape[2])).mean(dim=2)
        return pooled @ self.weight.T + self.bias

    def forward(self, clip: Tensor) -> Tensor:
        """Logits N M of a clip N C T H W."""
        return self.classify(self.extract(clip))

    def load_folded(self, weights: Mapping[str, Tensor]) -> None:
        """Take published weights by their names, folding each BatchNorm into its convolution."""
        raise NotImplementedError

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        """The layers of a stage along t, y and x, as far as they move or thin out cells."""
        raise NotImplementedError

    def cells(self, input_size: tuple[int, int, int], stage: str | None = None) -> Cells:
        """Stride and centre of a stage's cells (the last one's) along t, y, x, for a clip of T H W."""
        names = list(self.stages)
        before = names[: names.index(stage) + 1] if stage is not None else names
        placed = []
        for axis, size in enumerate(input_size):
            layers = [layer for name in before for layer in self.axes(name)[axis]]
            placed.append(follow(size, layers))
        (_, jump_t, centre_t), (_, jump_y, centre_y), (_, jump_x, centre_x) = placed
        return Cells((jump_t, jump_y, jump_x), (centre_t, centre_y, centre_x))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after one axis: the output has ceil(size / stride) cells."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def follow(size: int, layers: Layers) -> tuple[int, float, float]:
    """Cells, stride and centre of the first cell after these layers, on one axis."""
    jump, centre = 1, 0.0
    for kernel, stride, *explicit in layers:
        before = explicit[0] if explicit else same_padding(size, kernel, stride)[0]
        centre += ((kernel - 1) / 2 - before) * jump
        jump *= stride
        size = -(-size // stride)
    return size, jump, centre
