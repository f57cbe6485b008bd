"""The clip window: sampled by capture time at any frame rate, whole or not at all, of the right part."""

from __future__ import annotations

import numpy as np
import pytest

from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.engine.window import PAD_VALUE, Clip, Window, see
from rtx.geometry import Rect, input_rect
from rtx.link.frames import Frame
from rtx.nets import cards

SPEC = cards.Clip(frames=16, stride_ms=133.333, size=32, mean=(0, 0, 0), std=(1, 1, 1))
WHOLE = (0.0, 0.0, 1.0, 1.0)
STRIDE = 133.333 * NS_PER_MS
SPAN_S = 15 * STRIDE / NS_PER_S
START = 100 * NS_PER_S


def window() -> Window:
    return Window(SPEC, WHOLE, "crop")


def frame(t: float, seq: int = 0, epoch: int = 1, size: tuple[int, int] = (36, 64), value: int | None = None) -> Frame:
    pixels = np.full((*size, 3), seq % 256 if value is None else value, np.uint8)
    return Frame("hall", epoch, seq, int(t), pixels)


def feed(window: Window, frames: list[Frame]) -> None:
    for each in frames:
        if window.wants(each):
            window.shrink(each)
            window.add(each)


def film(fps: float, seconds: float, start: float = START, first: int = 0, **about: int) -> list[Frame]:
    period = NS_PER_S / fps
    return [frame(start + i * period, first + i, **about) for i in range(int(seconds * fps) + 1)]


def clip_of(fps: float, seconds: float = 4.0) -> Clip:
    filled = window()
    feed(filled, film(fps, seconds))
    clip = filled.clip("hall")
    assert clip is not None
    return clip


@pytest.mark.parametrize("fps", [25, 28, 30, 60, 120])
def test_samples_lie_a_stride_apart_whatever_the_rate(fps: float):
    times = np.array(clip_of(fps).t_frames)
    due = times[-1] - STRIDE * np.arange(15, -1, -1)
    # Half a frame, or half the distance at which frames are kept.
    assert np.abs(times - due).max() <= max(NS_PER_S / fps, STRIDE / 4) / 2 + 1e6


@pytest.mark.parametrize("fps", [25, 28, 60])
def test_every_rate_sees_the_same_times(fps: float):
    other, usual = (np.array(clip_of(rate).t_frames) for rate in (fps, 30))
    apart = (other - other[-1]) - (usual - usual[-1])
    assert np.abs(apart).max() <= NS_PER_S / 25


@pytest.mark.parametrize("fps", [25, 28, 30, 60])
def test_the_last_sample_is_the_newest_frame(fps: float):
    filled = window()
    for each in film(fps, 6):
        if filled.wants(each):
            filled.shrink(each)
            filled.add(each)
            if clip := filled.clip("hall"):
                assert clip.t_frames[-1] == filled.newest() == each.t_capture
                assert clip.last_seq == each.seq


def test_the_frames_are_those_of_their_times():
    filled = window()
    frames = film(25, 4)
    feed(filled, frames)
    clip = filled.clip("hall")
    assert clip is not None
    by_time = {each.t_capture: each.seq for each in frames}
    assert [int(picture[0, 0, 0]) for picture in clip.frames] == [by_time[t] for t in clip.t_frames]
    assert clip.first_seq == by_time[clip.t_frames[0]]
    assert (clip.camera, clip.epoch, clip.height, clip.width) == ("hall", 1, 36, 64)


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_no_clip_is_made_of_missing_frames(fps: float):
    filled = window()
    for each in film(fps, 5):
        seen_s = (each.t_capture - START) / NS_PER_S
        feed(filled, [each])
        clip = filled.clip("hall")
        if seen_s < SPAN_S - STRIDE / NS_PER_S / 2:
            assert clip is None
        if seen_s > SPAN_S:
            assert clip is not None
            assert len(set(clip.t_frames)) == 16


def test_an_empty_window_has_no_clip():
    assert window().clip("hall") is None
    assert window().newest() is None
    assert window().progress() == 0.0


