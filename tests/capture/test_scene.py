"""The drawn hall as a camera: its options, its pace, its clock, and the truth that comes with each frame."""

from __future__ import annotations

import itertools
import re
import threading
from time import process_time

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtx.capture import scene as scene_module
from rtx.capture.clockbars import read_clock
from rtx.capture.scene import SceneCamera
from rtx.capture.source import SourceLost, Stamp
from rtx.capture.sources import open_source
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.config import Camera
from rtx.errors import UserError
from rtx.link.wire import Truth
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import Cast, Moment, Scene, label_picture
from tests.capture.conftest import Paper

HALL = "scene:hall?seed=7&size=320x180"
START = 1000 * NS_PER_S

Pixels = NDArray[np.uint8]


class Time:
    """The clock and the waits of the camera: time passes where a test says so, and where the camera waits."""

    def __init__(self) -> None:
        self.ns = START
        self.stopped = False

    def now(self) -> int:
        return self.ns

    def wait_until(self, due: int, stop: threading.Event) -> bool:
        self.ns = max(self.ns, due)
        return not stop.is_set()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    driven = Time()
    monkeypatch.setattr(scene_module, "now", driven.now)
    monkeypatch.setattr(scene_module, "wait_until", driven.wait_until)
    return driven


def opened(source: str = HALL, **settings: object) -> SceneCamera:
    camera = SceneCamera(Camera(source=source, **({"pace": "every"} | settings)))  # type: ignore[arg-type]
    camera.open()
    return camera


def read(camera: SceneCamera, paper: Paper) -> Stamp:
    stamp = camera.read(paper)
    assert stamp is not None
    return stamp


def truth_of(stamp: Stamp) -> Truth:
    assert stamp.truth is not None
    return stamp.truth


def there(index: int, fps: float = 30, seed: int = 7, size: tuple[int, int] = (180, 320)) -> tuple[Moment, Pixels]:
    """The frame as the scene itself draws it."""
    scene = Scene(Cast.live(seed), *size)
    (moment,) = scene.moments(np.array([index / fps]))
    picture = np.empty((*size, 3), np.uint8)
    scene.paint(picture, moment)
    return moment, picture


def drawn(truth: Truth, size: tuple[int, int] = (180, 320)) -> Pixels:
    """A label picture of what the truth says."""
    labels = np.zeros(size, np.uint8)
    for shape in truth.shapes:
        cv2.fillConvexPoly(labels, shape.outline(), NUMBERS[shape.part], cv2.LINE_8, 4)
    return labels


def labelled(moment: Moment, size: tuple[int, int] = (180, 320)) -> Pixels:
    labels = np.empty(size, np.uint8)
    label_picture(moment.strokes, labels)
    return labels


def test_a_scene_is_a_source():
    assert isinstance(open_source(Camera(source=HALL), threading.Event()), SceneCamera)


def test_frames_are_those_of_the_live_hall(paper: Paper):
    camera = opened()
    for index in range(4):
        read(camera, paper)
        np.testing.assert_array_equal(paper.picture, there(index)[1])


def test_the_truth_of_a_frame_is_what_is_drawn(paper: Paper):
    camera = opened()
    seen = set()
    for second in range(0, 30, 3):
        camera.seek(second)
        truth = truth_of(read(camera, paper))
        moment, picture = there(30 * second)
        np.testing.assert_array_equal(paper.picture, picture)
        np.testing.assert_array_equal(drawn(truth), labelled(moment))
        assert (truth.action, truth.acting) == (moment.act.action, moment.act.acting)
        assert set(truth.acting) <= {shape.part for shape in truth.shapes}
        seen.add(truth.action)
    assert len(seen) >= 4


def test_truth_and_picture_are_mirrored_together(paper: Paper):
    plain, turned = opened(), opened(mirror=True)
    for second in (0, 5, 11):
        plain.seek(second)
        turned.seek(second)
        truth, picture = truth_of(read(plain, paper)), paper.picture.copy()
        mirrored = truth_of(read(turned, paper))
        np.testing.assert_array_equal(paper.picture, picture[:, ::-1])
        for part in {shape.part for shape in truth.shapes}:
            here, flipped = drawn(mirrored) == NUMBERS[part], drawn(truth)[:, ::-1] == NUMBERS[part]
            if flipped.sum() > 200:
                assert (here & flipped).sum() / (here | flipped).sum() > 0.95, part
        assert ((drawn(mirrored) > 0) != (drawn(truth)[:, ::-1] > 0)).mean() < 0.003
        assert (mirrored.action, mirrored.acting) == (truth.action, truth.acting)


