"""Maps against maps: each measure against a slower writing of its definition, another package, and its extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from rtx.measure.motion import motion_precision, selectivity
from rtx.measure.similarity import agreement, centred, pcc, rank_correlation, ranks, sim

SHAPE = (3, 4, 5, 6)


def maps(seed: int, ties: bool = False) -> Tensor:
    drawn = np.random.default_rng(seed).normal(size=SHAPE)
    return torch.from_numpy(drawn.round() if ties else drawn)


def slow_sim(first: list[float], second: list[float]) -> float:
    def summing_to_one(values: list[float]) -> list[float]:
        values = [max(0.0, value) for value in values]
        least, most = min(values), max(values)
        scaled = [(value - least) / (most - least) for value in values]
        return [value / sum(scaled) for value in scaled]

    return sum(min(pair) for pair in zip(summing_to_one(first), summing_to_one(second), strict=True))


def slow_agreement(first: list[float], second: list[float]) -> float:
    both = either = 0
    for one, other in zip(first, second, strict=True):
        both += one > 0 and other > 0
        either += one > 0 or other > 0
    return both / either


def pearsons(first: list[float], second: list[float]) -> float:
    return float(stats.pearsonr(first, second)[0])


def spearmans(first: list[float], second: list[float]) -> float:
    return float(stats.spearmanr(first, second)[0])


Measure = Callable[[Tensor, Tensor], Tensor]
Twin = Callable[[list[float], list[float]], float]
TWINS: list[tuple[Measure, Twin]] = [
    (sim, slow_sim), (agreement, slow_agreement), (pcc, pearsons), (rank_correlation, spearmans),
]  # fmt: skip


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("measure", "twin"), TWINS)
def test_as_it_is_defined(measure: Measure, twin: Twin, ties: bool):
    first, second = maps(1, ties), maps(2, ties)
    expected = [twin(a.flatten().tolist(), b.flatten().tolist()) for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(measure(first, second), torch.tensor(expected, dtype=torch.float64), check_dtype=False)


def test_ranks_are_scipys():
    for ties in (False, True):
        expected = np.stack([stats.rankdata(of.flatten()) - 1 for of in maps(3, ties)])
        np.testing.assert_array_equal(ranks(maps(3, ties)), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-5, 5))
def test_what_a_scale_and_a_shift_do(seed: int, scale: float, shift: float):
    first, second = maps(seed), maps(seed + 1)
    moved = first * scale + shift
    torch.testing.assert_close(pcc(moved, second), pcc(first, second), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(sim(first * scale, second), sim(first, second), atol=1e-6, rtol=1e-6)
    assert ((sim(first, second) >= 0) & (sim(first, second) <= 1)).all()


def test_the_extremes():
    one = maps(4)
    ones = torch.ones(3, dtype=torch.float64)
    for measure in (sim, pcc, rank_correlation, agreement):
        torch.testing.assert_close(measure(one, one).double(), ones)
    for measure in (pcc, rank_correlation):
        torch.testing.assert_close(measure(one, -one), -ones)
    apart = one.clamp(min=0)
    assert sim(apart, (-one).clamp(min=0)).abs().max() < 1e-9
    assert agreement(one, -one).max() == 0


def test_agreement_of_the_first_is_the_share_of_its_voxels_that_are_in_the_other():
    """The other reading of "overlap": it does not go both ways."""
    one, other = torch.tensor([[[[1.0, 1.0, 1.0, -1.0]]]]), torch.tensor([[[[2.0, -1.0, -1.0, 2.0]]]])
    assert agreement(one, other) == 1 / 4
    assert agreement(one, other, of="first") == pytest.approx(1 / 3)
    assert agreement(other, one, of="first") == 1 / 2


@pytest.mark.parametrize("nothing", [0.0, 1.0, -1.0, 0.3])
def test_a_constant_map_says_nothing_rather_than_something(nothing: float):
    constant = torch.full(SHAPE, nothing, dtype=torch.float64)
    for measure in (sim, pcc, rank_correlation):
        assert measure(constant, maps(5)).isnan().all()
    assert agreement(torch.zeros(SHAPE), torch.zeros(SHAPE)).isnan().all()


@pytest.mark.parametrize("value", [0.3, 1.0, -0.7])
def test_nothing_of_a_constant_map_lies_above_its_mean(value: float):
    """0.3 is none of float32's numbers: the mean of many of them is another."""
    constant = torch.full((2, 16, 28, 28), value)
    assert (centred(constant) == 0).all()
    assert motion_precision(constant, torch.ones(*constant.shape, 2)).isnan().all()
    np.testing.assert_allclose(centred(maps(8)).mean(dim=(1, 2, 3)), 0, atol=1e-12)


