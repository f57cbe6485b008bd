"""Propagation rules: for each operation, which contributions share the relevance of its output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rtx.errors import UserError
from rtx.explain.relu import IN_PLACE, RELU
from rtx.nets import thin
from rtx.nets.forward import exact

Layer = Callable[[Tensor, Tensor], Tensor]
"""A layer less its bias: input and weight to output, linear in each."""


class Made(NamedTuple):
    """How an output was made: a map that is linear in all its parts together, and the parts that went in."""

    parts: tuple[Tensor, ...]
    of: Callable[..., Tensor]


Rule = Callable[[Tensor, Tensor, Layer], Made]
Value = Callable[..., Tensor]


def z_plus(x: Tensor, weight: Tensor, layer: Layer) -> Made:
    """What speaks for an output: x+ w+ and x- w-. After a ReLU there is no x-."""
    if bool(x.amin() >= 0):
        return Made((x,), lambda x: layer(x, weight.clamp(min=0)))
    return _both(x.clamp(min=0), x.clamp(max=0), weight, layer)


def z_box(x: Tensor, weight: Tensor, layer: Layer) -> Made:
    """At the clip, whose values lie between low and high: x w - low w+ - high w- = (x - low) w+ + (x - high) w-.

    None of it is negative.
    """
    low, high = x.bounds  # type: ignore[attr-defined]
    return _both(x - low, x - high, weight, layer)


def _both(up: Tensor, down: Tensor, weight: Tensor, layer: Layer) -> Made:
    """What is not negative through positive weights, and what is not positive through negative ones."""

    def of(up: Tensor, down: Tensor) -> Tensor:
        plus, minus = weight.clamp(min=0), weight.clamp(max=0)
        if getattr(layer, "sums_channels", False) and up.shape[1] == weight.shape[1]:
            # Over a clip's few colours, one convolution of twice as many takes hardly longer than one.
            return layer(torch.cat((up, down), 1), torch.cat((plus, minus), 1))
        return layer(up, plus) + layer(down, minus)

    return Made((up, down), of)


def whole(x: Tensor, weight: Tensor, layer: Layer) -> Made:
    """All that made an output, what speaks for it and what against (the epsilon rule)."""
    return Made((x,), lambda x: layer(x, weight))


class Rules(NamedTuple):
    """Which rule holds where."""

    clip: Rule
    """In the layer that sees the clip."""
    convolution: Rule
    linear: Rule
    pooling: Literal["winner", "proportional"] = "winner"
    """Max pooling hands all to the winner, or shares as average pooling does."""
    positive: bool = True
    """Where features are added or averaged, only what is positive counts."""
    epsilon: float = 0.0
    """Added to denominators, as a share of the clip's largest."""
    contrastive: bool = False
    """In the last layer of weights, what speaks against the class is handed back with the sign turned."""


DEEP_TAYLOR = Rules(clip=z_box, convolution=z_plus, linear=z_plus)
EPSILON = Rules(clip=whole, convolution=whole, linear=whole, positive=False, epsilon=0.01)
COMPOSITE = Rules(clip=z_box, convolution=z_plus, linear=whole, epsilon=0.01)
EXCITATION = Rules(clip=z_plus, convolution=z_plus, linear=z_plus)
CONTRASTIVE = EXCITATION._replace(contrastive=True)


class _Shared(torch.autograd.Function):
    """A value whose relevance goes to what made it: each part times what it would give more, over the whole."""

    @staticmethod
    def forward(ctx: Any, at: Propagating, value: Value, made: Made, owners: tuple[int, ...], *xs: Tensor) -> Tensor:
        ctx.at, ctx.made, ctx.owners, ctx.inputs = at, made, owners, len(xs)
        return value(*xs)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        at, made = ctx.at, ctx.made
        handed, lost = _handed(made, relevance, at.rules.epsilon)
        at.lost = at.lost + lost
        if at.top is not None and at.top.made is made:
            against, _ = _handed(at.top.dual(), relevance, at.rules.epsilon)
            handed = [a - b for a, b in zip(handed, against, strict=True)]
        back: list[Tensor | None] = [None] * ctx.inputs
        for owner, of in zip(ctx.owners, handed, strict=True):
            back[owner] = of if back[owner] is None else back[owner] + of
        return None, None, None, None, *back


