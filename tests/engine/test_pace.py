"""Whose turn it is while the worker keeps to its budget."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rtx.clock import NS_PER_MS, now
from rtx.config import Budget
from rtx.engine.budget import Rung
from rtx.engine.engine import Engine
from rtx.engine.pace import Pace
from rtx.engine.torch_backend import TorchBackend
from rtx.process import Report

FEWER = Rung("fewer explanations a second", fewer=True)


@dataclass
class Camera:
    name: str
    tried_at: int = 0


@pytest.fixture
def engine(figures: TorchBackend) -> Engine:
    return Engine(figures, "cam", continual=False)


def paced(engine: Engine, cameras: int) -> tuple[Pace[Camera], list[Camera]]:
    pace: Pace[Camera] = Pace(engine, Budget(), cameras, Report("worker"))
    return pace, [Camera(str(number)) for number in range(cameras)]


def test_all_that_are_due_are_one_batch_while_nothing_is_given_up(engine: Engine):
    pace, cameras = paced(engine, 4)
    assert pace.next(cameras) == cameras


def test_half_of_the_cameras_at_a_time_and_each_has_its_turn(engine: Engine):
    pace, cameras = paced(engine, 5)
    engine.rung = FEWER
    served: list[str] = []
    for _ in range(5):
        turn = pace.next(cameras)
        assert len(turn) == 3
        for camera in turn:
            served.append(camera.name)
            camera.tried_at = len(served)
    assert {served.count(camera.name) for camera in cameras} == {3}


def test_a_camera_that_never_gives_a_whole_clip_takes_nobodys_turn(engine: Engine):
    """It is tried, which is its turn; the others are served as often as without it."""
    pace, cameras = paced(engine, 2)
    engine.rung = FEWER
    turns = []
    for round_ in range(1, 7):
        (turn,) = pace.next(cameras)
        turn.tried_at = round_
        turns.append(turn.name)
    assert turns == ["0", "1"] * 3


def test_one_camera_rests_after_each_explanation_as_long_as_that_took(engine: Engine):
    pace, cameras = paced(engine, 1)
    engine.rung = FEWER
    pace.explained([], now() - 10_000 * NS_PER_MS)
    assert pace.next(cameras) == []
    pace.explained([], now())
    assert pace.next(cameras) == cameras


def test_something_else_to_explain_begins_with_all_of_it(engine: Engine):
    pace, cameras = paced(engine, 2)
    engine.rung = FEWER
    pace.anew()
    assert engine.rung == Rung()
    assert pace.next(cameras) == cameras