def test_a_mirrored_outline_lies_on_the_pixels_that_were_turned(paper: Paper):
    """Pixel 0 becomes the last one, to a sixteenth."""
    (plain, turned) = (truth_of(read(opened(mirror=mirror), paper)) for mirror in (False, True))
    for one, other in zip(plain.shapes, turned.shapes, strict=True):
        assert one.part == other.part
        x, y = one.outline().T
        np.testing.assert_array_equal(other.outline(), np.stack([16 * 319 - x, y], axis=1))


@pytest.mark.parametrize("mirror", [False, True])
def test_the_clock_in_the_picture_is_the_stamp(paper: Paper, time: Time, mirror: bool):
    time.ns += 123_456_789
    camera = opened(f"{HALL}&clock=1&fps=50", pace="realtime", mirror=mirror)
    for _ in range(5):
        stamp = read(camera, paper)
        assert read_clock(paper.picture) == stamp.t_capture // NS_PER_MS * NS_PER_MS
        assert stamp.t_capture <= time.ns
        time.ns += 17 * NS_PER_MS


@pytest.mark.parametrize("source", [HALL, f"{HALL}&clock=0"])
def test_no_clock_is_drawn_unless_it_is_asked_for(paper: Paper, source: str):
    read(opened(source), paper)
    assert read_clock(paper.picture) is None


def test_a_frame_is_due_a_period_after_the_one_before(paper: Paper, time: Time):
    camera = opened(f"{HALL}&fps=50", pace="realtime")
    assert camera.live
    stamps = [read(camera, paper).t_capture - START for _ in range(5)]
    assert stamps == [0, 20 * NS_PER_MS, 40 * NS_PER_MS, 60 * NS_PER_MS, 80 * NS_PER_MS]
    assert time.ns == START + stamps[-1]
    assert camera.skipped == 0