def _handed(made: Made, relevance: Tensor, epsilon: float) -> tuple[list[Tensor], Tensor]:
    """The relevance of each part, and how much fell where there was nothing to share: N."""
    with torch.enable_grad():
        parts = [part.detach().requires_grad_() for part in made.parts]
        z = made.of(*parts)
    below = z.detach()
    if epsilon:
        largest = below.abs().amax(dim=tuple(range(1, below.dim())), keepdim=True)  # Of each clip for itself.
        below += epsilon * largest * torch.where(below >= 0, 1.0, -1.0)
    nobody = below == 0
    lost = (relevance * nobody).flatten(1).sum(dim=1) if bool(nobody.any()) else relevance.new_zeros(len(relevance))
    # One layout: over two at once every step would go to and fro in memory.
    share = torch.empty_like(below).copy_(relevance).div_(below.masked_fill_(nobody, torch.inf))
    more = torch.autograd.grad(z, parts, share)
    return [of * part.detach() for part, of in zip(parts, more, strict=True)], lost


class Top(NamedTuple):
    """The last layer of weights that was seen, and what its dual is made of."""

    made: Made
    dual: Callable[[], Made]


class _Passed(torch.autograd.Function):
    """A value whose relevance goes on as it is."""

    @staticmethod
    def forward(ctx: Any, value: Value, in_place: bool, x: Tensor) -> Tensor:
        if in_place:
            ctx.mark_dirty(x)
        return value(x)

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        return None, None, relevance


class Propagating(TorchFunctionMode):
    """While it holds, operations hand back relevance where else they would a gradient.

    `bounds`: least and largest value of a pixel of the clip, each 1 C 1 1 1.
    """

    def __init__(self, rules: Rules, bounds: tuple[Tensor, Tensor]):
        super().__init__()
        self.rules, self.bounds = rules, bounds
        self.lost: Tensor | float = 0.0
        """Relevance of outputs that nothing contributed to, e.g. that a bias alone made: N, once it was handed back."""
        self.top: Top | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled() or not any(_depends(value) for value in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        for value in args:
            if isinstance(value, Tensor) and hasattr(value, "replaced"):
                raise UserError(f"what {value.replaced} wrote in place is used without its result: use the result")
        if func in _OPERATIONS:
            out = _OPERATIONS[func](self, func, *args, **kwargs)
        else:
            out = func(*args, **kwargs)
            if func not in _PASSING and _depends(out):
                raise UserError(
                    f"no rule says how {getattr(func, '__name__', func)} hands relevance on; "
                    "take an explainer that reads gradients, e.g. grad_cam"
                )
        if func not in _WEIGHTED and (func in _PASSING or func in _OPERATIONS):
            _follow(func, args, kwargs, out)
        return out

    def clip(self, x: Tensor) -> Tensor:
        """Mark the clip, in single precision, so that its first layer is known."""
        x = exact(x.detach()).requires_grad_()
        x.bounds = tuple(bound.expand_as(x) for bound in self.bounds)  # type: ignore[attr-defined]
        return x

    def share(self, value: Value, made: Made, *xs: Tensor) -> Tensor:
        """value(*xs), whose relevance goes to what made it."""
        owners = tuple(range(len(xs))) if len(xs) > 1 else (0,) * len(made.parts)
        return _Shared.apply(self, value, made, owners, *xs)  # type: ignore[no-any-return, no-untyped-call]

    def hand_on(self, value: Value, x: Tensor, in_place: bool = False) -> Tensor:
        """value(x), whose relevance is that of x."""
        return _Passed.apply(value, in_place, x)  # type: ignore[no-any-return, no-untyped-call]


def _follow(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], out: Any) -> None:
    """What moves, scales or pools the clip does so to its bounds, too; a copy of a layer's output is that layer's."""
    if func in (Tensor.clone, torch.clone) and hasattr(args[0], "layer"):
        out.layer = args[0].layer
    if out is args[0] or not any(hasattr(x, "bounds") for x in _flat(args)):
        return
    ends = [func(*_at(args, end), **kwargs) for end in (0, 1)]
    outs, *both = (of if isinstance(of, list | tuple) else (of,) for of in (out, *ends))
    for one, first, second in zip(outs, *both, strict=True):
        one.bounds = torch.minimum(first, second), torch.maximum(first, second)


