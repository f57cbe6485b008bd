"""The recorder: clips with the right frames and maps, from before the event on; full disks, killed writers."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from rtx.capture.clockbars import draw_clock, read_clock
from rtx.cli import app
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Events
from rtx.errors import UserError
from rtx.events import rows
from rtx.events.clip import finish, moment_for, read
from rtx.events.recorder import LATEST_S, Writing
from rtx.events.recording import Recorder, Taken
from rtx.events.store import MAPS, PART, Event, Store
from rtx.link.wire import Cells, Explanation, RelevanceMap, TopClass
from rtx.process import Report
from rtx.show.view import Look
from tests.link.test_hold import CLIP
from tests.live.runs import free_port, report_of, running
from tests.live.runs import rtx as command
from tests.waiting import until

FPS = 15
SMALL = "scene:hall?seed=7&size=320x180&fps=15"


def settings(folder: Path, **changes: object) -> Events:
    usual: dict[str, object] = {
        "folder": str(folder), "on_s": 0.5, "off_s": 0.5, "before_s": 1.0, "after_s": 1.0, "free_gb": 0.0,
        "classes": ("kick",),
    }  # fmt: skip
    return Events(**usual | changes)  # type: ignore[arg-type]


def picture(t: int) -> bytes:
    """A frame that shows its capture time."""
    image = np.full((360, 640, 3), 90, np.uint8)
    draw_clock(image, t)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def explained(t: int, p: float, place: int = 0) -> tuple[int, Explanation]:
    """A clip that ends at t, of which the class is so likely; heat in one of the four corners."""
    values = np.zeros((1, 2, 2), np.float32)
    values[0, place // 2, place % 2] = 1
    relevance = RelevanceMap.of(values, Cells((16.0, 56.0, 56.0), (15.0, 27.5, 27.5)), (16, 112, 112))
    found = msgspec.structs.replace(
        CLIP.explanation, epoch=1, t_frames=(t,), map=relevance, height=360, width=640, rect=(140.0, 0.0, 360.0, 360.0),
        top=(TopClass("kick", p), TopClass("stand", 1 - p)), motion_share=0.25,
    )  # fmt: skip
    return t, found


class Film:
    """Frames and explanations as they come, one each 1/15 s; an explanation is half a second late."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.begun = now() - 60 * NS_PER_S
        self.frame = 0
        self.likely: dict[int, float] = {}
        self.place: dict[int, int] = {}

    def time(self, frame: int) -> int:
        return (self.begun + frame * NS_PER_S // FPS) // NS_PER_MS * NS_PER_MS

    def roll(self, seconds: float, p: float, place: int = 0, epoch: int = 1) -> None:
        for _ in range(round(seconds * FPS)):
            self.likely[self.frame], self.place[self.frame] = p, place
            late = self.frame - FPS // 2
            known = explained(self.time(late), self.likely[late], self.place[late]) if late in self.likely else None
            self.recorder.step(Taken("hall", epoch, self.time(self.frame), picture(self.time(self.frame)), known))
            self.frame += 1


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Film]:
    with Recorder(settings(tmp_path), Look()) as recorder:
        recorder.follow(["hall"])
        yield Film(recorder)


def clocks(film: Path) -> list[int]:
    """The times that a clip's frames show."""
    video, found = cv2.VideoCapture(str(film)), list[int]()
    while (read_one := video.read())[0]:
        clock = read_clock(np.asarray(read_one[1], np.uint8))
        assert clock is not None
        found.append(clock)
    return found


def test_a_clip_has_the_frames_from_before_it_began_until_after_it_ended(film: Film, tmp_path: Path):
    film.roll(3, 0.1)
    begins = film.frame
    film.roll(2, 0.95)
    ends = film.frame - 1
    film.roll(6, 0.1)
    (event,) = rows(tmp_path)
    assert (event.label, event.state, event.camera) == ("kick", "whole", "hall")
    assert event.seconds == pytest.approx((ends - begins) / FPS, abs=0.01)
    assert event.peak == pytest.approx(0.95)
    assert event.motion_share == pytest.approx(0.25)
    expected = [film.time(i) for i in range(begins - FPS, ends + FPS + 1)]
    for name in ("plain.mp4", "overlay.mp4"):
        assert clocks(event.clip / name) == expected


def test_a_map_lies_over_the_frames_that_it_was_made_of(film: Film, tmp_path: Path):
    """Although it was known half a second later."""
    film.roll(3, 0.1, place=3)
    first = film.frame
    film.roll(2, 0.95, place=0)
    film.roll(6, 0.1, place=3)
    (event,) = rows(tmp_path)
    moments = read(event.clip)
    begin = film.time(first - FPS)
    of = {round((moment.at + begin - film.begun) / NS_PER_S * FPS): moment for moment in moments}
    assert of[first].heat().values[10, 10] > 200
    assert of[first - 1].heat().values[10, 10] < 30
    assert moment_for(moments, film.time(first + 3) - begin) is of[first + 3]
    video = cv2.VideoCapture(str(event.clip / "overlay.mp4"))
    shown = [video.read()[1] for _ in range(FPS + 10)]
    heat = [int(np.abs(frame[60:150, 160:250].astype(int) - 90).max()) for frame in shown]
    assert max(heat[: FPS - 1]) < 30, "before it began there was no heat in that corner"
    assert min(heat[FPS + 1 :]) > 60
    assert event.heat is not None
    mean = np.frombuffer(event.heat, np.uint8).reshape(56, 56)
    assert mean[10, 10] == 255
    assert mean[45, 45] < 20


