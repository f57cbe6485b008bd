"""Explainers that hand the class's score back through the network, layer by layer, by rules of who gets how much."""

# No `from __future__ import annotations` here: the parameters' annotations are read when the functions are declared.

from typing import TYPE_CHECKING, Annotated, Literal

from rtx.explain.registry import Range, explainer

if TYPE_CHECKING:
    from torch import Tensor

    from rtx.explain.rules import Rules
    from rtx.nets.forward import Forward


@explainer(reads="layer inputs", paper="Montavon et al. 2017, Deep Taylor Decomposition; in video: Hiley et al. 2020")
def dtd(forward: "Forward", *, pooling: Literal["winner", "proportional"] = "winner") -> "Tensor":
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
) -> "Tensor":
    """Layer-wise relevance propagation: map N T H W, signed.

    `rule="epsilon"` shares by all that made an output; `"composite"` does so in linear layers only, with z+ in
    convolutions and zB at the pixels, which is less noisy. `epsilon` keeps small denominators away from zero, as a
    share of a layer's largest: what it adds takes relevance with it.
    """
    from rtx.explain.rules import COMPOSITE, EPSILON

    return _to_clip(forward, (COMPOSITE if rule == "composite" else EPSILON)._replace(epsilon=epsilon))


def _to_clip(forward: "Forward", rules: "Rules") -> "Tensor":
    """The score's relevance in the clip: N T H W, summed over colours."""
    import torch

    from rtx.explain.rules import Propagating

    assert forward.bounds is not None
    passing = Propagating(rules, forward.bounds)
    recorded = forward.record((), passing, passing.clip)
    score = forward.score(recorded.logits)
    start = score.detach().clamp(min=0) if rules.epsilon == 0 else score.detach()
    return torch.autograd.grad(score, recorded.clip, start)[0].sum(dim=1)