def test_frames_that_nobody_took_in_time_are_skipped_and_counted(paper: Paper, time: Time):
    camera = opened(f"{HALL}&fps=50", pace="realtime")
    steps, skipped = [], []
    for late_ms in (0, 5, 0, 490, 0):
        time.ns += late_ms * NS_PER_MS
        steps.append((read(camera, paper).t_capture - START) // NS_PER_MS)
        skipped.append(camera.skipped)
    assert steps == [0, 20, 40, 520, 540]
    assert skipped == [0, 0, 0, 23, 23]
    np.testing.assert_array_equal(paper.picture, there(27, fps=50)[1])


def test_the_pace_every_gives_every_frame_without_waiting(paper: Paper, time: Time, monkeypatch: pytest.MonkeyPatch):
    def never(due: int, stop: threading.Event) -> bool:
        raise AssertionError("it waited")

    monkeypatch.setattr(scene_module, "wait_until", never)
    camera = opened(f"{HALL}&fps=2", pace="every")
    assert not camera.live
    stamps = []
    for index in range(6):
        stamps.append(read(camera, paper).t_capture)
        np.testing.assert_array_equal(paper.picture, there(index, fps=2)[1])
        time.ns += 7 * NS_PER_S
    assert [b - a for a, b in itertools.pairwise(stamps)] == [NS_PER_S // 2] * 5
    assert camera.skipped == 0


def test_stop_ends_the_wait(paper: Paper):
    stop = threading.Event()
    camera = SceneCamera(Camera(source=f"{HALL}&fps=1"), stop)
    camera.open()
    assert camera.read(paper) is not None
    stop.set()
    assert camera.read(paper) is None


def test_opened_again_it_begins_anew(paper: Paper):
    camera = opened()
    read(camera, paper)
    read(camera, paper)
    camera.close()
    camera.close()
    with pytest.raises(SourceLost):
        camera.read(paper)
    camera.open()
    read(camera, paper)
    np.testing.assert_array_equal(paper.picture, there(0)[1])


def test_it_goes_on_where_it_was_sent(paper: Paper):
    camera = opened()
    camera.seek(12.5)
    first, second = read(camera, paper), read(camera, paper)
    np.testing.assert_array_equal(paper.picture, there(376)[1])
    assert second.t_capture - first.t_capture == pytest.approx(NS_PER_S / 30, abs=2)


def test_after_a_month_the_hall_still_moves_frame_by_frame_and_as_quickly(paper: Paper):
    """Nothing is kept of what was: a frame costs in a month what it costs now."""
    camera = opened()
    camera.seek(30 * 24 * 3600)
    began = process_time()
    pictures = []
    for _ in range(10):
        read(camera, paper)
        pictures.append(paper.picture.copy())
    assert process_time() - began < 5
    assert all((one != other).any() for one, other in itertools.pairwise(pictures))


def test_a_truth_says_how_long_it_has_lasted(paper: Paper):
    camera = opened("scene:hall?seed=7&size=160x90&fps=10")
    truths = [truth_of(read(camera, paper)) for _ in range(120)]
    for before, after in itertools.pairwise(truths):
        lasts = before.lasted_ns + NS_PER_S // 10
        # It changes between two frames.
        assert after.lasted_ns == pytest.approx(lasts if before.action == after.action else 0, abs=NS_PER_S // 10)
    assert len({truth.action for truth in truths}) == 3


def test_size_and_rate_of_the_camera_hold_where_the_source_is_silent(paper: Paper):
    camera = opened("scene:hall?seed=7", width=320, height=180, fps=10)
    first, second = read(camera, paper), read(camera, paper)
    assert paper.picture.shape == (180, 320, 3)
    assert second.t_capture - first.t_capture == camera.period == NS_PER_S // 10
    np.testing.assert_array_equal(paper.picture, there(1, fps=10)[1])


def test_the_source_goes_before_the_cameras_settings(paper: Paper):
    camera = opened("scene:hall?size=160x90&fps=20", width=320, height=180, fps=10)
    first, second = read(camera, paper), read(camera, paper)
    assert paper.picture.shape == (90, 160, 3)
    assert second.t_capture - first.t_capture == camera.period == NS_PER_S // 20


def test_without_any_settings_it_is_720p_at_30(paper: Paper):
    camera = opened("scene:hall")
    read(camera, paper)
    assert paper.picture.shape == (720, 1280, 3)
    assert camera.period == NS_PER_S // 30


def test_the_seed_decides(paper: Paper):
    pictures = []
    for source in ("scene:hall?size=160x90&seed=1", "scene:hall?size=160x90", "scene:hall?size=160x90&seed=2"):
        read(opened(source), paper)
        pictures.append(paper.picture.copy())
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any(axis=2).mean() > 0.5


@pytest.mark.parametrize("size", ["64x36", "4000x40", "90x1600"])
def test_odd_sizes_can_be_drawn(paper: Paper, size: str):
    camera = opened(f"scene:hall?size={size}&clock=1")
    for second in (0, 4, 9):
        camera.seek(second)
        assert truth_of(read(camera, paper)).shapes


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("scene:hall?sise=320x180", "unknown option of scene:hall 'sise': did you mean 'size'"),
        ("scene:hall?seeds=7", "unknown option of scene:hall 'seeds': did you mean 'seed'"),
        ("scene:hall?person=7", "unknown option of scene:hall 'person' (known: clock, fps, seed, size)"),
        ("scene:hall?size=big", "size is 'big'; expected WIDTHxHEIGHT"),
        ("scene:hall?size=0x0", "size is '0x0'"),
        ("scene:hall?size=320x99999", "size is '320x99999'"),
        ("scene:hall?fps=0", "fps is '0'; expected a number from 1 to 240"),
        ("scene:hall?fps=fast", "fps is 'fast'"),
        ("scene:hall?fps=nan", "fps is 'nan'"),
        ("scene:hall?seed=-1", "seed is '-1'"),
        ("scene:hall?seed=", "seed is ''"),
        ("scene:hall?seed=7.5", "seed is '7.5'"),
        ("scene:hall?seed=4294967296", "seed is '4294967296'"),
        ("scene:hall?clock=2", "clock is '2'; expected a whole number from 0 to 1"),
        ("scene:hall?clock=yes", "clock is 'yes'"),
        ("scene:gym", "there is one scene, the hall: scene:hall?seed=7"),
        ("scene:gym?seed=7", "there is one scene, the hall"),
        ("scene:", "there is one scene, the hall"),
        ("scene:hall/7", "there is one scene, the hall"),
    ],
)
def test_wrong_options_are_named(source: str, text: str):
    with pytest.raises(UserError, match=re.escape(text)) as raised:
        SceneCamera(Camera(source=source))
    assert "\n" not in str(raised.value)