def test_maps_can_be_read_without_rtx(film: Film, tmp_path: Path):
    film.roll(3, 0.1)
    film.roll(2, 0.95)
    film.roll(6, 0.1)
    (event,) = rows(tmp_path)
    with np.load(event.clip / MAPS, allow_pickle=False) as file:
        assert file["relevance"].shape[1:] == (56, 56)
        assert len(file["at_ns"]) == len(file["relevance"]) == len(file["p"]) == len(file["labels"])
        assert (np.diff(file["at_ns"]) > 0).all()
        assert file["labels"][0, 0] == "kick"


def test_two_events_one_after_the_other_have_a_clip_each(film: Film, tmp_path: Path):
    for _ in range(2):
        film.roll(1.5, 0.1)
        film.roll(1.5, 0.95)
    film.roll(6, 0.1)
    second, first = rows(tmp_path)
    assert clocks(first.clip / "plain.mp4")[-1] > clocks(second.clip / "plain.mp4")[0], "each has its time around"


def test_a_camera_that_jumps_ends_its_events(film: Film, tmp_path: Path):
    film.roll(3, 0.1)
    film.roll(4, 0.95)
    film.roll(1, 0.1, epoch=2)
    (event,) = rows(tmp_path)
    assert event.state == "cut"
    assert len(clocks(event.clip / "plain.mp4")) > FPS


def test_a_camera_that_is_not_recorded_any_more_keeps_what_it_has(film: Film, tmp_path: Path):
    film.roll(3, 0.1)
    film.roll(4, 0.95)
    film.recorder.follow([])
    assert film.recorder.words == "recording nothing"
    (event,) = rows(tmp_path)
    assert event.state == "cut"
    assert read(event.clip)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, b"size=2m"):
        pytest.skip(f"no disk of one's own can be mounted here: {os.strerror(ctypes.get_errno())}")
    yield place
    assert libc.umount2(str(place).encode(), 2) == 0


def test_a_full_disk_stops_recording_with_a_word_and_starts_again_when_there_is_room(disk: Path):
    ballast = disk / "ballast"
    ballast.write_bytes(b"0" * 1_600_000)
    with Recorder(settings(disk), Look()) as recorder:
        recorder.follow(["hall"])
        film = Film(recorder)
        for _ in range(6):
            film.roll(1.5, 0.1)
            film.roll(2, 0.95)
        film.roll(5, 0.1)
        assert "No space left" in recorder.trouble or "full" in recorder.trouble
        assert recorder.words.startswith("not recording: ")
        states = {event.state for event in rows(disk)}
        assert "cut" in states or "open" in states
        ballast.unlink()
        for event in rows(disk):
            for path in event.clip.glob("*.mp4"):
                path.unlink()
        recorder._looked_at = 0
        recorder.idle()
        assert recorder.trouble == ""
        before = len(rows(disk))
        film.roll(1.5, 0.1)
        film.roll(2, 0.95)
        film.roll(5, 0.1)
        newest = rows(disk)[0]
        assert len(rows(disk)) > before
        assert newest.state == "whole"
        assert {event.state for event in rows(disk)} == {"whole", "cut"}, "what was left open is mended"


def test_where_little_is_free_nothing_is_begun(tmp_path: Path):
    with Recorder(settings(tmp_path, free_gb=1e6), Look()) as recorder:
        recorder.follow(["hall"])
        recorder.idle()
        film = Film(recorder)
        film.roll(2, 0.95)
        assert "the disk is full" in recorder.trouble
        assert rows(tmp_path) == []


@pytest.mark.parametrize("tail", [b"", b"\0" * 4096])
def test_what_a_killed_writer_left_open_is_mended(tmp_path: Path, tail: bytes):
    with Store(tmp_path) as store:
        recorder = Recorder(settings(tmp_path), Look())
        recorder.follow(["hall"])
        film = Film(recorder)
        film.roll(3, 0.1)
        film.roll(5, 0.95)
        (event,) = store.unfinished()
        logged = (event.clip / PART).read_bytes()
        (event.clip / PART).write_bytes(logged[:-20] + tail)  # Cut off amid a moment; zeros after a power cut.
        os.close(recorder._lock)
    with Recorder(settings(tmp_path), Look()):
        pass
    (mended,) = rows(tmp_path)
    assert mended.state == "cut"
    assert mended.seconds > 1
    assert len(read(mended.clip)) > FPS
    assert not (mended.clip / PART).exists()
    finish(mended.clip)


def test_one_recorder_at_a_time_writes_a_folder(tmp_path: Path):
    another = r"another rtx records there; set events\.folder"
    with Recorder(settings(tmp_path), Look()), pytest.raises(UserError, match=another):
        Recorder(settings(tmp_path), Look())
    with Recorder(settings(tmp_path), Look()):
        pass