def test_progress_goes_from_nothing_to_whole():
    filled, seen = window(), []
    for each in film(30, 3):
        feed(filled, [each])
        seen.append(filled.progress())
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0


@pytest.mark.parametrize("hole_s", [0.5, 1.0, 5.0])
def test_no_clip_spans_a_hole(hole_s: float):
    filled = window()
    feed(filled, film(30, 4))
    assert filled.clip("hall") is not None
    after = START + (4 + hole_s) * NS_PER_S
    for each in film(30, 4, start=after, first=1000):
        feed(filled, [each])
        since_s = (each.t_capture - after) / NS_PER_S
        clip = filled.clip("hall")
        if clip is not None:
            assert max(np.diff(clip.t_frames)) < 2 * STRIDE
        if since_s > SPAN_S:
            assert clip is not None
        if since_s < SPAN_S - STRIDE / NS_PER_S:
            assert clip is None


@pytest.mark.parametrize(
    "change", [{"epoch": 2}, {"size": (72, 128)}, {"size": (64, 36)}], ids=["epoch", "larger", "turned"]
)
def test_what_does_not_continue_starts_empty(change: dict):
    filled = window()
    feed(filled, film(30, 4))
    feed(filled, [frame(START + 4.05 * NS_PER_S, 200, **change)])
    assert filled.clip("hall") is None
    assert filled.progress() == 0.0
    later = film(30, 3, start=START + 4.05 * NS_PER_S, first=200, **change)
    feed(filled, later[1:])
    clip = filled.clip("hall")
    assert clip is not None
    assert clip.t_frames[0] >= START + 4 * NS_PER_S


def test_the_first_frame_of_a_new_epoch_is_taken_however_early_it_is():
    filled = window()
    feed(filled, film(30, 4))
    assert filled.wants(frame(START, 0, epoch=2))


def test_time_that_went_back_starts_empty():
    """Another host was started anew, and its clock's offset is known by now."""
    filled = window()
    feed(filled, film(30, 4, start=START + 1000 * NS_PER_S))
    feed(filled, film(30, 4, start=START, first=121))
    clip = filled.clip("hall")
    assert clip is not None
    assert START <= clip.t_frames[0] < clip.t_frames[-1] < START + 5 * NS_PER_S


def test_emptied_it_starts_anew():
    filled = window()
    feed(filled, film(30, 4))
    filled.empty()
    assert filled.clip("hall") is None
    assert filled.newest() is None


@pytest.mark.parametrize("fps", [4, 5, 7])
def test_a_slow_camera_gives_clips_too(fps: float):
    clip = clip_of(fps, seconds=8)
    times = np.array(clip.t_frames)
    due = times[-1] - STRIDE * np.arange(15, -1, -1)
    assert np.abs(times - due).max() <= NS_PER_S / fps / 2 + 1e6
    assert (np.diff(times) >= 0).all()


def test_more_frames_than_a_clip_can_use_are_not_resized():
    filled = window()
    wanted = 0
    for each in film(120, 2):
        if filled.wants(each):
            wanted += 1
            filled.shrink(each)
            filled.add(each)
    assert 2 * NS_PER_S / STRIDE * 3 < wanted < 2 * NS_PER_S / STRIDE * 5


def test_a_clip_keeps_its_frames_when_the_window_goes_on():
    filled = window()
    feed(filled, film(30, 4))
    clip = filled.clip("hall")
    assert clip is not None
    before = clip.frames.copy()
    feed(filled, film(30, 4, start=START + 4.1 * NS_PER_S, first=121))
    np.testing.assert_array_equal(clip.frames, before)


def test_a_jittering_camera_gives_clips():
    dice = np.random.default_rng(0)
    filled = window()
    frames = film(30, 6)
    feed(filled, [frame(f.t_capture + dice.normal(0, 8e6), f.seq) for f in frames])
    assert filled.clip("hall") is not None


