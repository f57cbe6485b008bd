"""What explaining costs, by a clock that only works move."""

from __future__ import annotations

import pytest

from rtx.measure.overhead import Overhead, overhead


class Machine:
    """Its works take so many ms, one after another."""

    def __init__(self, *ms: float):
        self._ms, self.now = iter(ms), 0.0

    def work(self) -> float:
        self.now += next(self._ms) / 1e3
        return 0.5

    def clock(self) -> float:
        return self.now


def measured(machine: Machine, explaining: int, turns: int) -> list[Overhead]:
    return overhead(machine.work, [machine.work] * explaining, turns, machine.clock)


def test_it_is_the_median_of_pairs_each_beside_its_own_pass():
    """Three turns each on a machine whose speed changes: classify, explain; then with the selective step."""
    turns = (100, 101, 200, 204, 50, 51, 100, 300, 110, 320, 90, 280)
    cam, selective = measured(Machine(*turns), explaining=2, turns=3)
    assert cam == pytest.approx((100, 75, 1, 0.5))
    assert selective == pytest.approx((100, 10, 200, 0.5))


def test_what_is_less_than_what_passes_differ_by_is_timed_apart():
    cam, dtd = measured(Machine(100, 97, 90, 95, 110, 110, 100, 351, 90, 340, 110, 360), explaining=2, turns=3)
    assert (cam.more_ms, cam.explain_ms, cam.ratio) == pytest.approx((0, 0.5, 1.005))
    assert (dtd.more_ms, dtd.explain_ms, dtd.ratio) == pytest.approx((250, 250, 3.5))


def test_what_goes_back_as_far_again_is_2():
    (twice,) = measured(Machine(10, 20), explaining=1, turns=1)
    assert twice.ratio == pytest.approx(2)
