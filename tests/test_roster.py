"""Which cameras a run has: what may be wished, and what is refused."""

from __future__ import annotations

import pytest

from rtx.config import Camera, Events, Link, Pipeline
from rtx.roster import MOST_CAMERAS, CameraWish, Numbered, Roster

HALL = Camera(source="scene:hall", name="hall")


def roster(*cameras: Camera, **changes: object) -> Roster:
    return Roster(Pipeline(camera=cameras or (HALL,), **changes))  # type: ignore[arg-type]


def told(of: Roster, do: str, name: str, source: str = "") -> str:
    """Why it was refused."""
    of.take(Numbered(of.answered + 1, CameraWish(do, name, source)))  # type: ignore[arg-type]
    return of.refused


def test_a_camera_that_is_added_has_a_seat_of_its_own():
    of = roster()
    assert told(of, "add", "court", "rtsp://admin:secret@10.0.0.1/x") == ""
    assert [(seat.index, seat.camera.name) for seat in of.seats] == [(0, "hall"), (1, "court")]
    assert of.seats[1].camera.source == "rtsp://***@10.0.0.1/x"
    assert of.pipeline.camera[1].source == "rtsp://admin:secret@10.0.0.1/x", "who opens it needs the password"


def test_a_seat_is_never_given_twice():
    of = roster()
    told(of, "add", "a", "scene:hall")
    told(of, "remove", "a")
    told(of, "add", "a", "scene:hall")
    assert [(seat.index, seat.camera.name) for seat in of.seats] == [(0, "hall"), (2, "a")]


def test_paused_and_recorded_until_it_is_taken_back():
    of = roster()
    for do, paused, recording in (
        ("pause", True, False), ("record", True, True), ("resume", False, True), ("unrecord", False, False),
    ):  # fmt: skip
        assert told(of, do, "hall") == ""
        assert (of.seats[0].paused, of.seats[0].recording) == (paused, recording)


def test_where_all_is_recorded_a_new_camera_is_too():
    of = roster(events=Events(record=True))
    told(of, "add", "a", "scene:hall")
    assert [seat.recording for seat in of.seats] == [True, True]


@pytest.mark.parametrize(
    ("do", "name", "source", "says"),
    [
        ("pause", "hal", "", "did you mean 'hall'"),
        ("add", "hall", "scene:hall", "there is a camera 'hall' already"),
        ("add", "a b", "scene:hall", "letters, digits"),
        ("add", "a", "", "has no source"),
        ("add", "a", "/etc/passwd", "a file is named where rtx is started"),
        ("add", "a", "file:///etc/passwd", "a file is named where rtx is started"),
        ("add", "a", "concat:///etc/passwd", "a file is named where rtx is started"),
        ("add", "a", "env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("add", "a", "/dev/../etc/passwd", "a file is named where rtx is started"),
        ("add", "a", "~nosuchuser/x", "a file is named where rtx is started"),
        ("add", "a", "x" * 900, "a file is named where rtx is started"),
        ("add", "a", "Makefile", "a file is named where rtx is started"),
        ("add", "a", "Makefilo", "a file is named where rtx is started"),
    ],
)
def test_what_cannot_be_is_said(do: str, name: str, source: str, says: str):
    of = roster()
    assert says in told(of, do, name, source)
    assert len(of.seats) == 1


def test_a_file_behind_a_variable_is_a_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOVIE", "file:///etc/passwd")
    assert "a file is named where rtx is started" in told(roster(), "add", "a", "env:MOVIE")


def test_there_is_an_end_to_cameras():
    of = roster()
    for i in range(MOST_CAMERAS - 1):
        assert told(of, "add", f"c{i}", "scene:hall") == ""
    assert "remove one first" in told(of, "add", "one-more", "scene:hall")


def test_over_two_hosts_cameras_are_those_that_were_named():
    of = roster(link=Link(frames="tcp://127.0.0.1:5700", keys="k"))
    assert "one host" in told(of, "add", "a", "scene:hall")
    assert told(of, "pause", "hall") == ""
    elsewhere = roster(link=Link(frames="tcp://127.0.0.1:5700", keys="k", parts=("engine", "show")))
    assert "where its grabber runs" in told(elsewhere, "pause", "hall")
    assert "where its grabber runs" in told(elsewhere, "remove", "hall")


def test_who_shows_nothing_records_nothing():
    assert "recording belongs where the page is" in told(
        roster(link=Link(parts=("capture", "engine"))), "record", "hall"
    )