# Where the network looks: H W of the picture, region, fit; then the square it sees.
SEEN = [
    ((720, 1280), WHOLE, "crop", Rect(280, 0, 720, 720)),
    ((720, 1280), WHOLE, "pad", Rect(0, -280, 1280, 1280)),
    ((1280, 720), WHOLE, "crop", Rect(0, 280, 720, 720)),
    ((1280, 720), WHOLE, "pad", Rect(-280, 0, 1280, 1280)),
    ((720, 1280), (0.5, 0.5, 0.25, 0.5), "crop", Rect(640, 380, 320, 320)),
    ((720, 1280), (0.5, 0.5, 0.25, 0.5), "pad", Rect(620, 360, 360, 360)),
]


@pytest.mark.parametrize(("size", "roi", "fit", "rect"), SEEN)
def test_the_square_that_the_network_sees(size, roi, fit, rect):
    assert input_rect(*size, roi, fit) == rect


@pytest.mark.parametrize(("size", "roi", "fit", "rect"), SEEN)
@pytest.mark.parametrize("corner", ["top left", "top right", "bottom left", "bottom right"])
def test_a_marked_corner_lies_where_it_is(size, roi, fit, rect, corner: str):
    """The corner of what is in the picture and in the square, marked white, and nothing else."""
    height, width = size
    x0, y0 = max(0, int(rect.x)), max(0, int(rect.y))
    x1, y1 = min(width, int(rect.x + rect.width)), min(height, int(rect.y + rect.height))
    side = int(rect.width) // 8
    left = x0 if "left" in corner else x1 - side
    top = y0 if "top" in corner else y1 - side
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top : top + side, left : left + side] = 255
    out = np.empty((64, 64, 3), np.uint8)
    see(picture, rect, 64, out)
    scale = 64 / rect.width
    ys, xs = np.nonzero(out[..., 0] > 200)
    expected = ((left - rect.x) * scale, (top - rect.y) * scale)
    assert abs(xs.min() - expected[0]) <= 1
    assert abs(ys.min() - expected[1]) <= 1
    assert abs(xs.max() + 1 - (expected[0] + side * scale)) <= 1
    assert abs(ys.max() + 1 - (expected[1] + side * scale)) <= 1


def test_what_lies_beyond_the_picture_is_grey():
    out = np.empty((64, 64, 3), np.uint8)
    see(np.full((360, 640, 3), 255, np.uint8), Rect(0, -140, 640, 640), 64, out)
    assert (out[:13] == PAD_VALUE).all()
    assert (out[51:] == PAD_VALUE).all()
    assert (out[15:49] == 255).all()


def test_shrinking_averages():
    """AREA: thin lines, one in seven, become even grey; LINEAR meets some of them and misses the others."""
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[:, ::7] = 255
    out = np.empty((32, 32, 3), np.uint8)
    see(picture, Rect(0, 0, 224, 224), 32, out)
    assert np.abs(out.astype(int) - 255 / 7).max() <= 1


def test_a_picture_smaller_than_the_input_is_enlarged_smoothly():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    out = np.empty((64, 64, 3), np.uint8)
    see(picture, Rect(0, 0, 8, 8), 64, out)
    assert len(np.unique(out[32, :, 0])) > 4


def test_the_window_looks_where_its_camera_says():
    looked = Window(SPEC, (0.5, 0.0, 0.5, 1.0), "pad")
    feed(looked, film(30, 3, size=(64, 64)))
    clip = looked.clip("hall")
    assert clip is not None
    assert clip.rect == Rect(16, 0, 64, 64)
    assert clip.seen == Rect(32, 0, 32, 64)
    assert (clip.frames[-1][:, :8] == PAD_VALUE).all(), "what lies outside the region is not seen"
    assert (clip.frames[-1][:, -8:] == PAD_VALUE).all()


def test_a_region_of_almost_nothing_still_gives_a_clip():
    looked = Window(SPEC, (0.999, 0.999, 0.001, 0.001), "crop")
    feed(looked, film(30, 3, size=(64, 64)))
    assert looked.clip("hall") is not None
