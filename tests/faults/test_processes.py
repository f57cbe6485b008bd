"""Processes that die, freeze or are told to end: the rest goes on, they come back, and nothing stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtx.errors import UserError
from rtx.supervise import RESTARTS_A_MINUTE
from tests.faults.conftest import Watched, watched
from tests.running import HALL, SMALL, Running
from tests.waiting import until

DEAD = "rtsp://127.0.0.1:9/nobody"
WITHOUT_WORKER = 'link.parts=["capture", "show"]'


@pytest.fixture(scope="module")
def hall() -> Iterator[Watched]:
    """One camera, worker and display, that explain and show."""
    with watched(HALL) as run:
        run.flows()
        yield run


@pytest.mark.parametrize("name", ["worker", "display", "grabber camera"])
def test_a_killed_process_is_restarted_and_heatmaps_flow_again(hall: Watched, name: str):
    restarts = hall[name].restarts
    others = {child.name: child.pid for child in hall.supervisor.children if child.name != name}
    hall.restarted(name, hall.kill(name))
    hall.flows()
    assert hall[name].restarts == restarts + 1
    assert {other: hall[other].pid for other in others} == others, "the others went on"
    assert any("killed by signal 9" in line and name in line for line in hall.said)


@pytest.mark.parametrize("name", ["worker", "display", "grabber camera"])
def test_a_process_terminated_from_outside_is_restarted_too(hall: Watched, name: str):
    hall.restarted(name, hall.kill(name, signal.SIGTERM))
    hall.flows()


def test_frames_are_shown_while_there_is_no_worker(hall: Watched):
    pid = hall.kill("worker")
    hall.more("display", "shown", 10)
    hall.restarted("worker", pid)
    hall.flows()


def test_a_frozen_worker_is_noticed_and_restarted(hall: Watched):
    pid = hall.kill("worker", signal.SIGSTOP)
    hall.restarted("worker", pid)
    assert any("worker frozen" in line for line in hall.said)
    hall.flows()


def test_what_died_still_counts_in_the_report(hall: Watched):
    report = hall.report
    assert report.restarts["worker"] >= 1
    assert report.captured > hall.count("grabber camera", "captured")
    assert report.shown > hall.count("display", "shown")
    assert report.explained >= hall.count("worker", "explained")


def test_a_process_that_keeps_dying_is_given_up():
    with watched(SMALL, changes=(WITHOUT_WORKER,)) as run:
        run.more("display", "shown", 1)
        for _ in range(RESTARTS_A_MINUTE):
            run.restarted("display", run.kill("display"))
        run.kill("display")
        with pytest.raises(UserError, match=r"display died \(killed by signal 9\); .*5 times.*giving up"):
            run.until(lambda: False, 5)
    assert run["display"].restarts == RESTARTS_A_MINUTE


def test_given_up_is_one_line_and_exit_code_2_and_nothing_left():
    with Running("run", SMALL, "--show", "none", "--set", WITHOUT_WORKER) as rtx:
        for _ in range(RESTARTS_A_MINUTE + 1):
            children = until(lambda: len(now := rtx.children()) == 2 and now, 20)
            victim = max(children)
            os.kill(victim, signal.SIGKILL)
            until(lambda gone=victim: gone not in rtx.family(), 5)
        assert rtx.end(20) == 2
        assert rtx.err.count("\n") == 1
        assert rtx.err.startswith("rtx: ")
        assert "giving up" in rtx.err
        assert rtx.leftovers() == []


@pytest.mark.parametrize("memory", ["memfd", "named"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_told_to_end_it_ends_in_order_and_writes_its_report(number: signal.Signals, memory: str):
    with Running(
        "run", SMALL, "--show", "none", "--set", WITHOUT_WORKER, "--set", f"link.memory={memory}", report=True
    ) as rtx:
        until(lambda: len(rtx.children()) >= 2 and list(rtx.sockets.glob("rtx-*/frames-0")), 20)
        rtx.process.send_signal(number)
        assert rtx.end(10) == 0
        assert rtx.err == ""
        assert rtx.report["restarts"] == {"display": 0, "grabber camera": 0}
        assert rtx.leftovers() == []


def test_ctrl_c_ends_a_whole_run_at_any_moment():
    """To the whole group, as a terminal sends it; here, while the worker still loads."""
    with Running("run", HALL, "--show", "none", report=True) as rtx:
        # Each in a group of its own: before that, a child that is just being made would be meant, too.
        until(lambda: sum(os.getpgid(pid) == pid for pid in rtx.children()) >= 3, 20)
        os.killpg(rtx.process.pid, signal.SIGINT)
        assert rtx.end(10) == 0
        assert rtx.err == ""
        assert rtx.report["restarts"] == {"worker": 0, "display": 0, "grabber camera": 0}
        assert rtx.leftovers() == []


def test_children_of_a_killed_supervisor_end_within_5_s():
    with Running("run", HALL, "--show", "none") as rtx:
        until(lambda: len(rtx.children()) >= 3 and list(rtx.sockets.glob("rtx-*/maps-0")), 30)
        rtx.process.kill()
        rtx.process.wait()
        until(lambda: rtx.leftovers() == [], 5)


def test_a_camera_that_is_dead_from_the_start_does_not_stop_the_other():
    with watched(DEAD, SMALL, changes=(WITHOUT_WORKER,)) as run:
        run.more("display", "shown", 20)
        run.until(lambda: "camera lost" in run["grabber camera-1"].state)
        run.more("grabber camera-1", "reopened")
        run.more("display", "shown", 10)
        assert run["grabber camera-1"].restarts == 0
        assert run.going_on


def test_cameras_that_are_due_together_are_one_batch():
    sources = [f"{HALL}&seed={seed}" for seed in (1, 2, 3)]
    with watched(*sources) as run:
        run.until(lambda: run.count("worker", "largest_batch") > 1 and run.count("worker", "explained") > 0, 60)


FRAMES, FPS = 40, 10
"""Four seconds: a first clip, and a dozen explanations after it."""


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A small video with a block that wanders."""
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (160, 120))
    for index in range(FRAMES):
        picture = np.full((120, 160, 3), 60, np.uint8)
        picture[40:80, 3 * index : 3 * index + 30] = 220
        writer.write(picture)
    writer.release()
    return path


