"""Which channels of a network reach which: one pass written down as a graph of convolutions, sums and joins.

What leaves channels as they are (ReLU, pooling, padding) is no node of its own; BatchNorm's scale goes into the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from rtx.nets.forward import exact


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
    scale: Tensor | float = 1.0
    """BatchNorm's, of each kernel: K 1."""

    @property
    def kernel(self) -> Tensor:
        """Mean over each kernel's volume, with BatchNorm's scale: K C/groups."""
        return _mean(self.weight) * self.scale


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


class Tape(TorchFunctionMode):
    """While it holds, tensors of a clip know the node that made them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        node = _before(func, args, kwargs)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and out.dim() == 5 and node is not None:
            out.node = node  # type: ignore[attr-defined]
            if func is F.pad:
                out.unpadded = args[0]  # type: ignore[attr-defined]
        return out


def node_of(x: Tensor) -> Node:
    node: Node | None = getattr(x, "node", None)
    return Clip() if node is None else node


def _before(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node | None:
    """The node of what this operation will give; None where it has nothing to do with clips."""
    if func is F.conv3d:
        return _convolution(*args, **kwargs)
    if func in (torch.cat, torch.concat):
        return Join(tuple(node_of(x) for x in args[0]), tuple(x.shape[1] for x in args[0]))
    clips = [x for x in args if isinstance(x, Tensor) and x.dim() == 5]
    if not clips:
        return None
    if func in _SUMS and len(clips) == 2:
        return Sum((node_of(clips[0]), node_of(clips[1])))
    node = node_of(clips[0])
    if func is F.batch_norm and isinstance(node, Convolution):
        node.scale = _scale(*args[1:], **kwargs)[:, None]
    return node


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Convolution:  # fmt: skip
    seen = getattr(x, "unpadded", x)
    return Convolution(node_of(x), seen, weight, groups)


def _scale(
    mean: Tensor, var: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    scale = torch.rsqrt(var + eps)
    return scale if weight is None else scale * weight


_MEANS: MutableMapping[Tensor, tuple[int, Tensor]] = WeakTensorKeyDictionary()


def _mean(weight: Tensor) -> Tensor:
    """Mean over each kernel's volume, remembered until the weights change: to read them takes longer than all else."""
    known = _MEANS.get(weight)
    if known is None or known[0] != weight._version:
        known = _MEANS[weight] = weight._version, exact(weight).mean((2, 3, 4))
    return known[1]


_SUMS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__})