def test_a_camera_that_falls_silent_ends_its_events(film: Film, tmp_path: Path):
    film.roll(3, 0.1)
    film.roll(4, 0.95)
    film.recorder._cameras["hall"].heard_at -= 60 * NS_PER_S
    film.recorder.idle()
    (event,) = rows(tmp_path)
    assert event.state == "cut"
    assert clocks(event.clip / "plain.mp4")[-1] == film.time(film.frame - 1), "to its last frame"


@pytest.mark.parametrize("damage", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_maps_that_are_damaged_are_said_to_be(tmp_path: Path, damage: bytes):
    (tmp_path / MAPS).write_bytes(damage)
    with pytest.raises(UserError, match=r"the maps in .* cannot be read"):
        read(tmp_path)


def recorded(folder: Path) -> list[Event]:
    return rows(folder) if (folder / "events.db").exists() else []


def mended(folder: Path) -> bool:
    """By the next recorder, once the killed one is gone."""
    try:
        with Recorder(settings(folder), Look()):
            return True
    except UserError:
        return False


def test_a_run_that_is_killed_keeps_its_events(tmp_path: Path):
    folder, port = tmp_path / "events", free_port()
    arguments = ["--set", "events.record=true", "--set", f"events.folder={folder}", "--set", f"page.port={port}"]
    with running("run", SMALL, *arguments) as run:
        until(lambda: any(event.seconds > 4 for event in recorded(folder)), 90)
        children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True)
        for pid in (*map(int, children.stdout.split()), run.pid):
            os.kill(pid, signal.SIGKILL)
    left = recorded(folder)
    until(lambda: mended(folder))
    for event in recorded(folder):
        assert event.state in ("whole", "cut")
        if event.seconds > 4:
            assert cv2.VideoCapture(str(event.clip / "plain.mp4")).read()[0], "what was written can be played"
    assert len(recorded(folder)) == len(left)


def test_a_run_records_and_its_events_are_listed(tmp_path: Path):
    folder, report = tmp_path / "events", tmp_path / "report.json"
    arguments = ["--set", "events.record=true", "--set", f"events.folder={folder}", "--show", "none"]
    done = command("run", SMALL, *arguments, "--seconds", "20", "--report", str(report))
    assert done.returncode == 0, done.stderr
    assert report_of(report)["restarts"]["recorder"] == 0
    found = recorded(folder)
    assert found
    listed = CliRunner().invoke(app, ["events", "list", "--folder", str(folder), "--json"])
    assert [json.loads(line)["id"] for line in listed.output.splitlines()] == [event.id for event in found]
    table = CliRunner().invoke(app, ["events", "list", "--folder", str(folder)]).output
    assert found[0].label in table
    shown = CliRunner().invoke(app, ["events", "show", str(found[0].id), "--folder", str(folder)]).output
    assert "plain.mp4" in shown
    for name in ("e.csv", "e.json", "clips"):
        out = CliRunner().invoke(app, ["events", "export", str(tmp_path / name), "--folder", str(folder)])
        assert out.exit_code == 0, out.output
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 1 + len(found)
    assert len(json.loads((tmp_path / "e.json").read_text())) == len(found)
    assert (tmp_path / "clips" / found[0].clip.name / "event.json").is_file()


class Slow(Recorder):
    """One that looks at frames as slowly as it is told."""

    gate = threading.Semaphore(0)
    said = ""

    def step(self, taken: Taken) -> None:
        type(self).said = self.words
        self.gate.acquire()
        super().step(taken)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Writing, type[Slow]]]:
    monkeypatch.setattr("rtx.events.recorder.Recorder", Slow)
    monkeypatch.setattr(Slow, "gate", threading.Semaphore(0))
    monkeypatch.setattr(Slow, "said", "")
    with Writing(settings(tmp_path), Look()) as writing:
        yield writing, Slow
        for _ in range(10_000):
            Slow.gate.release()


def taken(camera: str, number: int) -> Taken:
    t = number * NS_PER_S // FPS
    return Taken(camera, 1, t, b"", None)


def test_a_recorder_that_is_too_slow_falls_behind_by_seconds_and_says_so(slow: tuple[Writing, type[Slow]]):
    writing, _ = slow
    writing.follow({"hall"})
    report = Report("recorder")
    for number in range(60 * FPS):
        writing.take(taken("hall", number))
        assert writing.late_s(number * NS_PER_S // FPS) <= LATEST_S + 2 / FPS
    until(lambda: Slow.said)
    writing.tell(report)
    assert "s behind" in report.state
    assert report.drops["backlog"] > 30 * FPS


def test_a_camera_is_recorded_from_when_it_is_wanted_although_others_wait(slow: tuple[Writing, type[Slow]]):
    writing, recorder = slow
    writing.follow({"hall"})
    for number in range(20):
        writing.take(taken("hall", number))
    writing.follow({"hall", "court"})
    for number in range(20, 30):
        writing.take(taken("court", number))
    for _ in range(25):
        recorder.gate.release()
    until(lambda: "court" in recorder.said and "hall" in recorder.said)
