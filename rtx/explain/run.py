"""A chain of explainer and steps over one forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

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


class Ran(NamedTuple):
    """What a chain gave, as tensors alone."""

    relevance: Tensor
    """N t h w or N T H W."""
    lost: Tensor | None = None
    """N, of an explainer that hands relevance back."""
    motion_share: Tensor | None = None
    """N, after a step that selects."""


def run(chain: Chain, forward: Forward, memory: list[Memory] | None = None) -> Ran:
    """Explainer and steps, left to right; also where a graph is traced, so that no number is looked at here."""
    return step_on(chain, forward, begin(chain, forward), memory)


def begin(chain: Chain, forward: Forward) -> Ran:
    """The explainer."""
    first = chain.calls[0]
    made: Tensor | Shared = first.declaration.function(forward, **first.parameters)
    return Ran(*made) if isinstance(made, Shared) else Ran(made)


def step_on(chain: Chain, forward: Forward, begun: Ran, memory: list[Memory] | None = None) -> Ran:
    """The steps, from what the explainer gave."""
    relevance, lost, share = begun
    for call in chain.calls[1:]:
        stepped: Stepped = call.declaration.function(forward, relevance, **call.parameters, memory=memory)
        relevance = stepped.relevance
        share = share if stepped.motion_share is None else stepped.motion_share
    return Ran(relevance, lost, share)


def explain(chain: Chain, forward: Forward, memory: list[Memory] | None = None) -> Explained:
    """Run the chain. `memory`, one a clip, asks for the live form of steps that have one."""
    with torch.no_grad():
        ran = run(chain, forward, memory)
        none: list[float | None] = [None] * len(ran.relevance)
        lost = none if ran.lost is None else ran.lost.tolist()
        shares = none if ran.motion_share is None else ran.motion_share.tolist()
        share = [None if value is None or math.isnan(value) else value for value in shares]
        evidence = (ran.relevance.flatten(1).amax(dim=1) > 0).tolist()
        return Explained(ran.relevance, cells_of(forward, ran.relevance), evidence, share, lost)