def _flat(values: Any) -> list[Any]:
    return [x for value in values for x in (value if isinstance(value, list | tuple) else (value,))]


def _at(values: Any, end: int) -> Any:
    """The same arguments, for the clip its least or largest values."""
    if isinstance(values, Tensor):
        return values.bounds[end] if hasattr(values, "bounds") else values
    return type(values)(_at(value, end) for value in values) if isinstance(values, list | tuple) else values


def _depends(value: Any) -> bool:
    """Does relevance come from here?"""
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, list | tuple) and any(map(_depends, value))


def _weighted(
    at: Propagating, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None, *about: Any, **named: Any
) -> Tensor:
    """A convolution or a linear layer, in the clip's precision; its bias takes nothing."""
    weight = weight.to(x)
    bias = None if bias is None else bias.to(x)
    made = _by_rule(at, func, x, weight, about, named)
    out = at.share(lambda x: func(x, weight, bias, *about, **named), made, x)
    out.layer = func, x, weight, about, named  # type: ignore[attr-defined]
    return out


def _by_rule(at: Propagating, func: Any, x: Tensor, weight: Tensor, about: Any, named: Any) -> Made:
    linear = thin.conv3d if func is F.conv3d else func

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        return linear(x, weight, None, *about, **named)

    layer.sums_channels = func is F.conv3d  # type: ignore[attr-defined]

    rules = at.rules
    rule = rules.clip if hasattr(x, "bounds") else rules.linear if func is F.linear else rules.convolution
    with torch.no_grad():
        made = rule(x, weight, layer)
    if rules.contrastive:
        at.top = Top(made, lambda: rule(x.detach(), -weight, layer))
    return made


