"""Cameras come and go while a run goes on; the rest is not touched, and one that fails takes nobody with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from rtx.health import HealthReader
from rtx.link.sockets import Sockets
from rtx.roster import CameraWish, Numbered, Seat, wish_address
from tests.faults.conftest import Watched, watched
from tests.running import HALL

OTHER = f"{HALL}&seed=8"


class Wishing:
    """A run over one drawn hall, and the display's line to its supervisor."""

    def __init__(self, run: Watched, sockets: Sockets):
        folder = run.supervisor.folder
        self.run = run
        self.health = HealthReader(sockets, folder)
        self._line: zmq.Socket[bytes] = sockets.send_to(wish_address(folder))
        self._number = 0

    def wish(self, do: str, name: str, source: str = "") -> str:
        """Why it was refused; empty where it was done."""
        self._number += 1
        self._line.send(msgspec.msgpack.encode(Numbered(self._number, CameraWish(do, name, source))))  # type: ignore[arg-type]

        def answered() -> bool:
            self.health.step()
            return self.health.newest is not None and self.health.newest.answered == self._number

        self.run.until(answered)
        assert self.health.newest is not None
        return self.health.newest.refused

    def seat(self, name: str) -> Seat:
        return next(seat for seat in self.health.seats or () if seat.camera.name == name)

    def shown(self, camera: str, n: int = 3) -> None:
        """Wait until so many more frames of this camera were shown, and clips explained."""
        had = {(of, what): self.run.count(of, f"{what}@{camera}") for of, what in COUNTED}
        self.run.until(
            lambda: all(self.run.count(of, f"{what}@{camera}") >= was + n for (of, what), was in had.items())
        )


COUNTED = (("worker", "explained"), ("display", "shown"))


@pytest.fixture
def wishing() -> Iterator[Wishing]:
    with watched(HALL) as run, Sockets() as sockets:
        run.flows()
        yield Wishing(run, sockets)


def test_a_camera_is_added_and_the_others_are_not_restarted(wishing: Wishing):
    run = wishing.run
    pids = {child.name: child.pid for child in run.supervisor.children}
    assert wishing.wish("add", "second", OTHER) == ""
    wishing.shown("second")
    wishing.shown("camera")
    assert {child.name: child.pid for child in run.supervisor.children if child.name in pids} == pids
    assert run.report.restarts == dict.fromkeys([*pids, "grabber second"], 0)


def test_a_paused_camera_uses_no_process_and_goes_on(wishing: Wishing):
    run = wishing.run
    wishing.wish("add", "second", OTHER)
    wishing.shown("second")
    process = run["grabber second"].process
    assert process is not None
    assert wishing.wish("pause", "second") == ""
    run.until(lambda: process.poll() is not None)
    assert wishing.seat("second").paused
    wishing.shown("camera")
    assert wishing.wish("resume", "second") == ""
    wishing.shown("second")
    assert run["grabber second"].restarts == 0


def test_a_camera_that_is_removed_is_gone_and_the_run_goes_on(wishing: Wishing):
    wishing.wish("add", "second", OTHER)
    wishing.shown("second")
    assert wishing.wish("remove", "camera") == ""
    assert [seat.camera.name for seat in wishing.health.seats or ()] == ["second"]
    wishing.shown("second")
    assert wishing.run.going_on
    assert wishing.wish("remove", "second") == ""
    wishing.run.more("worker", "picked_up", 0)
    assert wishing.wish("add", "third", OTHER) == ""
    wishing.shown("third")


def test_a_camera_that_fails_takes_nobody_with_it(wishing: Wishing):
    assert wishing.wish("add", "broken", "scene:hall?nonsense=1") == ""

    def given_up() -> bool:
        wishing.health.step()
        return bool(wishing.seat("broken").trouble)

    wishing.run.until(given_up)
    assert "unknown option" in wishing.seat("broken").trouble
    wishing.shown("camera")
    assert wishing.run.going_on


def test_a_run_goes_on_where_all_that_is_left_is_paused_or_given_up(wishing: Wishing):
    wishing.wish("add", "broken", "scene:hall?nonsense=1")
    wishing.run.until(lambda: (wishing.health.step(), wishing.seat("broken").trouble)[1])
    assert wishing.wish("pause", "camera") == ""
    process = wishing.run["grabber camera"].process
    assert process is not None
    wishing.run.until(lambda: process.poll() is not None)
    assert wishing.wish("resume", "camera") == ""
    assert wishing.run.going_on
    wishing.shown("camera")


def test_what_was_added_outlives_worker_and_display(wishing: Wishing):
    wishing.wish("add", "second", OTHER)
    wishing.shown("second")
    for name in ("worker", "display"):
        wishing.run.restarted(name, wishing.run.kill(name))
    wishing.run.until(lambda: wishing.run.count("worker", "explained@second") > 2, 60)
    wishing.shown("second")


def test_recording_is_switched_on_and_off_while_it_runs(tmp_path: Path):
    with watched(HALL, changes=(f"events.folder={str(tmp_path)!r}",)) as run, Sockets() as sockets:
        run.flows()
        wishing = Wishing(run, sockets)
        assert not any(child.role == "recorder" for child in run.supervisor.children)
        assert wishing.wish("record", "camera") == ""
        run.until(lambda: any(child.role == "recorder" for child in run.supervisor.children))
        run.until(
            lambda: "waiting for events on camera" in run["recorder"].state or run.count("recorder", "events") > 0
        )
        run.until(lambda: run.count("recorder", "events") > 0, 60)
        assert wishing.wish("unrecord", "camera") == ""
        run.until(lambda: run["recorder"].state == "recording nothing")
        assert run["recorder"].restarts == 0
