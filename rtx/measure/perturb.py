"""Is what a map calls relevant what the score depends on? Insertion and deletion, and layers that are randomised."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]
"""Of clips N C T H W as the network takes them, the score of the class that is explained: N."""
LOT = 0
"""Seed of the lot by which voxels of equal relevance are put in order."""
SIGMA = 1 / 20
"""A clip is blurred by a Gaussian of this share of its height."""


def blurred(clip: Tensor) -> Tensor:
    """Every frame of clips N C T H W without its details."""
    n, channels, frames, height, _ = clip.shape
    sigma = max(SIGMA * height, 1e-3)
    reach = int(3 * sigma) + 1
    at = torch.arange(-reach, reach + 1, dtype=clip.dtype, device=clip.device)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    pictures = clip.transpose(1, 2).flatten(0, 1).flatten(0, 1)[:, None]
    down = F.conv2d(F.pad(pictures, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    across = F.conv2d(F.pad(down, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None])
    return across.view(n, frames, channels, *clip.shape[3:]).transpose(1, 2)


def frozen(clip: Tensor) -> Tensor:
    """Clips N C T H W that stand still: every frame is the middle one."""
    return clip[:, :, clip.shape[2] // 2, None].expand_as(clip)


def mean(clip: Tensor) -> Tensor:
    """Clips N C T H W of nothing but their mean colour."""
    return clip.mean(dim=(2, 3, 4), keepdim=True).expand_as(clip)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {"blur": blurred, "freeze": frozen, "mean": mean}
"""What takes the place of what is taken away."""


class Curve(NamedTuple):
    """How the score goes."""

    scores: Tensor
    """N steps+1, from nothing changed to all."""
    area: Tensor
    """Under it, N: the mean score on the way (trapezoids)."""


def deletion(score: Score, clip: Tensor, relevance: Tensor, baseline: Tensor, steps: int = 20) -> Curve:
    """Take the most relevant voxels away first: a faithful map makes the score fall soon, and the area small.

    Clips and their baseline N C T H W, maps N T H W. (Petsiuk et al. 2018, RISE, section 4.)
    """
    return _curve(score, clip, baseline, relevance, steps)


def insertion(score: Score, clip: Tensor, relevance: Tensor, baseline: Tensor, steps: int = 20) -> Curve:
    """Put the most relevant voxels into the baseline first: a faithful map makes the score rise soon."""
    return _curve(score, baseline, clip, relevance, steps)


def _curve(score: Score, begin: Tensor, end: Tensor, relevance: Tensor, steps: int) -> Curve:
    values = relevance.flatten(1)
    voxels = values.shape[1]
    # Equal ones by lot: in the order of memory, a map of few voxels would take the first frames away next.
    lot = torch.randperm(voxels, generator=torch.Generator().manual_seed(LOT)).to(values.device)
    order = lot[values[:, lot].argsort(dim=1, descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(voxels, device=order.device).expand_as(order))
    rank = rank.view_as(relevance)[:, None]
    shares = (rank < round(voxels * i / steps) for i in range(steps + 1))
    scores = torch.stack([score(torch.where(changed, end, begin)) for changed in shares], dim=1)
    return Curve(scores, (scores[:, 1:] + scores[:, :-1]).mean(dim=1) / 2)


def cascade(network: nn.Module, layers: Sequence[str], seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """A copy of the network whose layers (modules or single weights, by name) are drawn anew, the last one first.

    Each layer's weights are shuffled within themselves, so that their spread stays. Yields the layer just drawn, and
    the copy, which is the same one all the time. (Adebayo et al. 2018, Sanity Checks for Saliency Maps, section 4.)
    """
    drawn = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    modules, weights = dict(drawn.named_modules()), dict(drawn.named_parameters())
    for name in reversed(layers):
        with torch.no_grad():
            for weight in [weights[name]] if name in weights else modules[name].parameters():
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
        yield name, drawn
