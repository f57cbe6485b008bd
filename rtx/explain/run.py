"""A chain of explainer and steps over one forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rtx.explain.placing import cells_of
from rtx.explain.propagation import Shared
from rtx.explain.registry import Chain
from rtx.explain.steps import Memory, Stepped
from rtx.link.wire import Cells
from rtx.nets.forward import Forward


@dataclass(frozen=True)
class Explained:
    """Maps of a batch."""

    relevance: Tensor
    """N t h w at feature resolution or N T H W at clip resolution, float32, not normalised."""
    cells: Cells
    evidence: list[bool]
    """Per clip: is there any positive relevance?"""
    motion_share: list[float | None]
    """Per clip, after the selective step; None where that was not run, or found nothing to share."""
    lost: list[float | None]
    """Per clip, of an explainer that hands relevance back: the share that fell where nothing but a bias had made it."""


def explain(chain: Chain, forward: Forward, memory: list[Memory] | None = None) -> Explained:
    """Run the chain. `memory`, one a clip, asks for the live form of steps that have one."""
    first, *steps = chain.calls
    with torch.no_grad():
        made: Tensor | Shared = first.declaration.function(forward, **first.parameters)
        relevance, lost = made if isinstance(made, Shared) else (made, None)
        missing: list[float | None] = [None] * len(relevance) if lost is None else lost.tolist()
        share: list[float | None] = [None] * len(relevance)
        for call in steps:
            stepped: Stepped = call.declaration.function(forward, relevance, **call.parameters, memory=memory)
            relevance = stepped.relevance
            if stepped.motion_share is not None:
                share = [None if math.isnan(value) else value for value in stepped.motion_share.tolist()]
        evidence = (relevance.flatten(1).amax(dim=1) > 0).tolist()
        return Explained(relevance, cells_of(forward, relevance), evidence, share, missing)
