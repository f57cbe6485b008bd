"""The drawn camera: its clock, its pace, its options."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from rtx.capture import synthetic as synthetic_module
from rtx.capture.clockbars import read_clock
from rtx.capture.synthetic import Synthetic
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Camera
from rtx.errors import UserError
from tests.capture.conftest import Paper


def _opened(source: str = "synthetic:?size=320x180&fps=50", **settings: object) -> Synthetic:
    synthetic = Synthetic(Camera(source=source, **settings))  # type: ignore[arg-type]
    synthetic.open()
    return synthetic


def test_the_clock_in_the_picture_is_the_stamp(paper: Paper) -> None:
    for mirror in (False, True):
        source = _opened(mirror=mirror)
        for _ in range(5):
            stamp = source.read(paper)
            assert stamp is not None
            assert read_clock(paper.picture) == stamp.t_capture // NS_PER_MS * NS_PER_MS
            assert stamp.t_capture <= now()


def test_something_moves_and_the_seed_decides(paper: Paper) -> None:
    def frame(source: str, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        synthetic = _opened(source, pace="every")
        for _ in range(number + 1):
            synthetic.read(paper)
        return paper.picture[20:150].copy()  # without clock and number

    first = frame("synthetic:?size=320x180&seed=1", 0)
    assert (first == frame("synthetic:?size=320x180&seed=1", 0)).all()
    assert (first != frame("synthetic:?size=320x180&seed=1", 20)).any(axis=2).mean() > 0.02
    assert (first != frame("synthetic:?size=320x180&seed=2", 0)).any(axis=2).mean() > 0.02


def test_every_frame_without_waiting(paper: Paper) -> None:
    source = _opened("synthetic:?size=320x180&fps=1", pace="every")
    assert not source.live
    began = time.monotonic()
    times = [stamp.t_capture for _ in range(20) if (stamp := source.read(paper))]
    assert time.monotonic() - began < 10
    assert [b - a for a, b in itertools.pairwise(times)] == [NS_PER_S] * 19


def test_missed_frames_are_gone(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    time_ns = [1000 * NS_PER_S]
    monkeypatch.setattr(synthetic_module, "now", lambda: time_ns[0])
    monkeypatch.setattr(
        synthetic_module, "wait_until", lambda due, _: time_ns.__setitem__(0, max(due, time_ns[0])) or True
    )
    source = _opened("synthetic:?size=320x180&fps=50")
    steps = []
    for late_ms in (0, 5, 0, 490, 0):
        time_ns[0] += late_ms * NS_PER_MS
        stamp = source.read(paper)
        assert stamp is not None
        steps.append((stamp.t_capture - 1000 * NS_PER_S) // NS_PER_MS)
    assert steps == [0, 20, 40, 520, 540]


def test_stop_ends_the_wait(paper: Paper) -> None:
    stop = threading.Event()
    source = Synthetic(Camera(source="synthetic:?size=320x180&fps=1"), stop)
    source.open()
    assert source.read(paper) is not None
    stop.set()
    assert source.read(paper) is None


def test_size_and_rate_of_the_camera_hold_where_the_url_is_silent(paper: Paper) -> None:
    source = _opened("synthetic:", width=320, height=240, fps=10, pace="every")
    first, second = source.read(paper), source.read(paper)
    assert paper.picture.shape == (240, 320, 3)
    assert first is not None
    assert second is not None
    assert second.t_capture - first.t_capture == NS_PER_S // 10


@pytest.mark.parametrize("size", ["64x36", "4000x40", "90x1600"])
def test_odd_sizes_can_be_drawn(paper: Paper, size: str) -> None:
    source = _opened(f"synthetic:?size={size}", pace="every")
    for _ in range(30):
        assert source.read(paper) is not None


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("synthetic:?sise=320x180", "unknown option of synthetic: 'sise': did you mean 'size'"),
        ("synthetic:?size=big", "size is 'big'; expected WIDTHxHEIGHT"),
        ("synthetic:?size=0x0", "size is '0x0'"),
        ("synthetic:?fps=0", "fps is '0'; expected a number from 1 to 1000"),
        ("synthetic:?seed=-1", "seed is '-1'"),
        ("synthetic:ball", "expected e.g. synthetic:"),
    ],
)
def test_wrong_options_are_named(source: str, text: str) -> None:
    with pytest.raises(UserError, match=text.replace("?", r"\?")):
        Synthetic(Camera(source=source))


def test_a_720p_frame_is_cheap(paper: Paper) -> None:
    source = _opened("synthetic:?size=1280x720", pace="every")
    source.read(paper)
    began = time.thread_time()
    for _ in range(50):
        source.read(paper)
    assert (time.thread_time() - began) / 50 < 6e-3  # measured: under 3 ms; the margin is for busy neighbours
