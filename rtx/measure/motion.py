"""Does a map lie where something moves, and what does the selective step leave of it? (Hiley et al. 2020.)"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from rtx.measure.similarity import centred


def motion_precision(relevance: Tensor, flow: Tensor, least: float = 0.0, *, centre: bool = True) -> Tensor:
    """Of the voxels that are relevant, the share that moves: N in 0..1; NaN where none is relevant.

    Maps N T H W; optical flow N T H W 2, in pixels; `least`: what moves no faster stands still. Relevant is what lies
    above the map's mean, as `centred` has it (4.3.1: "centred around zero" first); without `centre`, above zero.
    """
    relevant = (centred(relevance) if centre else relevance).flatten(1) > 0
    moves: Tensor = flow.norm(dim=-1).flatten(1) > least
    return (relevant & moves).sum(dim=1) / relevant.sum(dim=1)


class Selectivity(NamedTuple):
    """What a selective map keeps of what was relevant, N each in 0..1; NaN where nothing was."""

    voxels: Tensor
    """Of the voxels."""
    relevance: Tensor
    """Of their relevance above the mean."""


def selectivity(selective: Tensor, whole: Tensor, *, centre: bool = True) -> Selectivity:
    """A map N T H W after the selective step against the one before it (4.3.2, Table 3).

    Relevant is what lies above the mean of the whole map, as in `motion_precision`; without `centre`, above zero.
    """
    before = (centred(whole) if centre else whole.double()).flatten(1).clamp(min=0)
    kept = before * (selective.flatten(1) != 0)
    return Selectivity((kept > 0).sum(dim=1) / (before > 0).sum(dim=1), kept.sum(dim=1) / before.sum(dim=1))
