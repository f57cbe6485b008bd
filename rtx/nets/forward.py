"""The forward-pass contract: a network is stages and a head, and one pass gives everything an explainer reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtx.errors import UserError, unknown
from rtx.link.wire import Cells
from rtx.nets.folding import fold
from rtx.nets.record import Recorded, record

Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A clip N C T H W to features N K t h w and logits N M, float32."""


class Outcome(NamedTuple):
    """What a pass gave."""

    features: Tensor
    """The features layer's output: N K t h w."""
    logits: Tensor
    """N M, before softmax, float32."""
    at: float = 0.0
    """When it was there: seconds of `time.perf_counter`."""


@dataclass(frozen=True)
class Forward:
    """One forward pass. Explainers read it and change nothing.

    It is made when something of it is first asked for. An explainer that needs more of it than features and logits asks
    for `record` first, and the recorded pass is then the one that classifies, too.
    """

    clip: Tensor
    """N C T H W, as the network takes it."""
    wanted: Sequence[int | None]
    """The class to explain of each clip; None: the top class."""
    weight: Tensor | None
    """The linear head: M K, float32; None where the head is more than pooling and one linear layer."""
    pooling: Tensor
    """How much the head's pooling weighs each feature frame: t, mean 1."""
    cells: Cells
    """Where the features' cells lie in the clip."""
    frames: int
    """Frames of the clip, T, as the camera gave them."""
    network: Network | None = None
    """What can be recorded, where more than features is to be had."""
    run: Run | None = None
    """What makes the pass: the network, or what runs it quicker."""
    bounds: tuple[Tensor, Tensor] | None = None
    """Least and largest value that a pixel of the clip can have: 1 C 1 1 1 each."""
    chosen: tuple[str, ...] = ()
    """Layers that explainers of several layers look at, first to last; none: all that the network names."""
    theta: float = 0.6
    """From which share on a Class Feature Pyramid of this network follows a channel."""
    resting: Callable[[], Tensor] | None = None
    """Gives `rest`."""
    done: list[Outcome] = field(default_factory=list)
    """What the pass gave, once it was made."""

    @property
    def outcome(self) -> Outcome:
        """What the pass gives; made now, if it was not yet."""
        if not self.done:
            with torch.inference_mode():
                self.give(*(self.run or self.whole.run)(self.clip))
        return self.done[0]

    @property
    def features(self) -> Tensor:
        """The features layer's output: N K t h w."""
        return self.outcome.features

    @property
    def logits(self) -> Tensor:
        """N M, before softmax, float32."""
        return self.outcome.logits

    @property
    def rest(self) -> Tensor:
        """The features of a grey clip, in which nothing is to be seen: 1 K t h w. UserError where nobody knows them."""
        if self.resting is None:
            raise UserError("rest: what the features of a grey clip are is not at hand here; leave it out")
        return self.resting()

    @property
    def target(self) -> Tensor:
        """The class to explain: N, int64."""
        top = self.logits.argmax(1).tolist()
        classes = [best if c is None else c for c, best in zip(self.wanted, top, strict=True)]
        return torch.tensor(classes, device=self.logits.device)

    @property
    def stages(self) -> tuple[str, ...]:
        """Layers that explainers of several layers look at, first to last."""
        return self.chosen or self.whole.main

    def record(
        self,
        layers: Collection[str],
        rules: AbstractContextManager[Any] | None = None,
        marked: Callable[[Tensor], Tensor] = lambda clip: clip,
    ) -> Recorded:
        """The pass with what these layers gave; see `rtx.nets.record`. UserError for one that does not exist."""
        network = self.whole
        for name in layers:
            if name not in network.names:
                raise unknown("layer", name, network.names)
        paths = [network.path(name) for name in layers]
        recorded = record(network, self.clip, paths, rules, marked, also=network.path(network.last))
        if not self.done:
            self.give(recorded.also.detach(), exact(recorded.logits.detach()))
        return recorded

    def give(self, features: Tensor, logits: Tensor) -> None:
        """Say what the pass gave."""
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)
        self.done.append(Outcome(features, logits, time.perf_counter()))

    @property
    def whole(self) -> Network:
        """The network. UserError where only features are at hand."""
        if self.network is None:
            raise UserError("this explainer needs a pass of its own, but only features are at hand here")
        return self.network

    def score(self, logits: Tensor) -> Tensor:
        """The class's score, of logits N M: N. UserError where nothing that was asked for has a part in it."""
        if not logits.requires_grad:
            raise UserError(
                "the scores do not depend on what is to be explained: that layer has no part in them, or the network "
                "cuts gradients off (no_grad, detach)"
            )
        return logits.gather(1, self.target[:, None])[:, 0]

    def branch(self, number: int, of: int) -> Forward:
        """The pass as if one of several branches gave all the features."""
        outcome = self.outcome
        features = outcome.features.chunk(of, dim=1)[number]
        return replace(
            self, resting=lambda: self.rest.chunk(of, dim=1)[number], done=[outcome._replace(features=features)]
        )

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
Along = tuple[int, float, float]
"""On one axis: how many cells, their stride, the centre of the first."""


