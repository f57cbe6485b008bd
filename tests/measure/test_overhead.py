"""What explaining costs, by a clock that only works move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rtx.measure.overhead import Overhead, overhead


class Machine:
    """Its works take so many ms, one after another."""

    def __init__(self, *ms: float):
        self._ms, self.now = iter(ms), 0.0

    def work(self) -> None:
        self.now += next(self._ms) / 1e3

    def clock(self) -> float:
        return self.now


def measured(machine: Machine, explaining: int, turns: int) -> list[Overhead]:
    works: list[Callable[[], object]] = [machine.work] * explaining
    return overhead(machine.work, works, turns, machine.clock)


def test_it_is_the_median_of_turns_each_beside_its_own_pass():
    """Three turns of a machine whose speed changes: classify, explain too, and with the selective step."""
    cam, selective = measured(Machine(100, 101, 111, 200, 204, 230, 50, 51, 53), explaining=2, turns=3)
    assert cam == pytest.approx((100, 1, 1.02))
    assert selective == pytest.approx((100, 11, 1.11))


def test_what_costs_nothing_is_1_and_what_goes_back_as_far_again_2():
    (free, twice) = measured(Machine(10, 10, 20), explaining=2, turns=1)
    assert free == pytest.approx((10, 0, 1))
    assert twice == pytest.approx((10, 10, 2))
