"""How alike two maps of one clip are: SIM, Pearson's and Spearman's correlation, positive voxels in common."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def sim(first: Tensor, second: Tensor) -> Tensor:
    """Similarity, N in 0..1: the sum of the lesser of two maps N T H W, each from 0 on and summing to 1.

    Of signed maps, what is positive counts; it is scaled from its least to its most first. NaN where a map is constant:
    it says nothing. (Fuad et al. 2020, Eq. 3.)
    """
    return torch.minimum(_summing_to_one(first), _summing_to_one(second)).sum(dim=1)


def pcc(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of two maps N T H W, N in -1..1; NaN where one is constant. (Fuad et al. 2020, Eq. 4.)"""
    return _correlation(_flat(first), _flat(second))


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's: Pearson's of the ranks, N in -1..1; equal values share their mean rank. NaN where one is constant."""
    return _correlation(ranks(first), ranks(second))


def agreement(first: Tensor, second: Tensor, *, of: Literal["either", "first"] = "either") -> Tensor:
    """Of the voxels that are positive in either of two maps N T H W, the share that is in both: N in 0..1.

    NaN where there are none. The paper's "percentage overlap" does not say of what: `of="first"` takes the share of
    the first map's, which is another one the other way round. (Hiley et al. 2020, Table 2.)
    """
    one, other = _flat(first) > 0, _flat(second) > 0
    whole = one | other if of == "either" else one
    return (one & other).sum(dim=1) / whole.sum(dim=1)


def centred(maps: Tensor) -> Tensor:
    """Maps N T H W around zero, float64: positive is what lies above the clip's mean, and nothing of a constant map.

    (Hiley et al. 2020, 4.3.1: so that what is negligible does not count as relevant.)
    """
    return _around_zero(_flat(maps)).view(maps.shape)


def ranks(maps: Tensor) -> Tensor:
    """The rank of each voxel among its clip's, from 0: N V, float64; equal values share their mean rank."""
    values, order = _flat(maps).sort(dim=1)
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    group = begins.cumsum(dim=1) - 1
    place = torch.arange(values.shape[1], dtype=torch.float64, device=values.device).expand_as(group)
    zeros = torch.zeros_like(place)
    mean = zeros.scatter_add(1, group, place) / zeros.scatter_add(1, group, torch.ones_like(place)).clamp(min=1)
    return torch.empty_like(place).scatter_(1, order, mean.gather(1, group))


def _flat(maps: Tensor) -> Tensor:
    return maps.flatten(1).double()


def _around_zero(values: Tensor) -> Tensor:
    """Each row less its mean; zeros of a constant one, whose mean is off by rounding."""
    constant = values.amax(dim=1, keepdim=True) == values.amin(dim=1, keepdim=True)
    return (values - values.mean(dim=1, keepdim=True)).masked_fill(constant, 0)


def _summing_to_one(maps: Tensor) -> Tensor:
    values = _flat(maps).clamp(min=0)
    values = values - values.amin(dim=1, keepdim=True)
    return values / values.sum(dim=1, keepdim=True)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    one, other = _around_zero(first), _around_zero(second)
    alike: Tensor = (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1))
    return alike
