"""Explainers that hand the class's score back through the network, layer by layer, by rules of who gets how much."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from rtx.explain.registry import OfLayer, Range, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.explain.rules import Rules
    from rtx.nets.forward import Forward


class Shared(NamedTuple):
    """What was handed back."""

    relevance: "Tensor"
    """N t h w or N T H W."""
    lost: "Tensor"
    """N: of what was to be shared out, how much fell on outputs that nothing had made but a bias."""


@explainer(reads="layer inputs", paper="Montavon et al. 2017, Deep Taylor Decomposition; in video: Hiley et al. 2020")
def dtd(forward: "Forward", *, pooling: Literal["winner", "proportional"] = "winner") -> "Shared":
    """Deep Taylor decomposition: the score, shared out over the clip (z+ rule, zB at the pixels); map N T H W, >= 0.

    Its sum is the score: biases take nothing (kept, they would swallow two thirds of it). `pooling`: max pooling hands
    all to the winner, or shares as average pooling would, as the papers' authors do. A score that is not positive is
    no evidence for the class: zeros.
    """
    from rtx.explain.rules import DEEP_TAYLOR

    return _to_clip(forward, DEEP_TAYLOR._replace(pooling=pooling))


@explainer(reads="layer inputs", paper="Bach et al. 2015, Layer-wise Relevance Propagation, Eq. 58")
def lrp(
    forward: "Forward",
    *,
    rule: Literal["composite", "epsilon"] = "composite",
    epsilon: Annotated[float, Range(0.0001, 1)] = 0.01,
) -> "Shared":
    """Layer-wise relevance propagation: map N T H W, signed.

    `rule="epsilon"` shares by all that made an output; `"composite"` does so in linear layers only, with z+ in
    convolutions and zB at the pixels, which is less noisy. `epsilon` keeps small denominators away from zero, as a
    share of a layer's largest: what it adds takes relevance with it.
    """
    from rtx.explain.rules import COMPOSITE, EPSILON

    return _to_clip(forward, (COMPOSITE if rule == "composite" else EPSILON)._replace(epsilon=epsilon))


@explainer(reads="layer inputs", paper="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, Eq. 5")
def excitation_backprop(forward: "Forward", *, layer: Annotated[str | None, OfLayer()] = None) -> "Shared":
    """How likely a layer's cells are to have won, if the class has: map N t h w, >= 0.

    The z+ rule from a probability of 1 for the class, handed down to `layer` (without it, to the features), whose
    channels are summed: a distribution over its cells, less what fell on outputs that nothing speaks for. The map of a
    `layer` is at clip resolution: N T H W.
    """
    from rtx.explain.rules import EXCITATION

    return _to_layer(forward, layer, EXCITATION)


@explainer(reads="layer inputs", paper="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, sec. 3.3")
def contrastive_mwp(forward: "Forward", *, layer: Annotated[str | None, OfLayer()] = None) -> "Shared":
    """Excitation backprop of the class less that of its dual, of which all speaks that speaks against: map N t h w.

    The dual has the class's weights turned around in the last linear layer. Both are handed down at once, because what
    comes below is the same for both. Signed; its sum is 0 where something speaks on both sides.
    """
    from rtx.explain.rules import CONTRASTIVE

    return _to_layer(forward, layer, CONTRASTIVE)


def _to_clip(forward: "Forward", rules: "Rules") -> "Shared":
    """The score's relevance in the clip: N T H W, summed over colours."""
    import torch

    from rtx.explain.rules import Propagating

    assert forward.bounds is not None
    passing = Propagating(rules, forward.bounds)
    recorded = forward.record((), passing, passing.clip)
    score = forward.score(recorded.logits)
    start = score.detach().clamp(min=0) if rules.epsilon == 0 else score.detach()
    (relevance,) = torch.autograd.grad(score, recorded.clip, start)
    return Shared(relevance.sum(dim=1), _share(passing.lost, start))


def _to_layer(forward: "Forward", layer: str | None, rules: "Rules") -> "Shared":
    """The relevance of a probability of 1 in a layer: at clip resolution where it is not the features' layer."""
    import torch

    from rtx.explain.placing import upsample_layer
    from rtx.explain.rules import Propagating
    from rtx.nets.forward import exact

    assert forward.bounds is not None
    passing = Propagating(rules, forward.bounds)
    name = forward.whole.last if layer is None else layer
    recorded = forward.record((name,), passing)
    (output,) = recorded.outputs.values()
    score = forward.score(recorded.logits)
    (relevance,) = torch.autograd.grad(score, output, torch.ones_like(score))
    r = exact(relevance).sum(dim=1)
    return Shared(
        r if layer is None else upsample_layer(forward, name, r), _share(passing.lost, torch.ones_like(score))
    )


def _share(lost: "Tensor | float", of: "Tensor") -> "Tensor":
    import torch

    return torch.where(of != 0, lost / of.where(of != 0, 1.0), 0.0)
