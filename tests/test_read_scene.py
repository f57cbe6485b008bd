"""Clips out of the drawn hall: its own frames at their times, with the truth beside each picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

import rtx
from rtx.capture.scene import truth_of
from rtx.clock import NS_PER_S
from rtx.config import Camera
from rtx.engine.window import see
from rtx.errors import UserError
from rtx.film.read import SCENE_AT_S, FileClip
from rtx.geometry import input_rect
from rtx.nets import cards
from rtx.scenes.scene import Cast, Moment, Scene

SMALL = "scene:hall?seed=7&size=320x180"
SPEC = cards.card("figures").clip
STRIDE = SPEC.stride_ms / 1000


def there(t: float, size: tuple[int, int] = (180, 320), seed: int = 7) -> tuple[Moment, NDArray[np.uint8]]:
    """The hall at that time, as the scene itself draws it."""
    scene = Scene(Cast.live(seed), *size)
    (moment,) = scene.moments(np.array([t]))
    picture = np.empty((*size, 3), np.uint8)
    scene.paint(picture, moment)
    return moment, picture


def shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = np.empty((SPEC.size, SPEC.size, 3), np.uint8)
    see(picture, input_rect(*picture.shape[:2], (0.0, 0.0, 1.0, 1.0), "crop"), SPEC.size, small)
    return small


def assert_frames_are_of(clip: FileClip, times: NDArray[np.float64] | list[float], fps: float = 30) -> None:
    """Each frame of the clip is the hall at the frame's time nearest to the one due."""
    for frame, t in zip(clip.clip.frames, times, strict=True):
        np.testing.assert_array_equal(frame, shrunk(there(round(t * fps) / fps)[1]))


def test_the_halls_own_model_wants_16_frames_at_15_a_second():
    assert (SPEC.frames, SPEC.size, SPEC.stride_ms) == (16, 112, 66.667)


@pytest.mark.parametrize("at", [2.0, 7.3, 61.1])
def test_frames_are_those_of_the_scene_at_their_times(at: float):
    clip = rtx.read_clip(SMALL, at=at)
    assert clip.at_s == pytest.approx(at, abs=1e-3)
    assert not clip.stretched
    assert clip.clip.frames.shape == (16, 112, 112, 3)
    assert_frames_are_of(clip, at - STRIDE * np.arange(15, -1, -1))


def test_a_scene_is_720p_at_30_where_nothing_else_is_said():
    clip = rtx.read_clip("scene:hall?seed=7", at=4.0)
    assert clip.pictures[0].shape == (720, 1280, 3)
    assert (clip.clip.height, clip.clip.width) == (720, 1280)
    assert tuple(clip.clip.rect) == (280, 0, 720, 720)
    np.testing.assert_array_equal(clip.pictures[-1], there(4.0, (720, 1280))[1])
    np.testing.assert_array_equal(clip.clip.frames[-1], shrunk(there(4.0, (720, 1280))[1]))
    assert np.diff(clip.times) == pytest.approx(NS_PER_S / 30, abs=2)


def test_pictures_truths_and_times_lie_beside_each_other():
    clip = rtx.read_clip(SMALL, at=9.0)
    assert len(clip.pictures) == len(clip.truths) == len(clip.times) == 31
    for picture, truth, time in zip(clip.pictures, clip.truths, clip.times, strict=True):
        at = round(time * 30 / NS_PER_S) / 30
        moment, drawn = there(at)
        np.testing.assert_array_equal(picture, drawn)
        assert truth == truth_of(moment, at)
    assert clip.clip.truth == clip.truths[-1]
    assert clip.times[0] == clip.clip.t_frames[0]
    assert clip.times[-1] == clip.clip.t_frames[-1]
    assert set(clip.clip.t_frames) <= set(clip.times)


def test_late_in_a_scene_pictures_are_those_of_their_times():
    clip = rtx.read_clip("scene:hall?seed=7&size=64x36", at=1000.05)
    for picture, time in zip(clip.pictures, clip.times, strict=True):
        np.testing.assert_array_equal(picture, there(round(time * 30 / NS_PER_S) / 30, (36, 64))[1])


