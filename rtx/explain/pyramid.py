"""Class Feature Pyramids: from a class back through the layers, the channels that matter, and where they are active."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated

from rtx.explain.registry import Range, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.link.wire import Cells
    from rtx.nets.forward import Forward
    from rtx.nets.tape import Convolution, Node


@dataclass(frozen=True)
class Layer:
    """One step back: what some kernels see."""

    seen: "Tensor"
    """Their input: N C t h w."""
    kept: "Tensor"
    """Which of its channels matter to which kernel: N K C, bool."""
    counted: "Tensor"
    """What each channel counts in the layer's map: N C, over the kernels the sum of its share in their means."""
    cells: "Cells"
    """Where its input's cells lie in the clip."""
    below: "tuple[Layer, ...]"
    """The layers that made this input, one for each branch."""

    @property
    def channels(self) -> "Tensor":
        """Channels that matter to any kernel: N C, bool."""
        return self.counted > 0

    @property
    def relevance(self) -> "Tensor":
        """The layer's map N t h w: sum over its kernels of the mean of their channels' maps."""
        from rtx.explain.features import sum_over_channels

        return sum_over_channels(self.counted, self.seen)

    def kernel(self, number: int) -> "Tensor":
        """One kernel's map N t h w: the mean of its channels' maps."""
        from rtx.explain.features import sum_over_channels

        kept = self.kept[:, number].to(self.counted)
        return sum_over_channels(kept / kept.sum(dim=1, keepdim=True).clamp(min=1), self.seen)


@explainer(reads="layer inputs", paper="Stergiou et al. 2019, Class Feature Pyramids for Video Explanation, Eq. 1 to 3")
def pyramid(
    forward: "Forward", *, theta: Annotated[float | None, Range(0, 1)] = None, depth: Annotated[int, Range(0, 12)] = 2
) -> "Tensor":
    """Where the channels are active that matter to the class, so many layers down: map N T H W.

    `theta`: channels whose share reaches it, scaled from least to most, are followed; without it, the model card's,
    because it differs by network. The paper has a sigmoid and then
    "> 0", which would keep all; its code and its thresholds (0.55 to 0.84) are as here. With `depth=0` the map is that
    of the features; else it is the sum over the branches that many convolutions down, each placed where its cells lie.
    """
    from rtx.explain.features import sum_over_channels
    from rtx.explain.placing import upsample_at

    layers = [tree(forward, forward.theta if theta is None else theta, depth)]
    for _ in range(depth):
        layers = [below for layer in layers for below in layer.below] or layers
    # A map is linear in what channels count: those of one input are added before it is read, and those of one size and
    # place before they are enlarged.
    inputs: dict[Tensor, tuple[Cells, Tensor]] = {}
    for layer in layers:
        counted = inputs[layer.seen][1] + layer.counted if layer.seen in inputs else layer.counted
        inputs[layer.seen] = layer.cells, counted
    maps: dict[object, tuple[Cells, Tensor]] = {}
    for seen, (cells, counted) in inputs.items():
        r = sum_over_channels(counted, seen)
        maps[r.shape, cells] = cells, maps[r.shape, cells][1] + r if (r.shape, cells) in maps else r
    first, *others = (upsample_at(forward, cells, r) for cells, r in maps.values())
    return sum(others, first)


def tree(forward: "Forward", theta: float, depth: int) -> Layer:
    """The pyramid as data: what matters to the class in the features, and below."""
    import torch

    from rtx.errors import UserError
    from rtx.nets.forward import Staged
    from rtx.nets.places import on_pixels
    from rtx.nets.tape import Tape, node_of

    if forward.weight is None:
        raise UserError("a pyramid starts from a head of pooling and one linear layer; this network has none")
    with torch.no_grad():
        tape = Tape(constant=isinstance(forward.whole, Staged))
        recorded = forward.record((forward.whole.last,), tape, on_pixels).also
        features, mean = recorded.detach(), cache(_mean)
        # The class is the only kernel here: W[c] * mean(A).
        scores = (forward.weight[forward.target] * mean(features))[:, None]
        kept = _reached(scores, theta)
        counted = (kept.to(scores) / kept.sum(dim=2, keepdim=True).clamp(min=1))[:, 0]
        layers = _below(forward, node_of(recorded), counted > 0, theta, depth, mean)
        return Layer(features, kept, counted, _cells(forward, recorded), layers)


def _cells(forward: "Forward", seen: "Tensor") -> "Cells":
    from rtx.nets.places import cells_of

    size = forward.input_size
    return forward.whole.inner(size, tuple(seen.shape[2:]), cells_of(seen, size))


def _below(
    forward: "Forward", node: "Node", kernels: "Tensor", theta: float, depth: int, mean: "Callable[[Tensor], Tensor]"
) -> tuple[Layer, ...]:
    """The layers below whose kernels (N K, bool) are to be followed. `mean`: of an input's channels, N C."""
    import torch

    from rtx.nets.tape import Clip, Convolution, Join, Sum

    if depth == 0 or isinstance(node, Clip):
        return ()
    if isinstance(node, Sum):
        return tuple(of for branch in node.sources for of in _below(forward, branch, kernels, theta, depth, mean))
    if isinstance(node, Join):
        parts = zip(node.sources, torch.split(kernels, list(node.sizes), dim=1), strict=True)
        return tuple(of for branch, part in parts for of in _below(forward, branch, part, theta, depth, mean))
    assert isinstance(node, Convolution)
    kept, counted = _step_back(mean(node.seen), node, kernels, theta)
    below = _below(forward, node.source, counted > 0, theta, depth - 1, mean)
    return (Layer(node.seen, kept, counted, _cells(forward, node.seen), below),)


def _step_back(activity: "Tensor", node: "Convolution", followed: "Tensor", theta: float) -> "tuple[Tensor, Tensor]":
    """Of channels' means N C and a layer of kernels, of which some are followed (N K): kept N K C, counted N C."""
    (n, channels), (k, width) = activity.shape, node.weight.shape[:2]
    # Only kernels that some clip follows.
    rows = followed.any(dim=0).nonzero()[:, 0]
    group = rows // (k // node.groups)
    scores = activity.view(n, node.groups, width).index_select(1, group) * node.kernels(rows)
    reached = _reached(scores, theta, followed.index_select(1, rows)[:, :, None])
    kept = followed.new_zeros(n, k, node.groups, width)
    kept[:, rows, group] = reached
    shares = reached.to(activity)
    shares /= shares.sum(dim=2, keepdim=True).clamp(min=1)
    counted = activity.new_zeros(n, node.groups, width).index_add_(1, group, shares)
    return kept.view(n, k, channels), counted.view(n, channels)


def _reached(scores: "Tensor", theta: float, followed: "Tensor | bool" = True) -> "Tensor":
    """Scores N K C scaled from least to most over the channels of each kernel that is followed: which reach theta."""
    import torch

    least, most = scores.amin(dim=2, keepdim=True), scores.amax(dim=2, keepdim=True)
    # Where there is but one channel, as in a depthwise convolution, it is the one.
    some = ((most > least) | (scores.shape[2] == 1)) & followed
    return scores >= torch.lerp(least, most, theta).where(some, torch.inf)


def _mean(a: "Tensor") -> "Tensor":
    from rtx.nets.forward import exact

    return exact(a).mean(dim=(2, 3, 4))