def slow_precision(relevance: Tensor, flow: Tensor, least: float) -> float:
    mean = float(relevance.mean())
    relevant = moving = 0
    for at in np.ndindex(*relevance.shape):
        if relevance[at] > mean:
            relevant += 1
            x, y = flow[at].tolist()
            moving += math.hypot(x, y) > least
    return moving / relevant


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_motion_precision_as_it_is_defined(least: float):
    relevance, flow = maps(6), torch.from_numpy(np.random.default_rng(7).normal(size=(*SHAPE, 2)))
    flow[:, :, :2] = 0
    expected = [slow_precision(r, f, least) for r, f in zip(relevance, flow, strict=True)]
    np.testing.assert_allclose(motion_precision(relevance, flow, least), expected)


def test_motion_precision_at_its_extremes():
    moves = torch.zeros(1, 1, 2, 4, 2)
    moves[..., :2, 0] = 3.0
    on, off = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    on[..., :2], off[..., 2:] = 1.0, 1.0
    assert motion_precision(on, moves).tolist() == [1.0]
    assert motion_precision(off, moves).tolist() == [0.0]
    assert motion_precision(torch.ones(1, 1, 2, 4), moves).isnan().all(), "nothing is more relevant than the rest"


def test_without_centring_relevant_is_what_lies_above_zero():
    whole, moves = torch.tensor([[[[3.0, 1.0, -1.0, -3.0]]]]), torch.zeros(1, 1, 1, 4, 2)
    moves[..., 0, 0] = 1.0
    assert motion_precision(whole + 2, moves) == 1 / 2
    assert motion_precision(whole + 2, moves, centre=False) == pytest.approx(1 / 3)
    kept = torch.tensor([[[[5.0, 0.0, 0.0, 0.0]]]])
    assert selectivity(kept, whole + 2) == (1 / 2, 3 / 4)
    assert selectivity(kept, whole + 2, centre=False) == pytest.approx((1 / 3, 5 / 9))


def test_selectivity_as_it_is_defined():
    whole = maps(9)
    kept = torch.where(torch.from_numpy(np.random.default_rng(10).random(SHAPE)) < 0.3, whole, 0)
    found = selectivity(kept, whole)
    for i in range(len(whole)):
        voxels = whole[i].flatten().tolist()
        mean = math.fsum(voxels) / len(voxels)
        relevant = {at: value - mean for at, value in enumerate(voxels) if value > mean}
        left = [relevant[at] for at, value in enumerate(kept[i].flatten().tolist()) if value and at in relevant]
        assert float(found.voxels[i]) == pytest.approx(len(left) / len(relevant))
        assert float(found.relevance[i]) == pytest.approx(sum(left) / sum(relevant.values()))


def test_selectivity_by_hand():
    whole = torch.tensor([[[[5.0, 3.0, 3.0, 2.0, -3.0]]], [[[1.0, 1.0, 1.0, 1.0, 1.0]]]])
    kept = torch.tensor([[[[5.0, 0.0, 0.0, 2.0, -3.0]]], [[[1.0, 1.0, 0.0, 0.0, 0.0]]]])
    found = selectivity(kept, whole)
    assert (found.voxels[0], found.relevance[0]) == (1 / 3, 3 / 5), "the mean is 2: three voxels lie above it"
    assert found.voxels.isnan().tolist() == found.relevance.isnan().tolist() == [False, True]
    assert selectivity(whole[:1], whole[:1]) == (1.0, 1.0), "nothing is taken away"
    assert selectivity(0 * whole[:1], whole[:1]) == (0.0, 0.0)
