"""The forward-pass contract: a network is stages and a head, and one pass gives everything an explainer reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.errors import UserError, unknown
from rtx.link.wire import Cells
from rtx.nets.record import Recorded, record


@dataclass(frozen=True)
class Forward:
    """One forward pass. Explainers read it and change nothing."""

    clip: Tensor
    """N C T H W, as the network took it."""
    features: Tensor
    """The last stage's output: N K t h w."""
    logits: Tensor
    """N M, before softmax, float32."""
    weight: Tensor | None
    """The linear head: M K, float32; None where the head is more than pooling and one linear layer."""
    pooling: Tensor
    """How much the head's pooling weighs each feature frame: t, mean 1."""
    target: Tensor
    """The class to explain: N, int64."""
    cells: Cells
    """Where the features' cells lie in the clip."""
    frames: int
    """Frames of the clip, T, as the camera gave them."""
    network: Staged | None = None
    """What made the pass, where the whole clip is at hand: gradients and relevance are read off a recorded pass."""
    bounds: tuple[Tensor, Tensor] | None = None
    """Least and largest value that a pixel of the clip can have: 1 C 1 1 1 each."""
    chosen: tuple[str, ...] = ()
    """Stages that explainers of several stages look at, first to last; none: all."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that explainers of several stages look at; the last one gives the features."""
        return self.chosen or tuple(self.whole.stages)

    def record(
        self,
        layers: Collection[str],
        rules: AbstractContextManager[Any] | None = None,
        marked: Callable[[Tensor], Tensor] = lambda clip: clip,
    ) -> Recorded:
        """The pass again, with what these stages gave; see `rtx.nets.record`. UserError for one that does not exist."""
        network = self.whole
        for name in layers:
            if name not in network.stages:
                raise unknown("layer", name, network.stages)
        return record(network, self.clip, [f"stages.{name}" for name in layers], rules, marked)

    @property
    def whole(self) -> Staged:
        """The network. UserError where only features are at hand."""
        if self.network is None:
            raise UserError("this explainer reads the whole clip, but a stream is followed frame by frame here")
        return self.network

    def score(self, logits: Tensor) -> Tensor:
        """The class's score, of logits N M: N."""
        # A tensor of inference mode takes no part in a backward pass; its copy does.
        return logits.gather(1, self.target.clone()[:, None])[:, 0]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """T H W of the clip."""
        return self.frames, int(self.clip.shape[-2]), int(self.clip.shape[-1])


def exact(x: Tensor) -> Tensor:
    """In float32 at least: sums in half precision are off by per cents."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


Layer = tuple[int, int] | tuple[int, int, int]
"""Kernel and stride along one axis, and the padding before it; without that, SAME padding."""
Layers = Sequence[Layer]


class Staged(nn.Module):
    """Named stages, one after another, then a head.

    Where the head is pooling and one linear layer, subclasses set `weight` (M K) and `bias` (M), and override `pooling`
    if its mean is not plain; else they override `classify`.
    """

    stages: nn.ModuleDict
    weight: Tensor
    bias: Tensor

    def pooling(self, frames: int) -> Tensor:
        """Weight of each of `frames` feature frames in the head's mean: t, mean 1."""
        return torch.ones(frames)

    @property
    def linear(self) -> Tensor | None:
        """The head's weights M K, where it is pooling and one linear layer."""
        return getattr(self, "weight", None)

    def extract(self, clip: Tensor) -> Tensor:
        """Features N K t h w of a clip N C T H W."""
        for stage in self.stages.values():
            clip = stage(clip)
        return clip

    def classify(self, features: Tensor) -> Tensor:
        """Logits N M of features N K t h w, in float32."""
        per_frame = exact(features).mean(dim=(3, 4))
        pooled = (per_frame * self.pooling(features.shape[2]).to(per_frame)).mean(dim=2)
        return F.linear(pooled, self.weight, self.bias)

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
        (_, jump_t, centre_t), (_, jump_y, centre_y), (_, jump_x, centre_x) = self._followed(input_size, stage)
        return Cells((jump_t, jump_y, jump_x), (centre_t, centre_y, centre_x))

    def shape(self, input_size: tuple[int, int, int], stage: str | None = None) -> tuple[int, int, int]:
        """A stage's cells along t, y, x, for a clip of T H W."""
        (t, _, _), (y, _, _), (x, _, _) = self._followed(input_size, stage)
        return t, y, x

    def _followed(self, input_size: tuple[int, int, int], stage: str | None) -> list[tuple[int, float, float]]:
        names = list(self.stages)
        before = names[: names.index(stage) + 1] if stage is not None else names
        return [
            follow(size, [layer for name in before for layer in self.axes(name)[axis]])
            for axis, size in enumerate(input_size)
        ]


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
