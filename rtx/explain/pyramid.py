"""Class Feature Pyramids: from a class back through the layers, the channels that matter, and where they are active."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rtx.explain.registry import Range, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.link.wire import Cells
    from rtx.nets.forward import Forward
    from rtx.nets.tape import Node


@dataclass(frozen=True)
class Layer:
    """One step back: what some kernels see."""

    seen: "Tensor"
    """Their input: N C t h w."""
    kept: "Tensor"
    """Which of its channels matter to which kernel: N K C, bool."""
    cells: "Cells"
    """Where its input's cells lie in the clip."""
    below: "tuple[Layer, ...]"
    """The layers that made this input, one for each branch."""

    @property
    def channels(self) -> "Tensor":
        """Channels that matter to any kernel: N C, bool."""
        return self.kept.any(dim=1)

    @property
    def relevance(self) -> "Tensor":
        """The layer's map N t h w: sum over its kernels of the mean of their channels' maps."""
        from rtx.explain.features import sum_over_channels

        return sum_over_channels(self.shares.sum(dim=1), self.seen)

    def kernel(self, number: int) -> "Tensor":
        """One kernel's map N t h w: the mean of its channels' maps."""
        from rtx.explain.features import sum_over_channels

        return sum_over_channels(self.shares[:, number], self.seen)

    @property
    def shares(self) -> "Tensor":
        """What each channel counts in each kernel's mean: N K C."""
        from rtx.nets.forward import exact

        kept = self.kept.to(exact(self.seen[:0]).dtype)
        return kept / kept.sum(dim=2, keepdim=True).clamp(min=1)


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
    from rtx.explain.placing import upsample_at

    layers = [tree(forward, forward.theta if theta is None else theta, depth)]
    for _ in range(depth):
        layers = [below for layer in layers for below in layer.below] or layers
    alike: dict[object, tuple[Cells, Tensor]] = {}
    for layer in layers:
        r = layer.relevance
        key = r.shape, layer.cells.stride, layer.cells.centre
        alike[key] = layer.cells, alike[key][1] + r if key in alike else r
    maps = [upsample_at(forward, cells, r) for cells, r in alike.values()]
    return sum(maps[1:], maps[0])


def tree(forward: "Forward", theta: float, depth: int) -> Layer:
    """The pyramid as data: what matters to the class in the features, and below."""
    import torch

    from rtx.errors import UserError
    from rtx.nets.places import on_pixels
    from rtx.nets.tape import Tape, node_of

    if forward.weight is None:
        raise UserError("a pyramid starts from a head of pooling and one linear layer; this network has none")
    with torch.no_grad():
        from rtx.nets.forward import Staged

        tape = Tape(constant=isinstance(forward.whole, Staged))
        recorded = forward.record((forward.whole.last,), tape, on_pixels).also
        features = recorded.detach()
        # The class is the only kernel here: W[c] * mean(A).
        weight = forward.weight[forward.target].clone()[:, None]
        kept = _reached(weight * _mean(features)[:, None], torch.ones_like(weight[0], dtype=torch.bool), theta)
        layers = _below(forward, node_of(recorded), kept.any(dim=1), theta, depth)
        return Layer(features, kept, _cells(forward, recorded), layers)


def _cells(forward: "Forward", seen: "Tensor") -> "Cells":
    from rtx.nets.places import cells_of

    size = forward.input_size
    return forward.whole.inner(size, tuple(seen.shape[2:]), cells_of(seen, size))


def _below(forward: "Forward", node: "Node", kernels: "Tensor", theta: float, depth: int) -> tuple[Layer, ...]:
    """The layers below whose kernels (N K, bool) are to be followed."""
    import torch

    from rtx.nets.tape import Clip, Convolution, Join, Sum

    if depth == 0 or isinstance(node, Clip):
        return ()
    if isinstance(node, Sum):
        return tuple(layer for source in node.sources for layer in _below(forward, source, kernels, theta, depth))
    if isinstance(node, Join):
        parts = zip(node.sources, torch.split(kernels, list(node.sizes), dim=1), strict=True)
        return tuple(layer for source, part in parts for layer in _below(forward, source, part, theta, depth))
    assert isinstance(node, Convolution)
    # Each kernel in its own group's channels: K C.
    kernel = node.kernel
    k, width = kernel.shape
    groups = torch.eye(node.groups, dtype=torch.bool, device=kernel.device)[:, None, :, None]
    own = groups.expand(-1, k // node.groups, -1, width).reshape(k, -1)
    spread = own * kernel.repeat(1, node.groups)
    kept = _reached(_mean(node.seen)[:, None] * spread, own, theta) & kernels[:, :, None]
    below = _below(forward, node.source, kept.any(dim=1), theta, depth - 1)
    return (Layer(node.seen, kept, _cells(forward, node.seen), below),)


def _reached(scores: "Tensor", own: "Tensor", theta: float) -> "Tensor":
    """Scores N K C scaled from least to most over each kernel's own channels (K C): which reach theta."""
    import torch

    least = torch.where(own, scores, torch.inf).amin(dim=2, keepdim=True)
    most = torch.where(own, scores, -torch.inf).amax(dim=2, keepdim=True)
    # Where there is but one channel, as in a depthwise convolution, it is the one.
    alone = own.sum(dim=1, keepdim=True) == 1
    return (scores - least >= theta * (most - least)) & ((most > least) | alone) & own


def _mean(a: "Tensor") -> "Tensor":
    from rtx.nets.forward import exact

    return exact(a).mean(dim=(2, 3, 4))