class Network(nn.Module):
    """What explainers ask of a network."""

    names: tuple[str, ...]
    """Its layers that have time and space, first to last."""
    last: str
    """The one that gives the features."""
    branches: int = 1
    """Of a twin network 2: its features are those of one branch, and then, in as many channels, of the other."""

    @property
    def main(self) -> tuple[str, ...]:
        """Of its layers, those that are in no other."""
        return self.names

    def path(self, layer: str) -> str:
        """The name of a layer's module within this one."""
        raise NotImplementedError

    def run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Features N K t h w and logits N M (float32) of a clip N C T H W."""
        raise NotImplementedError

    @property
    def linear(self) -> Tensor | None:
        """The head's weights M K, where it is pooling and one linear layer."""
        raise NotImplementedError

    def pooling(self, frames: int) -> Tensor:
        """Weight of each of `frames` feature frames in the head's mean: t, mean 1."""
        return torch.ones(frames)

    def cells(self, input_size: tuple[int, int, int], layer: str | None = None) -> Cells:
        """Stride and centre of a layer's cells (the features') along t, y, x, for a clip of T H W."""
        raise NotImplementedError

    def shape(self, input_size: tuple[int, int, int], layer: str | None = None) -> tuple[int, int, int]:
        """A layer's cells along t, y, x, for a clip of T H W."""
        raise NotImplementedError

    def inner(self, input_size: tuple[int, int, int], shape: tuple[int, ...], followed: Cells) -> Cells:
        """Of a layer of this shape (t h w) that may have no name: where its cells lie, followed through a pass."""
        return followed


class Staged(Network):
    """Named stages, one after another, then a head.

    Where the head is pooling and one linear layer, subclasses set `weight` (M K) and `bias` (M), and override `pooling`
    if its mean is not plain; else they override `classify`.
    """

    stages: nn.ModuleDict
    weight: Tensor
    bias: Tensor
    chosen: str | None = None
    """The stage that gives the features, where that is not the last."""

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.stages)

    @property
    def last(self) -> str:  # type: ignore[override]
        return self.chosen or self.names[-1]

    def named(self, layer: str | None) -> str | None:
        """The layer, if there is one of that name. UserError."""
        if layer is not None and layer not in self.names:
            raise unknown("layer", layer, self.names)
        return layer

    def path(self, layer: str) -> str:
        return f"stages.{layer}"

    @property
    def linear(self) -> Tensor | None:
        return getattr(self, "weight", None) if self.last == self.names[-1] else None

    def run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        features = clip
        for name, stage in self.stages.items():
            clip = stage(clip)
            if name == self.last:
                features = clip if name == self.names[-1] else clip.clone()  # The next stage may write into it.
        return features, self.classify(clip)

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

    def published(self) -> dict[str, tuple[int, ...]]:
        """What `load_folded` takes: names and shapes."""
        state = self.state_dict()
        return {name: tuple(of.shape) for name, of in state.items() if not name.endswith("num_batches_tracked")}

    def load_folded(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights as they were trained, folding BatchNorms into convolutions. UserError names what is amiss."""
        for name, shape in self.published().items():
            if name not in weights or tuple(weights[name].shape) != shape:
                found = tuple(weights[name].shape) if name in weights else "not there"
                raise UserError(f"these are not the weights of this network: {name!r} is {found}, expected {shape}")
        self.load_state_dict(dict(weights), strict=False)
        fold(self)

    def axes(self, stage: str) -> tuple[Layers, Layers, Layers]:
        """The layers of a stage along t, y and x, as far as they move or thin out cells."""
        raise NotImplementedError

    def cells(self, input_size: tuple[int, int, int], layer: str | None = None) -> Cells:
        (_, jump_t, centre_t), (_, jump_y, centre_y), (_, jump_x, centre_x) = self._followed(input_size, layer)
        return Cells((jump_t, jump_y, jump_x), (centre_t, centre_y, centre_x))

    def shape(self, input_size: tuple[int, int, int], layer: str | None = None) -> tuple[int, int, int]:
        (t, _, _), (y, _, _), (x, _, _) = self._followed(input_size, layer)
        return t, y, x

    def inner(self, input_size: tuple[int, int, int], shape: tuple[int, ...], followed: Cells) -> Cells:
        # As the first stage of that size, which may have its own idea of where a cell belongs in time.
        named = (name for name in self.names if self.shape(input_size, name) == shape != input_size)
        return next((self.cells(input_size, name) for name in named), followed)

    def _followed(self, input_size: tuple[int, int, int], stage: str | None) -> list[Along]:
        """Cells along t, y, x after this stage."""
        known = _FOLLOWED.get(self)
        if known is None or known[0] != input_size:
            at: list[Along] = [(size, 1, 0.0) for size in input_size]
            after: dict[str, list[Along]] = {}
            for name in self.stages:
                at = after[name] = [follow(along, layers) for along, layers in zip(at, self.axes(name), strict=True)]
            known = _FOLLOWED[self] = input_size, after
        return known[1][stage or self.last]


_FOLLOWED: MutableMapping[Staged, tuple[tuple[int, int, int], dict[str, list[Along]]]] = WeakKeyDictionary()
"""Cells after each stage of a network, for the last size of a clip: to follow them takes longer than an explainer."""


class PooledHead(Staged):
    """Stages, pooling, and one linear layer `fc`."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.fc.weight

    @property
    def bias(self) -> Tensor:  # type: ignore[override]
        return self.fc.bias


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after one axis: the output has ceil(size / stride) cells."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def follow(along: Along, layers: Layers) -> Along:
    """Cells on one axis after these layers."""
    size, jump, centre = along
    for kernel, stride, *explicit in layers:
        before = explicit[0] if explicit else same_padding(size, kernel, stride)[0]
        centre += ((kernel - 1) / 2 - before) * jump
        jump *= stride
        size = -(-size // stride)
    return size, jump, centre
