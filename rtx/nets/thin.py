"""Convolutions over few channels, as over a clip's colours: the gradient of their input as a convolution of its own.

torch's takes several times as long there: a stem of stride 2 over three colours has little to do for each pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEW = 8
"""Channels of the input, at most."""

Triple = tuple[int, int, int]


class Thin(TorchFunctionMode):
    """While it holds, such convolutions have this gradient."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (conv3d if func is F.conv3d else func)(*args, **(kwargs or {}))


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`F.conv3d`, with the quicker gradient of its input where that is one."""
    strides = _triple(stride)
    thin = input.dim() == 5 and input.shape[1] <= FEW and max(strides) > 1 and _triple(dilation) == (1, 1, 1)
    alone = groups == 1 and input.requires_grad and not weight.requires_grad and torch.is_grad_enabled()
    if not (thin and alone) or torch.is_autocast_enabled(input.device.type):
        return F.conv3d(input, weight, bias, stride, padding, dilation, groups)
    return _Strided.apply(input, weight, bias, strides, padding)  # type: ignore[no-any-return, no-untyped-call]


def _triple(value: Any) -> Triple:
    t, y, x = (value,) * 3 if isinstance(value, int) else value
    return t, y, x


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Triple, padding: Any) -> Tensor:
        ctx.save_for_backward(weight)
        kernel, size = weight.shape[2:], x.shape[2:]
        if padding == "valid":
            padding = 0
        elif padding == "same":  # Of stride 1 alone, where this is not asked for.
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        ctx.about = size, stride, _triple(padding)
        assert len(kernel) == 3
        return F.conv3d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _of_input(gradient, weight, *ctx.about), None, None, None, None


def _of_input(gradient: Tensor, weight: Tensor, size: Triple, stride: Triple, padding: Triple) -> Tensor:
    """Pixels s q + r (less the padding), for each remainder r of the stride s, see taps s m + r of the outputs q - m.

    So each remainder is a set of channels of one convolution of stride 1, and all are laid between each other.
    """
    n, outputs, channels, *kernel = (len(gradient), *weight.shape)
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    room = [m * s - k for m, s, k in zip(taps, stride, kernel, strict=True)]
    whole = F.pad(weight, [0, room[2], 0, room[1], 0, room[0]])
    split = whole.reshape(outputs, channels, taps[0], stride[0], taps[1], stride[1], taps[2], stride[2])
    by_remainder = split.permute(1, 3, 5, 7, 0, 2, 4, 6).flip(5, 6, 7).reshape(-1, outputs, *taps)
    # Cells beyond those that there are have no gradient, but pixels may have been looked at by the last of them.
    cells = [-(-(extent + p) // s) for extent, p, s in zip(size, padding, stride, strict=True)]
    short = [max(0, c - g - m + 1) for c, g, m in zip(cells, gradient.shape[2:], taps, strict=True)]
    gradient = F.pad(gradient, [0, short[2], 0, short[1], 0, short[0]])
    between = F.conv3d(gradient, by_remainder, padding=tuple(m - 1 for m in taps))
    q = between.shape[2:]
    laid = between.reshape(n, channels, *stride, *q).permute(0, 1, 5, 2, 6, 3, 7, 4)
    laid = laid.reshape(n, channels, q[0] * stride[0], q[1] * stride[1], q[2] * stride[2])
    t, y, x = (slice(p, p + extent) for p, extent in zip(padding, size, strict=True))
    return laid[:, :, t, y, x]
