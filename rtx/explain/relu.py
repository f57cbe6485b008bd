"""ReLU with the gradient of guided backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rtx.errors import UserError

RELU = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
OTHERS = frozenset({
    F.gelu, F.silu, F.elu, F.celu, F.selu, F.leaky_relu, F.rrelu, F.prelu, F.hardswish, F.hardtanh, F.hardsigmoid,
    F.mish, F.softplus, F.relu6, F.tanh, F.sigmoid, torch.tanh, torch.sigmoid, Tensor.tanh, Tensor.sigmoid, F.glu,
    F.logsigmoid,
})  # fmt: skip


class GuidedReLU(TorchFunctionMode):
    """While it holds, a ReLU lets only positive gradients through. UserError at any other activation."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in RELU and torch.is_grad_enabled():
            return _Guided.apply(args[0])  # type: ignore[no-untyped-call]
        if func in OTHERS:
            raise UserError(f"guided backprop needs ReLUs; this network has {func.__name__}: take saliency or grad_cam")
        return func(*args, **(kwargs or {}))


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        passed: Tensor = gradient.clamp(min=0) * (y > 0)
        return passed
