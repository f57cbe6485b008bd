"""The ladder: what is given up, when, and that it is taken back, without going up and down."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.config import Budget as Settings
from rtx.engine.budget import Budget, Rung, ladder
from rtx.explain.registry import parse
from rtx.nets import cards

RUNGS = (Rung(), Rung("fewer", fewer=True), Rung("192", size=192), Rung("160", size=160))
COST = {None: 1.0, 192: 0.7, 160: 0.5}
"""Of a pass at this size, as a share of one at full size."""


class Worker:
    """One camera at 30 frames a second, explained as quickly as a pass of `took_ms` allows; time is made up."""

    def __init__(self, budget_ms: float, rungs: tuple[Rung, ...] = RUNGS, misses: float = 0.05):
        self.budget = Budget(Settings(heatmap_age_ms=budget_ms, deadline_misses=misses), rungs)
        self.now = 10**12
        self.newest = 0
        self.steps: list[str] = []

    def run(self, seconds: float, took_ms: Callable[[Rung], float]) -> None:
        end = self.now + int(seconds * NS_PER_S)
        period = NS_PER_S // 30
        while self.now < end:
            since = self.newest + period
            newest = max(self.now // period * period, since)
            began = max(self.now, newest)
            took = int(took_ms(self.budget.rung) * NS_PER_MS)
            self.now, self.newest = began + took, newest
            self.budget.explained("camera", newest, self.now, since)
            rest = took if self.budget.rung.fewer else 0
            if (words := self.budget.step(self.now)) is not None:
                self.steps.append(words)
            self.now += rest


def slow(ms: float, noise: float = 0.0) -> Callable[[Rung], float]:
    dice = random.Random(0)
    return lambda rung: ms * COST[rung.size] * (1 + noise * dice.uniform(-1, 1))


def test_within_its_budget_it_gives_nothing_up():
    worker = Worker(900)
    worker.run(120, slow(300))
    assert worker.budget.rung == Rung()
    assert worker.steps == []


def test_slowed_down_it_gives_up_what_it_must_and_no_more():
    worker = Worker(900)
    worker.run(20, slow(300))
    worker.run(60, slow(550))  # At full size a heatmap gets 1,100 ms old; with 192 pixels 770.
    assert worker.budget.rung.size == 192
    assert [words.split(": ")[1] for words in worker.steps] == ["fewer", "192"]


def test_where_seconds_pass_from_one_to_the_next_few_are_enough_to_go_on_down():
    worker = Worker(900)
    worker.run(30, slow(2600))
    assert worker.budget.rung == RUNGS[-1], worker.steps


def test_as_quick_as_before_it_takes_all_back():
    worker = Worker(900)
    worker.run(60, slow(550))
    worker.run(60, slow(300))
    assert worker.budget.rung == Rung()
    assert worker.steps[-1] == "within its budget: as asked for"


@pytest.mark.parametrize("ms", range(300, 1500, 50))
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_under_a_load_that_stays_it_does_not_go_up_and_down(ms: float, noise: float):
    worker = Worker(900)
    worker.run(30, slow(ms, noise))
    before = len(worker.steps)
    worker.run(600, slow(ms, noise))
    # A wrong guess is taken back, and the next is made later and later: in ten minutes, a handful.
    assert len(worker.steps) - before <= 12
    assert sum(words.startswith("within") for words in worker.steps) <= 6


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.0, 5.0, 8.0])
def test_a_slow_start_is_not_held_against_it_for_ever(seconds: float):
    """What a step down seemed to gain, gained when the load went away by itself, is tried again."""
    worker = Worker(500)
    worker.run(seconds, slow(400))
    worker.run(600, slow(100))
    assert worker.budget.rung == Rung()


def test_a_hiccup_now_and_then_is_within_what_is_allowed():
    worker = Worker(200)
    for _ in range(15):
        worker.run(19.5, slow(30))
        worker.run(0.5, slow(500))
    assert worker.steps == []


def test_cameras_that_take_turns_are_as_late_as_they_are():
    """Four cameras, two at a time, 200 ms a batch: each heatmap gets 600 ms old, whatever new frames there are."""
    budget = Budget(Settings(heatmap_age_ms=500), RUNGS)
    newest, at = dict.fromkeys("abcd", 0), 10 * NS_PER_S
    while budget.rung == RUNGS[0] and at < 60 * NS_PER_S:
        for pair in ("ab", "cd"):
            for camera in pair:
                since, newest[camera] = newest[camera] + NS_PER_S // 30, at
                budget.explained(camera, at, at + 200 * NS_PER_MS, since)
            at += 200 * NS_PER_MS
            budget.step(at)
    assert at < 30 * NS_PER_S, "it goes on down the ladder"


def test_what_cannot_be_reached_ends_on_the_last_rung():
    worker = Worker(100)
    worker.run(60, slow(550))
    assert worker.budget.rung == RUNGS[-1]


def test_a_load_that_another_process_makes_goes_with_a_rest():
    """Beside a busy neighbour a pass takes twice as long, but not if it leaves the cores alone half of the time."""
    worker = Worker(900)
    worker.run(30, lambda rung: 250 if rung.fewer else 500)
    assert worker.budget.rung.fewer


def test_a_slow_camera_is_none_of_its_business():
    """One frame every two seconds: each heatmap gets two seconds old, and nothing that the worker gives up helps."""
    budget = Budget(Settings(heatmap_age_ms=900), RUNGS)
    for second in range(0, 200, 2):
        captured = second * NS_PER_S
        budget.explained("camera", captured, captured + 300 * NS_PER_MS, captured)
        assert budget.step(captured + 300 * NS_PER_MS) is None


def test_a_camera_that_was_away_is_no_delay_either():
    budget = Budget(Settings(heatmap_age_ms=900), RUNGS)
    for minute in range(30):
        budget.explained("camera", minute * 60 * NS_PER_S, minute * 60 * NS_PER_S + NS_PER_S, minute * 60 * NS_PER_S)
        budget.forget("camera")
        assert budget.step(minute * 60 * NS_PER_S + NS_PER_S) is None


def test_so_many_misses_are_allowed_as_are_asked_for():
    lenient = Worker(900, misses=1.0)
    lenient.run(60, slow(2000))
    assert lenient.budget.rung == Rung()


@pytest.mark.parametrize(
    ("explainer", "linear", "given_up"),
    [
        ("cam", True, ["fewer explanations a second", "192 instead of 224 pixels", "160 instead of 224 pixels"]),
        ("grad_cam | selective(n=2)", True, ["160 instead of 224 pixels, cam instead of grad_cam"]),
        ("dtd", False, ["160 instead of 224 pixels, ksigma instead of dtd"]),
    ],
)
def test_the_ladder_is_the_stated_one(explainer: str, linear: bool, given_up: list[str]):
    rungs = ladder(cards.card("i3d-k400"), parse(explainer), follows=False, linear=linear)
    assert rungs[0] == Rung()
    assert [rung.words for rung in rungs][-len(given_up) :] == given_up
    if "|" in explainer:
        assert str(rungs[-1].chain) == "cam | selective(n=2.0)"


def test_a_network_that_remembers_what_it_saw_keeps_its_size():
    card = cards.card("figures")
    assert all(rung.size is None for rung in ladder(card, parse("cam"), follows=True, linear=True))
