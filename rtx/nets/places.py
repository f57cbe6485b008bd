"""Where the cells of a network's layers lie in the clip: followed through a pass, operation by operation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rtx.link.wire import Cells

PIXELS = Cells((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


class Places(TorchFunctionMode):
    """While it holds, tensors N K t h w know where their cells lie."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and out.dim() == 5:
            source = next((x for x in tensors((*args, *kwargs.values())) if hasattr(x, "cells")), None)
            if source is not None:
                out.cells = _cells(func, source, out, args, kwargs)  # type: ignore[attr-defined]
        return out


def on_pixels(clip: Tensor) -> Tensor:
    """The clip, whose cells are pixels."""
    clip.cells = PIXELS  # type: ignore[attr-defined]
    return clip


def cells_of(x: Tensor, size: tuple[int, int, int]) -> Cells:
    """Where they lie in a clip of this size; evenly over it, where that could not be followed."""
    known: Cells | None = getattr(x, "cells", None)
    return known or _evenly(PIXELS, size, tuple(x.shape[2:]))


def tensors(values: tuple[Any, ...]) -> list[Tensor]:
    """Also those in lists, as `torch.cat` takes them."""
    flat = [x for value in values for x in (value if isinstance(value, list | tuple) else (value,))]
    return [x for x in flat if isinstance(x, Tensor)]


def _cells(func: Callable[..., Any], source: Tensor, out: Tensor, args: Any, kwargs: Any) -> Cells:
    before: Cells = source.cells  # type: ignore[attr-defined]
    if func is F.conv3d:
        about = _CONVOLUTION.bind(*args, **kwargs)
        about.apply_defaults()
        return _layer(before, tuple(about.arguments["weight"].shape[2:]), **_named(about.arguments))
    if func in _POOLS:
        about = _POOLS[func].bind(*args, **kwargs)
        about.apply_defaults()
        kernel = _triple(about.arguments["kernel_size"])
        return _layer(before, kernel, **_named(about.arguments | {"stride": about.arguments["stride"] or kernel}))
    if func is Tensor.__getitem__ and (steps := _slices(args[1], source)) is not None:
        along = zip(before.stride, before.centre, steps, strict=True)
        centre = _three(c + of.start * s for s, c, of in along)
        return Cells(_three(s * of.step for s, of in zip(before.stride, steps, strict=True)), centre)
    if func is F.pad:
        pads = [*args[1], 0, 0, 0, 0, 0, 0]
        moved = zip(before.centre, before.stride, (pads[4], pads[2], pads[0]), strict=True)
        return Cells(before.stride, _three(c - n * s for c, s, n in moved))
    return _evenly(before, tuple(source.shape[2:]), tuple(out.shape[2:]))


def _slices(index: Any, source: Tensor) -> list[slice] | None:
    """Start and step along t, y, x, where the index is made of slices alone."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice) for part in parts):
        return None
    whole = (*parts, *(slice(None),) * (5 - len(parts)))
    return [slice(*part.indices(size)) for part, size in zip(whole[2:], source.shape[2:], strict=True)]


def _named(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: arguments.get(name, 1) for name in ("stride", "padding", "dilation")}


def _layer(before: Cells, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any) -> Cells:
    """After a layer of these kernels."""
    strides, dilations = _triple(stride), _triple(dilation)
    if padding == "same":
        pads: tuple[float, ...] = tuple((k - 1) * d // 2 for k, d in zip(kernel, dilations, strict=True))
    else:
        pads = (0, 0, 0) if padding == "valid" else _triple(padding)
    along = zip(before.stride, before.centre, kernel, dilations, pads, strict=True)
    centre = _three(c + ((k - 1) * d / 2 - p) * s for s, c, k, d, p in along)
    return Cells(_three(s * by for s, by in zip(before.stride, strides, strict=True)), centre)


def _evenly(before: Cells, size: tuple[int, ...], cells: tuple[int, ...]) -> Cells:
    """So many cells spread over what so many were."""
    ratios = [n / m for n, m in zip(size, cells, strict=True)]
    along = zip(before.stride, before.centre, ratios, strict=True)
    stride = _three(s * r for s, r in zip(before.stride, ratios, strict=True))
    return Cells(stride, _three(c + (r - 1) / 2 * s for s, c, r in along))


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    t, y, x = values
    return t, y, x


def _triple(value: Any) -> tuple[int, int, int]:
    t, y, x = (value,) * 3 if isinstance(value, int) else tuple(value) * (3 if len(value) == 1 else 1)
    return t, y, x


# torch's own functions in C have no signature that could be asked for.
def _conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> None: ...


def _max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False,
    return_indices: Any = False,
) -> None: ...  # fmt: skip


def _avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: Any = False,
    count_include_pad: Any = True, divisor_override: Any = None,
) -> None: ...  # fmt: skip


_CONVOLUTION = inspect.signature(_conv3d)
_POOLS = {F.max_pool3d: inspect.signature(_max_pool3d), F.avg_pool3d: inspect.signature(_avg_pool3d)}
