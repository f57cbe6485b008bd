"""Explainers that read gradients: of the class's score with respect to the clip, the features, or every stage."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rtx.explain.registry import OfLayer, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.nets.forward import Forward


@explainer(reads="gradients", paper="Simonyan et al. 2014, Deep Inside Convolutional Networks, section 3")
def saliency(forward: "Forward") -> "Tensor":
    """Where a small change of the clip changes the score most: |dy/dx|, its largest colour; map N T H W, >= 0."""
    return _of_clip(forward).abs().amax(dim=1)


@explainer(reads="gradients", paper="Springenberg et al. 2015, Striving for Simplicity, section 3.4")
def guided_backprop(forward: "Forward") -> "Tensor":
    """What in the clip excites the class: gradients cut at each ReLU where negative; map N T H W, >= 0."""
    from rtx.explain.relu import GuidedReLU

    return _of_clip(forward, GuidedReLU()).abs().amax(dim=1)


@explainer(reads="gradients", paper="Selvaraju et al. 2017, Grad-CAM, Eq. 1 and 2; counterfactual: its section 3.3")
def grad_cam(forward: "Forward", *, counterfactual: bool = False) -> "Tensor":
    """Where the features speak for a class: ReLU(sum over k of mean(dy/dA_k) A_k), map N t h w, >= 0.

    Counterfactual: what would lower the score.
    """
    return _grad_cam(*_of_features(forward, counterfactual))


def _grad_cam(a: "Tensor", g: "Tensor") -> "Tensor":
    return (g.mean(dim=(2, 3, 4), keepdim=True) * a).sum(dim=1).relu()


@explainer(reads="gradients", paper="Chattopadhay et al. 2018, Grad-CAM++, Eq. 19; in three dimensions")
def grad_cam_pp(forward: "Forward", *, counterfactual: bool = False) -> "Tensor":
    """Grad-CAM in which each place of a channel has its own weight: map N t h w, >= 0.

    alpha = g^2 / (2 g^2 + g^3 sum A), weights: sum over places of alpha ReLU(g). What guards the division is relative
    to the largest g^2: gradients of a clip's features are so small that an absolute number would drown them.
    """
    a, g = _of_features(forward, counterfactual)
    squared = g.square()
    below = 2 * squared + squared * g * a.sum(dim=(2, 3, 4), keepdim=True)
    least = 1e-9 * squared.amax(dim=(1, 2, 3, 4), keepdim=True)
    alpha = (squared / below).where(below.abs() > least, 0)
    weights = (alpha * g.relu()).sum(dim=(2, 3, 4), keepdim=True)
    return (weights * a).sum(dim=1).relu()


@explainer(reads="gradients", paper="Jiang et al. 2021, LayerCAM, Eq. 5 and 6")
def layer_cam(forward: "Forward", *, counterfactual: bool = False) -> "Tensor":
    """ReLU(sum over k of ReLU(dy/dA_k) A_k), each place with its own gradient: map N t h w, >= 0."""
    a, g = _of_features(forward, counterfactual)
    return (g.relu() * a).sum(dim=1).relu()


@explainer(reads="gradients", paper="Selvaraju et al. 2017, Grad-CAM, section 3.2")
def guided_grad_cam(forward: "Forward", *, counterfactual: bool = False) -> "Tensor":
    """Guided backprop where Grad-CAM is: their product; map N T H W, >= 0."""
    import torch

    from rtx.explain.placing import upsample
    from rtx.explain.relu import GuidedReLU
    from rtx.nets.forward import exact

    guided = GuidedReLU()
    recorded = forward.record((), guided)
    score = forward.score(recorded.logits).sum()
    with guided.plainly():
        (g,) = torch.autograd.grad(score, recorded.also, retain_graph=True)
    (of_clip,) = torch.autograd.grad(score, recorded.clip)
    where = _grad_cam(exact(recorded.also.detach()), exact(-g if counterfactual else g))
    return upsample(forward, where) * exact(of_clip).abs().amax(dim=1)


@explainer(reads="gradients", paper="Yudistira et al., 3DCam, Eq. 1 to 4")
def cam3d(
    forward: "Forward", *, layer: Annotated[str | None, OfLayer()] = None, counterfactual: bool = False
) -> "Tensor":
    """Where a layer is active and the class depends on it: map N T H W in 0..1.

    Right before a head of pooling and one linear layer every place has the same gradient, whose sum over channels says
    nothing of the place and is as often negative, which leaves zeros: there, without `layer`, the stage before is
    taken.
    """
    last = forward.whole.last
    before = [name for name in forward.stages if name != last]
    chosen = layer or (before[-1] if forward.weight is not None and before else last)
    return _cam3d(forward, (chosen,), counterfactual)[0]


@explainer(reads="gradients", paper="Yudistira et al., P3DCam, Eq. 5")
def p3dcam(forward: "Forward", *, aggregate: Literal["sum", "mean"] = "sum", counterfactual: bool = False) -> "Tensor":
    """3DCam of the stages that the model's card names, one upon the other: map N T H W, >= 0.

    The sum did better in the paper's tables than the mean; they differ by a factor.
    """
    import torch

    maps = torch.stack(_cam3d(forward, forward.stages, counterfactual))
    return maps.sum(dim=0) if aggregate == "sum" else maps.mean(dim=0)


def _cam3d(forward: "Forward", layers: tuple[str, ...], counterfactual: bool) -> "list[Tensor]":
    """ReLU(sum of dy/dA_k) ReLU(sum of A_k) at clip resolution, each through its maximum: N T H W for each layer.

    ReLU comes before the division: by a negative maximum it would turn the signs.
    """
    from rtx.explain.placing import upsample_layer

    maps = []
    for name, a, g in _of_layers(forward, layers, counterfactual):
        beta, alpha = (upsample_layer(forward, name, of.sum(dim=1)).relu() for of in (g, a))
        maps.append(_through_maximum(beta) * _through_maximum(alpha))
    return maps


def _through_maximum(r: "Tensor") -> "Tensor":
    """Scaled to 0..1 by its maximum over the clip; zeros stay zeros."""
    highest = r.amax(dim=(1, 2, 3), keepdim=True)
    return r / highest.where(highest > 0, highest.new_ones(()))


def _of_features(forward: "Forward", counterfactual: bool) -> "tuple[Tensor, Tensor]":
    """A and dy/dA of the features, N K t h w: one backward pass through the head."""
    ((_, a, g),) = _of_layers(forward, (forward.whole.last,), counterfactual)
    return a, g


def _of_layers(forward: "Forward", layers: tuple[str, ...], counterfactual: bool) -> "list[tuple[str, Tensor, Tensor]]":
    """Name, A and dy/dA of each layer, N K t h w: one backward pass down to the first of them."""
    from rtx.nets.forward import exact

    recorded = forward.record(layers)
    gradients = recorded.gradients(forward.score(recorded.logits))
    sign = -1.0 if counterfactual else 1.0
    outputs = (exact(a.detach()) for a in recorded.outputs.values())
    return [(name, a, sign * exact(g)) for name, a, g in zip(layers, outputs, gradients, strict=True)]


def _of_clip(forward: "Forward", rules: "AbstractContextManager[Any] | None" = None) -> "Tensor":
    """dy/dx: N C T H W."""
    import torch

    from rtx.nets.forward import exact

    recorded = forward.record((), rules)
    return exact(torch.autograd.grad(forward.score(recorded.logits).sum(), recorded.clip)[0])
