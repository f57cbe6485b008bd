"""Wishes about cameras on their way from the page to the supervisor: none is lost, and no refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from rtx.config import Camera
from rtx.health import Health
from rtx.roster import CameraWish, Numbered, Seat
from rtx.show.seating import Cameras, Seating

SEATS = (Seat(0, Camera(source="scene:hall", name="hall"), False, False, ""),)


class Supervisor:
    """Takes what is sent, and answers when the test has it do so."""

    def __init__(self) -> None:
        self.taken: list[Numbered] = []
        self.health = SimpleNamespace(newest=None, seats=SEATS)

    def send(self, data: bytes, flags: int) -> None:
        self.taken.append(msgspec.msgpack.decode(data, type=Numbered))

    def answers(self, refused: str = "") -> None:
        self.health.newest = Health((), SEATS, self.taken[-1].number, refused)


def a_seating() -> tuple[Seating, Supervisor]:
    supervisor: Any = Supervisor()
    return Seating(supervisor, supervisor.health), supervisor


def state(seating: Seating) -> Cameras:
    seating.step()
    assert seating.state is not None
    return seating.state


def test_of_wishes_made_together_each_is_answered_and_every_refusal_is_told():
    seating, supervisor = a_seating()
    for name in ("no", "hall", "nor"):
        seating.ask(CameraWish("pause", name))
    assert state(seating).asked
    supervisor.answers("unknown camera 'no'")
    assert state(seating).refused == "unknown camera 'no'"
    supervisor.answers()
    assert state(seating).asked
    supervisor.answers("unknown camera 'nor'")
    assert state(seating) == Cameras(state(seating).seats, False, "unknown camera 'no'; unknown camera 'nor'")
    assert [of.wish.name for of in supervisor.taken] == ["no", "hall", "nor"]


def test_a_refusal_is_forgotten_with_the_next_wish():
    seating, supervisor = a_seating()
    seating.ask(CameraWish("pause", "no"))
    seating.step()
    supervisor.answers("unknown camera 'no'")
    assert state(seating).refused
    seating.ask(CameraWish("pause", "hall"))
    assert not state(seating).refused
    supervisor.answers()
    assert state(seating) == Cameras(state(seating).seats)


def test_where_there_is_no_way_to_the_supervisor_that_is_said():
    supervisor: Any = Supervisor()
    seating = Seating(None, supervisor.health)
    seating.ask(CameraWish("pause", "hall"))
    assert "named where rtx was started" in state(seating).refused
