"""Explainers that read only the features of the classifier's own forward pass: no gradient, no second pass."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from typing import TYPE_CHECKING, Annotated, Literal

from rtx.errors import UserError
from rtx.explain.registry import OfClass, Range, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.nets.forward import Forward

FLAT = 1e-6
"""A channel whose deviation is below this share of its mean is constant: rounding alone would mark half of it."""


@explainer(reads="features", class_blind=True, paper="Fuad et al. 2020, Features Understanding in 3D CNNs, Eq. 1")
def ksigma(
    forward: "Forward",
    *,
    k: Annotated[float, Range(0, 6)] = 3.0,
    weights: Literal["frame", "channel"] = "frame",
    per_frame: bool = False,
    rest: bool = False,
) -> "Tensor":
    """Where the rare, strong features are, whatever the class: map N t h w, >= 0 after ReLU, not normalised.

    A value is strong where it reaches its channel's mean + k deviations (population, over t h w). Strong values count
    with the mean of their channel: in their feature frame (`weights="frame"`: the paper speaks of 80 vectors of size
    12) or over all (`"channel"`). `per_frame` takes the moments in each feature frame for itself. `rest`, which is not
    the paper's, looks only at what features are more than those of a grey clip: some networks have cells that are
    always strong (I3D at the end of a clip, beside the right edge).
    """
    a = forward.features.float()  # N K t h w; moments of bf16 values would be off by per cents
    if rest:
        a = (a - forward.rest).clamp(min=0)
    over = (3, 4) if per_frame else (2, 3, 4)
    mean = a.mean(dim=over, keepdim=True)
    std = a.std(dim=over, correction=0, keepdim=True)
    strong = (a >= mean + k * std) & (std > FLAT * mean.abs())
    weight = a.mean(dim=(3, 4) if weights == "frame" else (2, 3, 4), keepdim=True)
    return (weight * strong).sum(dim=1)


@explainer(reads="features", paper="Stergiou et al. 2019, Saliency Tubes, Eq. 1; Zhou et al. 2016, CAM")
def cam(
    forward: "Forward",
    *,
    tau: Annotated[float, Range(0, 0.999)] = 0.0,
    pooled: bool = False,
    interpolation: Literal["linear", "spline"] = "linear",
    rest: bool = False,
) -> "Tensor":
    """What speaks for the class and where: map N t h w, signed, not normalised.

    `tau` keeps only channels whose class weight reaches that quantile of the class's weights (0: all; the paper gives
    no value and its code has none). `pooled` gives each feature frame the weight it has in the head's pooling: the
    mean of the map is then the logit less its bias, but the newest frame may look weaker than it is.
    `interpolation="spline"` resizes to N T H W as the authors do; it overshoots. `rest`, which is not the paper's, asks
    what speaks for the class beyond what does so in a grey clip: with `pooled`, the mean is then the logit less that
    one's.
    """
    w = _head(forward)[forward.target]  # N K
    if tau > 0:
        w = w * (w >= w.quantile(tau, dim=1, keepdim=True))
    a = forward.features
    return _linear(forward, w, a.float() - forward.rest if rest else a, pooled, interpolation)


@explainer(reads="features", paper="difference of two class activation maps; follows from Zhou et al. 2016")
def contrast(forward: "Forward", *, against: Annotated[int | None, OfClass()] = None, pooled: bool = False) -> "Tensor":
    """Why this class and not another: CAM of the target less CAM of `against`; map N t h w, signed.

    Without `against` it is the strongest other class. `pooled` as in cam.
    """
    if against is None:
        others = forward.logits.scatter(1, forward.target[:, None], float("-inf"))
        other = others.argmax(dim=1)
    else:
        other = forward.target.new_full(forward.target.shape, against)
    w = _head(forward)[forward.target] - _head(forward)[other]
    return _linear(forward, w, forward.features, pooled, "linear")


@explainer(reads="features", class_blind=True, paper="Stergiou et al. 2019, Saliency Tubes: one channel's tube")
def tube(forward: "Forward", *, channel: Annotated[int, Range(0, 65535)] = 0) -> "Tensor":
    """Where one channel of the features is active: map N t h w.

    UserError where there is no such channel.
    """
    channels = int(forward.features.shape[1])
    if channel >= channels:
        raise UserError(f"tube(channel={channel}): the features have channels 0..{channels - 1}")
    return forward.features[:, channel].float()


def _head(forward: "Forward") -> "Tensor":
    """The linear head: M K. UserError where there is none."""
    if forward.weight is None:
        raise UserError(
            "cam and contrast need the features right before a head of pooling and one linear layer: this network's "
            "head is more, or another layer was named; take grad_cam or layer_cam"
        )
    return forward.weight


def _linear(forward: "Forward", w: "Tensor", a: "Tensor", pooled: bool, interpolation: str) -> "Tensor":
    """sum over k of w[k] A[k]: N t h w."""
    relevance = sum_over_channels(w, a)
    if pooled:
        relevance = relevance * forward.pooling[None, :, None, None]
    if interpolation == "spline":
        from rtx.explain.placing import upsample

        relevance = upsample(forward, relevance, spline=True)
    return relevance


def sum_over_channels(w: "Tensor", a: "Tensor") -> "Tensor":
    """sum over k of w[k] A[k], w N K and A N K t h w: N t h w, in float32 at least."""
    from rtx.nets.forward import exact

    n, channels, t, height, width = a.shape
    a = exact(a).reshape(n, channels, -1)
    return (w.to(a)[:, None, :] @ a).reshape(n, t, height, width)