def frames_in(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def whole_file(film: Path, out: Path) -> tuple[str, ...]:
    return "run", str(film), "--set", "camera.pace=every", "--show", f"file:{out}"


@pytest.mark.parametrize("model", ["figures", pytest.param("i3d-k400", marks=pytest.mark.thorough)])
def test_every_frame_of_a_file_is_shown_once_and_then_it_ends(
    film: Path, tmp_path: Path, model: str, request: pytest.FixtureRequest
):
    if model == "i3d-k400":
        request.getfixturevalue("weights")
    with Running(*whole_file(film, tmp_path / "out.mp4"), "--model", model, report=True) as rtx:
        assert rtx.end(90) == 0
        report = rtx.report
        assert rtx.leftovers() == []
    assert frames_in(tmp_path / "out.mp4") == FRAMES
    assert (report["captured"], report["shown"]) == (FRAMES, FRAMES)
    assert report["explained"] > 10
    assert report["deadline_misses"] == 0


def test_every_frame_of_a_file_is_shown_once_although_it_is_recorded(film: Path, tmp_path: Path):
    recording = ("--model", "figures", "--set", "events.record=true", "--set", f'events.folder="{tmp_path / "events"}"')
    with Running(*whole_file(film, tmp_path / "out.mp4"), *recording, report=True) as rtx:
        assert rtx.end(90) == 0
        report = rtx.report
    assert frames_in(tmp_path / "out.mp4") == FRAMES
    assert (report["captured"], report["shown"]) == (FRAMES, FRAMES)


@pytest.mark.parametrize("victim", ["worker", "display"])
def test_every_frame_of_a_file_is_shown_once_even_if_a_process_dies(film: Path, tmp_path: Path, victim: str):
    out = tmp_path / "out.mp4"
    changes = ("camera.pace=every", "worker.model=figures", f'show.sinks=["file:{out}"]')
    with watched(str(film), changes=changes) as run:
        run.until(lambda: run.count("display", "shown") > 5 and run.count("worker", "picked_up") > 5)
        run.kill(victim)
        run.until(lambda: not run.going_on, 60)
    shown = frames_in(out) + (frames_in(part) if (part := tmp_path / "out-part2.mp4").exists() else 0)
    if victim == "worker":
        assert shown == FRAMES
    else:
        assert FRAMES - 32 <= shown <= FRAMES + 1, "a killed display may lose the last second of what it wrote"
    assert run[victim].restarts == 1


def test_a_file_that_vanishes_takes_no_other_camera_with_it(tmp_path: Path):
    """Its grabber is killed and finds no file any more: it is lost, and the rest goes on."""
    gone = tmp_path / "gone.mp4"
    movie = cv2.VideoWriter(str(gone), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(600):
        movie.write(np.zeros((48, 64, 3), np.uint8))
    movie.release()
    with watched(SMALL, str(gone), changes=(WITHOUT_WORKER,)) as run:
        run.more("grabber camera-2", "captured", 1)
        gone.unlink()
        run.kill("grabber camera-2")
        run.until(lambda: "no file" in run["grabber camera-2"].state, 20)
        run.more("grabber camera-1", "captured", 10)
