"""One pass through a network that keeps what some of its layers gave, and how the scores depend on them.

The network itself is not touched: the pass runs through copies of its modules that share their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rtx.nets.thin import Thin


class Recorded(NamedTuple):
    """What a recorded pass gave."""

    clip: Tensor
    """N C T H W; scores depend on it where nothing later was asked for."""
    outputs: dict[str, Tensor]
    """What each layer that was asked for gave, last call if it was called several times."""
    logits: Tensor
    """N M."""
    also: Tensor
    """What the layer gave that was to be kept besides."""

    def gradients(self, score: Tensor) -> list[Tensor]:
        """d score / d output of each layer, 0 where the score does not depend on it.

        Of a batch, whose scores do not depend on each other's clips.
        """
        return list(torch.autograd.grad(score.sum(), list(self.outputs.values()), materialize_grads=True))


def record(
    network: nn.Module,
    clip: Tensor,
    layers: Collection[str],
    rules: AbstractContextManager[Any] | None = None,
    marked: Callable[[Tensor], Tensor] = lambda clip: clip,
    *,
    also: str,
) -> Recorded:
    """Run `network` over a clip and keep the outputs of `layers`; without layers, gradients reach down to the clip.

    What comes before the first of these layers leaves nothing behind for a backward pass. `rules` is a context that
    replaces operations by others, e.g. ReLU by one with another gradient; the clip goes through `marked` before.
    `also`: one more layer whose output is kept.
    """
    outputs: dict[str, Tensor] = {}

    def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def kept(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            if name in layers and not out.requires_grad:
                # The first of its branch.
                torch.set_grad_enabled(True)
                out = out.detach().requires_grad_()
            outputs[name] = out
            return out.clone()  # What comes next may write into it.

        return kept

    with torch.inference_mode(False), torch.set_grad_enabled(not layers):
        # A tensor of inference mode takes no part in a backward pass; its copy does.
        clip = marked(clip.clone().requires_grad_(not layers))
        with Thin(), rules or nullcontext():
            logits = twin(network, dict.fromkeys((*layers, also), keeping))(clip)
    return Recorded(clip, {name: outputs[name] for name in layers}, logits, outputs[also])


Wrap = Callable[[str, Callable[..., Any]], Callable[..., Any]]


def twin(network: nn.Module, wraps: dict[str, Wrap]) -> nn.Module:
    """The same network of the same parameters, in which some modules' forward is wrapped."""
    known: dict[int, nn.Module] = {}

    def copied(module: nn.Module, name: str) -> nn.Module:
        if id(module) in known:
            return known[id(module)]
        # Not by `copy`, which some modules refuse.
        other = known[id(module)] = object.__new__(type(module))
        other.__dict__.update(module.__dict__)
        below = {
            key: None if child is None else copied(child, f"{name}.{key}" if name else key)
            for key, child in module._modules.items()
        }
        other.__dict__["_modules"] = below
        if name in wraps:
            other.__dict__["forward"] = wraps[name](name, other.forward)
        return other

    return copied(network, "")