def test_without_a_time_it_is_a_little_into_the_scene():
    usual, named = rtx.read_clip(SMALL), rtx.read_clip(SMALL, at=SCENE_AT_S)
    np.testing.assert_array_equal(usual.clip.frames, named.clip.frames)
    assert not usual.stretched


def test_reading_twice_gives_the_same():
    one, again = (rtx.read_clip(SMALL, at=5.2) for _ in range(2))
    np.testing.assert_array_equal(one.clip.frames, again.clip.frames)
    assert (one.truths, one.times) == (again.truths, again.times)


def test_another_seed_is_another_clip():
    one, other = (rtx.read_clip(f"scene:hall?seed={seed}&size=320x180", at=2.0) for seed in (1, 2))
    assert (one.clip.frames != other.clip.frames).mean() > 0.5


@pytest.mark.parametrize("fps", [10, 24, 60])
def test_any_rate_is_sampled_at_the_same_times(fps: int):
    clip = rtx.read_clip(f"{SMALL}&fps={fps}", at=6.0)
    assert not clip.stretched
    due = 6.0 - STRIDE * np.arange(15, -1, -1)
    shown = np.array(clip.clip.t_frames) / NS_PER_S
    assert np.abs(shown - due).max() <= 0.5 / fps + 1e-4
    for frame, t in zip(clip.clip.frames, shown, strict=True):
        np.testing.assert_array_equal(frame, shrunk(there(round(t * fps) / fps)[1]))


def test_the_beginning_is_stretched_over_the_clip():
    clip = rtx.read_clip(SMALL, at=0.5)
    assert clip.stretched
    assert clip.at_s == pytest.approx(0.5, abs=1e-6)
    assert clip.times[0] == 0
    assert_frames_are_of(clip, np.linspace(0, 0.5, 16))


def test_the_very_first_frame_is_a_clip():
    clip = rtx.read_clip(SMALL, at=0)
    assert clip.stretched
    assert (clip.at_s, clip.times) == (0, (0,))
    assert_frames_are_of(clip, [0.0] * 16)


def test_a_clip_that_just_fits_is_not_stretched():
    clip = rtx.read_clip(SMALL, at=1.0)
    assert not clip.stretched
    assert len(set(clip.clip.t_frames)) == 16


@pytest.mark.parametrize("at", [-0.01, -5.0, 2e6, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(at: float):
    with pytest.raises(UserError, match="is no time of a scene: 0 to 1000000"):
        rtx.read_clip(SMALL, at=at)


def test_wrong_options_are_refused():
    with pytest.raises(UserError, match="did you mean 'seed'"):
        rtx.read_clip("scene:hall?sede=7")
    with pytest.raises(UserError, match="there is one scene"):
        rtx.read_clip("scene:gym")


def test_the_cameras_settings_hold():
    """A region of a mirrored picture: the network sees what is there, turned."""
    roi = (0.25, 0.0, 0.5, 1.0)
    camera = Camera(source=SMALL, name="hall", pace="every", mirror=True, roi=roi)
    clip = rtx.read_clip(SMALL, at=2.0, camera=camera)
    plain = rtx.read_clip(SMALL, at=2.0)
    assert clip.clip.camera == "hall"
    assert clip.clip.rect == input_rect(180, 320, roi, "crop")
    for picture, turned in zip(plain.pictures, clip.pictures, strict=True):
        np.testing.assert_array_equal(turned, picture[:, ::-1])


def test_another_model_is_given_its_own_clip():
    spec = cards.card("i3d-k400").clip
    clip = rtx.read_clip("scene:hall?seed=7&size=64x36", model="i3d-k400", at=4.0)
    assert clip.clip.frames.shape == (spec.frames, spec.size, spec.size, 3)
    steps = [b - a for a, b in itertools.pairwise(clip.clip.t_frames)]
    assert np.mean(steps) == pytest.approx(spec.stride_ms * 1e6, rel=0.02)
