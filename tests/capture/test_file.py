"""Files: every frame in order, or the file's own pace; drawn into the caller's memory."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtx.capture import file as file_module
from rtx.capture.clockbars import read_clock
from rtx.capture.file import File
from rtx.capture.source import Pixels
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Camera
from rtx.errors import UserError
from tests.capture.conftest import MakeVideo, Paper


def _all(source: File, paper: Paper) -> tuple[list[int | None], list[int]]:
    """(frame numbers read off the pixels, capture times) up to the end."""
    numbers, times = [], []
    while stamp := source.read(paper):
        t = read_clock(paper.picture)
        numbers.append(None if t is None else t // NS_PER_S)
        times.append(stamp.t_capture)
    return numbers, times


def test_every_frame_in_order_and_again(make_video: MakeVideo, paper: Paper) -> None:
    source = File(Camera(source=str(make_video(60, 25)), pace="every"))
    assert not source.live
    for _ in range(2):
        source.open()
        began = now()
        numbers, times = _all(source, paper)
        assert numbers == list(range(60))
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([40 * NS_PER_MS] * 59, abs=NS_PER_MS)
        assert 0 <= times[0] - began < NS_PER_S
        assert source.read(paper) is None
    source.close()
    source.close()
    assert source.skipped == 0


def test_its_own_pace(make_video: MakeVideo, paper: Paper) -> None:
    source = File(Camera(source=str(make_video(20, 25))))
    assert source.live
    source.open()
    numbers, times = [], []
    while stamp := source.read(paper):
        assert now() >= stamp.t_capture  # a frame is never given before it is due
        t = read_clock(paper.picture)
        assert t is not None
        numbers.append(t // NS_PER_S)
        times.append(stamp.t_capture)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + source.skipped == 20
    for number, t in zip(numbers, times, strict=True):
        assert t - times[0] == pytest.approx((number - numbers[0]) * 40 * NS_PER_MS, abs=NS_PER_MS)


def test_a_late_reader_gets_the_frame_that_is_due(
    make_video: MakeVideo, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_ns = [1000 * NS_PER_S]
    monkeypatch.setattr(file_module, "now", lambda: time_ns[0])
    monkeypatch.setattr(file_module, "wait_until", lambda due, _: time_ns.__setitem__(0, max(due, time_ns[0])) or True)
    source = File(Camera(source=str(make_video(60, 25))))
    source.open()
    source.read(paper)
    time_ns[0] += 500 * NS_PER_MS
    stamp = source.read(paper)
    assert stamp is not None
    assert time_ns[0] - 40 * NS_PER_MS <= stamp.t_capture <= time_ns[0]
    number = (read_clock(paper.picture) or 0) // NS_PER_S
    assert number in (12, 13)
    assert source.skipped == number - 1
    time_ns[0] += 3600 * NS_PER_S  # hopelessly late: still something to see
    assert source.read(paper) is not None


def test_stop_ends_the_wait(make_video: MakeVideo, paper: Paper) -> None:
    stop = threading.Event()
    source = File(Camera(source=str(make_video(3, 1))), stop)
    source.open()
    assert source.read(paper) is not None
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert source.read(paper) is None
    assert time.monotonic() - began < 0.9


def test_the_canvas_itself_is_drawn_on(make_video: MakeVideo) -> None:
    ring = np.zeros((4, 360, 640, 3), np.uint8)
    asked: list[Pixels] = []

    def canvas(height: int, width: int) -> Pixels:
        assert (height, width) == (360, 640)
        asked.append(ring[len(asked)])
        return asked[-1]

    source = File(Camera(source=str(make_video(4)), pace="every"))
    source.open()
    while source.read(canvas):
        pass
    assert [(read_clock(slot) or 0) // NS_PER_S for slot in ring] == [0, 1, 2, 3]
    assert len(asked) == 4  # one canvas a frame: none was drawn and then copied to another


@pytest.mark.parametrize("frames", [1, 3])
def test_mirror(make_video: MakeVideo, paper: Paper, frames: int) -> None:
    source = File(Camera(source=str(make_video(frames)), pace="every", mirror=True))
    source.open()
    for number in range(frames):  # the first is copied, the next are mirrored in place
        assert source.read(paper) is not None
        assert paper.picture[200, 100, 0] > 150 > 90 > paper.picture[200, 540, 0]
        assert read_clock(np.ascontiguousarray(paper.picture[:, ::-1])) == number * NS_PER_S


def test_portrait_is_turned_upright(make_video: MakeVideo, paper: Paper) -> None:
    path = make_video(3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn
    path.write_bytes(data)
    source = File(Camera(source=str(path), pace="every"))
    source.open()
    for _ in range(3):
        assert source.read(paper) is not None
        assert paper.picture.shape == (640, 360, 3)
        assert paper.picture[100, 100, 0] < 90 < 150 < paper.picture[540, 100, 0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '.*gone\.mp4'"):
        File(Camera(source=str(tmp_path / "gone.mp4"))).open()


@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.mp4.* is not a video"):
        File(Camera(source=str(path))).open()


class _Odd:
    """A `cv2.VideoCapture` that states a rate and gives the positions that one tells it."""

    def __init__(self, fps: float, positions_ms: list[float]) -> None:
        self._fps, self._positions = fps, iter(positions_ms)

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self._position = next(self._positions, None)
        return self._position is not None

    def get(self, key: int) -> float:
        return self._fps if key == cv2.CAP_PROP_FPS else self._position or 0.0

    def retrieve(self, _: Pixels | None = None) -> tuple[bool, Pixels]:
        return True, np.zeros((36, 64, 3), np.uint8)

    def release(self) -> None:
        pass


def _steps_ms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fps: float, positions: list[float]
) -> tuple[list[float], File]:
    path = tmp_path / "odd.mp4"
    path.touch()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: _Odd(fps, positions))
    source = File(Camera(source=str(path), pace="every"))
    source.open()
    _, times = _all(source, Paper())
    return [(b - a) / NS_PER_MS for a, b in itertools.pairwise(times)], source


@pytest.mark.parametrize("fps", [0.0, float("nan"), float("inf"), -5.0, 90_000.0])
def test_a_senseless_rate_is_taken_for_30(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fps: float) -> None:
    steps, source = _steps_ms(monkeypatch, tmp_path, fps, [0.0] * 4)
    assert source.assumed_fps == 30
    assert steps == pytest.approx([1000 / 30] * 3, abs=0.01)


def test_positions_count_where_they_make_sense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    steps, source = _steps_ms(monkeypatch, tmp_path, 20.0, [1400, 1500, 1510, 1510, 9e9, 9e9 + 70, 5])
    assert source.assumed_fps is None
    assert steps == pytest.approx([100, 10, 50, 50, 70, 50], abs=0.01)


@pytest.mark.parametrize("count", [float("nan"), -2e17, -1, 0, 1])
def test_a_senseless_number_of_frames_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: float) -> None:
    monkeypatch.setattr(_Odd, "get", lambda _, key: count if key == cv2.CAP_PROP_FRAME_COUNT else 25.0)
    (tmp_path / "odd.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: _Odd(25.0, [25.0] * 4))
    source = File(Camera(source=str(tmp_path / "odd.mp4")))
    source.open()
    assert source.stated_frames is None
    assert source.run_through() == 3 * 40 * NS_PER_MS


def test_a_files_address_is_not_repeated_with_its_password() -> None:
    with pytest.raises(UserError, match=r"no file 'rtsp://\*\*\*@h/x'"):
        File(Camera(source="rtsp://u:geheim@h/x")).open()
