"""Which channels of a network reach which: one pass written down as a graph of convolutions, sums and joins.

What leaves channels as they are (ReLU, pooling, padding) is no node of its own; BatchNorm's scale goes into the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from rtx.nets.forward import exact
from rtx.nets.places import Places, tensors


@dataclass(eq=False)
class Clip:
    """Where the graph ends: the clip's own channels."""


@dataclass(eq=False)
class Convolution:
    """A layer of kernels over the channels of what they see."""

    source: Node
    seen: Tensor
    """Its input: N C t h w."""
    weight: Tensor
    """K C/groups t h w."""
    groups: int
    constant: bool
    scale: Tensor | None = None
    """BatchNorm's, of each kernel: K 1."""

    def kernels(self, rows: Tensor) -> Tensor:
        """Means over the volumes of these kernels, with BatchNorm's scale: R C/groups."""
        means = (_remembered(self.weight) if self.constant else _mean(self.weight)).index_select(0, rows)
        return means if self.scale is None else means * self.scale.index_select(0, rows)


@dataclass(eq=False)
class Sum:
    """Branches that were added: each has all the channels."""

    sources: tuple[Node, ...]


@dataclass(eq=False)
class Join:
    """Branches that were put side by side: each has so many channels."""

    sources: tuple[Node, ...]
    sizes: tuple[int, ...]


Node = Clip | Convolution | Sum | Join


class Tape(Places):
    """While it holds, tensors of a clip know the node that made them, and where their cells lie.

    `constant`: the weights never change, so that what is read of them once can be remembered.
    """

    def __init__(self, constant: bool):
        super().__init__()
        self.constant = constant

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        node = self._before(func, args, kwargs)
        out = super().__torch_function__(func, types, args, kwargs)
        if isinstance(out, Tensor) and out.dim() == 5 and node is not None:
            # Where channels were taken apart or mixed otherwise, the graph ends.
            out.node = node if _channels(node) in (None, out.shape[1]) else Clip()  # type: ignore[attr-defined]
            if func is F.pad:
                out.unpadded = args[0]  # type: ignore[attr-defined]
        return out

    def _before(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node | None:
        """The node of what this operation will give; None where it has nothing to do with clips."""
        if func is F.conv3d:
            return self._convolution(*args, **kwargs)
        clips = [x for x in tensors((*args, *kwargs.values())) if x.dim() == 5]
        if not clips:
            return None
        if func in (torch.cat, torch.concat) and (kwargs.get("dim", args[1] if len(args) > 1 else 0)) in (1, -4):
            return Join(tuple(node_of(x) for x in clips), tuple(x.shape[1] for x in clips))
        if func in _SUMS and len(clips) == 2 and clips[0].shape == clips[1].shape:
            return Sum((node_of(clips[0]), node_of(clips[1])))
        # Of a gate and what goes through it, the latter.
        node = node_of(max(clips, key=lambda x: x[0, 0].numel()))
        if func is F.batch_norm and isinstance(node, Convolution):
            scale = _scale(*args[1:], **kwargs)[:, None]
            return replace(node, scale=scale if node.scale is None else node.scale * scale)
        return node

    def _convolution(
        self, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Convolution:  # fmt: skip
        seen = getattr(input, "unpadded", input)
        return Convolution(node_of(input), seen, weight, groups, self.constant)


def node_of(x: Tensor) -> Node:
    node: Node | None = getattr(x, "node", None)
    return Clip() if node is None else node


def _channels(node: Node) -> int | None:
    """How many it gives; None of the clip, which may be anything."""
    if isinstance(node, Convolution):
        return int(node.weight.shape[0])
    if isinstance(node, Join):
        return sum(node.sizes)
    return next(filter(None, map(_channels, node.sources)), None) if isinstance(node, Sum) else None


def _scale(
    mean: Tensor, var: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    scale = torch.rsqrt(var + eps)
    return scale if weight is None else scale * weight


def _mean(weight: Tensor) -> Tensor:
    return exact(weight).mean((2, 3, 4))


_MEANS: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()


def _remembered(weight: Tensor) -> Tensor:
    """Means of weights that do not change: to read them takes longer than all else."""
    if weight not in _MEANS:
        _MEANS[weight] = _mean(weight)
    return _MEANS[weight]


_SUMS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__})