def _batch_norm(
    at: Propagating, func: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Folded into the layer before it; where there is none, a layer of one weight a channel."""
    if training:
        raise UserError("BatchNorm is in training mode; call .eval() on the network first (or it keeps no statistics)")
    with torch.no_grad():
        scale = (torch.rsqrt(var + eps) * (1.0 if weight is None else weight)).to(x)
        shift = ((0.0 if bias is None else bias) - mean * scale).to(x)
    shape = (1, -1, *(1,) * (x.dim() - 2))
    if hasattr(x, "layer"):
        before, source, kernel, about, named = x.layer
        folded = kernel * scale.view(-1, *(1,) * (kernel.dim() - 1))
        value = torch.addcmul(shift.view(shape), x.detach(), scale.view(shape))
        return at.share(lambda _: value, _by_rule(at, before, source, folded, about, named), source)
    with torch.no_grad():
        rule = at.rules.clip if hasattr(x, "bounds") else at.rules.convolution
        made = rule(x, scale.view(shape), torch.mul)
    return at.share(lambda x: x * scale.view(shape) + shift.view(shape), made, x)


def _relu(at: Propagating, func: Any, x: Tensor, inplace: bool = False) -> Tensor:
    """In place, `x` has the new values, too, and hands on as much."""
    in_place = inplace or func in IN_PLACE
    out = at.hand_on(lambda x: x.clamp_(min=0) if in_place else x.clamp(min=0), x, in_place)
    out.__dict__.pop("layer", None)  # What follows is not of the layer before it any more.
    return out


def _max_pool(at: Propagating, func: Any, x: Tensor, *about: Any, **named: Any) -> Tensor:
    if at.rules.pooling == "winner":
        return func(x, *about, **named)  # type: ignore[no-any-return]
    if func in _ADAPTIVE:
        average_pool = _ADAPTIVE[func]
        size = about[0] if about else named["output_size"]
        return at.share(lambda x: func(x, size), Made((_counts(at, x),), lambda x: average_pool(x, size)), x)
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    said = dict(zip(names, about, strict=False)) | named
    average = {
        name: said[name] for name in ("kernel_size", "stride", "padding", "ceil_mode") if said.get(name) is not None
    }
    average_pool = {F.max_pool1d: F.avg_pool1d, F.max_pool2d: F.avg_pool2d, F.max_pool3d: F.avg_pool3d}[func]
    made = Made((_counts(at, x),), partial(average_pool, **average))
    return at.share(lambda x: func(x, *about, **named), made, x)


def _average(at: Propagating, func: Any, x: Tensor, *about: Any, **named: Any) -> Tensor:
    """Pooling by average, means and sums: linear, all weights alike."""

    def average(x: Tensor) -> Tensor:
        return func(x, *about, **named)  # type: ignore[no-any-return]

    return at.share(average, Made((_counts(at, x),), average), x)


def _counts(at: Propagating, x: Tensor) -> Tensor:
    """What of a value counts. Logits that are added (N M) count as their linear layers do."""
    if x.dim() == 2 and at.rules.linear is whole:
        return x.detach()
    return x.detach().clamp(min=0) if at.rules.positive else x.detach()


def _sum(at: Propagating, func: Any, a: Any, b: Any, **named: Any) -> Tensor:
    """Branches that meet share by what each brings."""
    if not (_depends(a) and _depends(b)):
        return func(a, b, **named)  # type: ignore[no-any-return]
    if a.shape != b.shape or named:
        raise UserError(f"no rule says how a sum of {tuple(a.shape)} and {tuple(b.shape)} hands relevance on")
    if func in _ADDS_IN_PLACE:
        a.replaced = func.__name__
    return at.share(torch.add, Made((_counts(at, a), _counts(at, b)), torch.add), a, b)


def _product(at: Propagating, func: Any, a: Any, b: Any) -> Tensor:
    """With constants, e.g. of a weighted mean."""
    if _depends(a) and _depends(b):
        raise UserError("no rule says how a product of two activations (a gate) hands relevance on")
    divides = func in (torch.Tensor.div, torch.Tensor.__truediv__, torch.div)
    if divides and not _depends(a):
        raise UserError("no rule says how a division by an activation hands relevance on")
    x, factor = (a, b) if _depends(a) else (b, a)
    return at.hand_on(lambda x: x / factor if divides else x * factor, x)


def _less(at: Propagating, func: Any, x: Any, constant: Any) -> Tensor:
    """A constant less, e.g. the mean of the pixels."""
    if _depends(constant):
        raise UserError("no rule says how a difference of activations hands relevance on")
    return at.hand_on(lambda x: x - constant, x)


_WEIGHTED = frozenset({F.conv1d, F.conv2d, F.conv3d, F.linear, F.batch_norm, Tensor.requires_grad_})
_ADAPTIVE: dict[Any, Callable[..., Tensor]] = {
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
    F.adaptive_max_pool3d: F.adaptive_avg_pool3d,
}
_ADDS_IN_PLACE = frozenset({Tensor.add_, Tensor.__iadd__})

_OPERATIONS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.linear), _weighted),
    F.batch_norm: _batch_norm,
    **dict.fromkeys(RELU, _relu),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d, F.max_pool3d, *_ADAPTIVE), _max_pool),
    **dict.fromkeys(
        (
            F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
            F.adaptive_avg_pool3d, torch.mean, Tensor.mean, torch.sum, Tensor.sum,
        ),
        _average,
    ),
    **dict.fromkeys((torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__), _sum),
    **dict.fromkeys(
        (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.div, Tensor.div, Tensor.__truediv__), _product
    ),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _less),
}  # fmt: skip

_PASSING = frozenset({
    Tensor.requires_grad_, Tensor.double, Tensor.half, Tensor.bfloat16,
    torch.cat, torch.concat, torch.stack, torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view,
    torch.permute, Tensor.permute, torch.transpose, Tensor.transpose, torch.squeeze, Tensor.squeeze, torch.unsqueeze,
    Tensor.unsqueeze, Tensor.contiguous, Tensor.clone, torch.clone, Tensor.to, Tensor.float, Tensor.__getitem__,
    torch.chunk, Tensor.chunk, torch.split, Tensor.split, F.dropout, F.dropout3d, F.dropout2d, Tensor.expand,
    Tensor.view_as, torch.unbind, F.pad, Tensor.unbind, torch.narrow, Tensor.narrow,
})  # fmt: skip
"""What moves values about without changing them: its gradient hands relevance on rightly."""
