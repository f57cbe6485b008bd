"""Optical flow, live: made once for each frame, in pixels a stride, whatever the camera's rate."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rtx.clock import NS_PER_MS
from rtx.engine import window as module
from rtx.engine.flow import between, of_clip
from rtx.engine.window import Window
from rtx.link.frames import Frame
from rtx.nets import cards

SIZE = 96
SPEED = 50.0
"""Pixels a second."""


def picture(t_ms: float) -> np.ndarray:
    """Blotches that move to the right."""
    dice = np.random.default_rng(0)
    blotches = cv2.resize(
        dice.integers(0, 256, (24, 48, 3), np.uint8), (4 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC
    )
    moved = cv2.warpAffine(
        blotches, np.array([[1, 0, t_ms / 1000 * SPEED - SIZE], [0, 1, 0]], np.float32), (2 * SIZE, SIZE)
    )
    return np.ascontiguousarray(moved[:, :SIZE])


def fed(fps: float, stride_ms: float, frames: int = 8, seconds: float = 2.0) -> Window:
    clip = cards.Clip(frames, stride_ms, SIZE, (0, 0, 0), (1, 1, 1))
    window = Window(clip, (0.0, 0.0, 1.0, 1.0), "crop", with_flow=True)
    for number in range(int(seconds * fps)):
        t = number * 1000 / fps
        frame = Frame("camera", 1, number, int(t * NS_PER_MS), picture(t))
        if window.wants(frame):
            window.shrink(frame)
            window.add(frame)
    return window


@pytest.mark.parametrize("fps", [10, 15, 25, 30, 60])
def test_flow_is_in_pixels_a_stride_at_any_rate(fps: float):
    clip = fed(fps, stride_ms=66.7).clip("camera")
    assert clip is not None
    assert clip.flow is not None
    assert clip.flow.shape == (8, SIZE, SIZE, 2)
    inner = clip.flow[:, 20:-20, 20:-20]
    assert np.median(inner[..., 0]) == pytest.approx(SPEED * 0.0667, rel=0.1)
    assert abs(np.median(inner[..., 1])) < 0.2


def test_the_first_frames_of_all_move_as_the_next_ones_do():
    window = fed(30, 66.7, seconds=8 * 0.0667)
    clip = window.clip("camera")
    assert clip is not None
    assert clip.flow is not None
    assert np.isfinite(clip.flow).all()
    assert np.median(clip.flow[0, 20:-20, 20:-20, 0]) == pytest.approx(SPEED * 0.0667, rel=0.2)


def test_it_is_made_once_for_each_frame(monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(module, "between", lambda *pair: made.append(1) or between(*pair))
    window = fed(30, 66.7)
    kept = window._count
    for _ in range(3):
        window.clip("camera")
    assert len(made) < kept


def test_a_window_without_flow_has_none():
    window = Window(cards.Clip(8, 66.7, SIZE, (0, 0, 0), (1, 1, 1)), (0.0, 0.0, 1.0, 1.0), "crop")
    for number in range(40):
        frame = Frame("camera", 1, number, number * 33 * NS_PER_MS, picture(number * 33))
        window.shrink(frame)
        window.add(frame)
    clip = window.clip("camera")
    assert clip is not None
    assert clip.flow is None


def test_of_a_clip_alone_each_frame_moves_from_the_one_before():
    frames = np.stack([picture(t * 40) for t in range(4)])
    flow = of_clip(frames)
    assert flow.shape == (4, SIZE, SIZE, 2)
    assert np.median(flow[:, 20:-20, 20:-20, 0]) == pytest.approx(2.0, rel=0.1)
    np.testing.assert_array_equal(flow[0], flow[1])


def test_frames_that_are_missing_leave_no_hole_in_the_flow():
    """Two frames dropped of 60 a second: the next lies nearest to one that is too near."""
    clip = cards.Clip(8, 40.0, SIZE, (0, 0, 0), (1, 1, 1))
    window = Window(clip, (0.0, 0.0, 1.0, 1.0), "crop", with_flow=True)
    for number in range(90):
        frame = Frame("camera", 1, number, number * 1000 * NS_PER_MS // 60, picture(number * 1000 / 60))
        if number % 17 not in (3, 4) and window.wants(frame):
            window.shrink(frame)
            window.add(frame)
            found = window.clip("camera")
            assert found is None or np.isfinite(found.flow).all()


def test_a_frame_that_stands_there_twice_has_moved_evenly():
    frames = np.stack([picture(t) for t in (0, 0, 80, 80, 160, 160)])
    flow = of_clip(frames)[:, 20:-20, 20:-20, 0]
    np.testing.assert_allclose(np.median(flow.reshape(6, -1), axis=1), SPEED * 0.04, rtol=0.1)
