"""ReLU with the gradient of guided backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rtx.errors import UserError

RELU = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})
OTHERS = frozenset({
    F.gelu, F.silu, F.elu, F.celu, F.selu, F.leaky_relu, F.rrelu, F.prelu, F.hardswish, F.hardtanh, F.hardsigmoid,
    F.mish, F.softplus, F.relu6, F.tanh, F.sigmoid, torch.tanh, torch.sigmoid, Tensor.tanh, Tensor.sigmoid, F.glu,
    F.logsigmoid, F.softsign, F.threshold, F.elu_, F.leaky_relu_, F.hardtanh_, F.rrelu_, torch.rrelu, torch.rrelu_,
    torch.sigmoid_, torch.tanh_, Tensor.sigmoid_, Tensor.tanh_, torch.erf, Tensor.erf, torch.maximum, Tensor.maximum,
    torch.selu, torch.celu, torch.prelu, F.selu_, F.celu_,
})  # fmt: skip


CLAMPS = frozenset({
    torch.clamp, Tensor.clamp, torch.clamp_min, Tensor.clamp_min, torch.clip, Tensor.clip, Tensor.clamp_,
    Tensor.clamp_min_, torch.clamp_, torch.clamp_min_,
})  # fmt: skip


def _clamps_at_zero(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Is it a ReLU by another name?"""
    said = dict(zip(("input", "min", "max"), args, strict=False)) | kwargs
    low, high = said.get("min"), said.get("max")
    return isinstance(low, int | float) and low == 0 and high is None and not func.__name__.endswith("_")


class GuidedReLU(TorchFunctionMode):
    """While it holds, a ReLU lets only positive gradients through. UserError at any other activation."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = True

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Meanwhile, gradients of what was recorded are those of plain ReLUs."""
        self.cuts = False
        try:
            yield
        finally:
            self.cuts = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RELU and torch.is_grad_enabled():
            return self._relu(func, *args, **kwargs)
        if func in CLAMPS and args[0].requires_grad and _clamps_at_zero(func, args, kwargs):
            return self._relu(func, args[0])
        if func in OTHERS or (func in CLAMPS and args[0].requires_grad):
            raise UserError(f"guided backprop needs ReLUs; this network has {func.__name__}: take saliency or grad_cam")
        return func(*args, **kwargs)

    def _relu(self, func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Any:
        """What is done in place stays in place: its return value may be left unused."""
        return _Guided.apply(input, self, inplace or func in IN_PLACE)  # type: ignore[no-untyped-call]


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, at: GuidedReLU, in_place: bool) -> Tensor:
        y = x.clamp_(min=0) if in_place else x.clamp(min=0)
        if in_place:
            ctx.mark_dirty(x)
        ctx.at = at
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        passed: Tensor = torch.ops.aten.threshold_backward(gradient, y, 0)
        return passed.clamp_(min=0) if ctx.at.cuts else passed, None, None
