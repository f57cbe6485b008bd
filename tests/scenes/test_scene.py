"""The drawn hall: the same from the same cast, its truth exact, and what is held out never shown in training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rtx.scenes import hall as hall_module
from rtx.scenes.actions import ACTIONS, LABELS, Act
from rtx.scenes.body import PARTS
from rtx.scenes.film import film
from rtx.scenes.hall import HORIZON, hall
from rtx.scenes.motion import OneAct
from rtx.scenes.person import NUMBERS, PART_NAMES, Stroke, foot
from rtx.scenes.scene import EXTRAS, SHAKE, Cast, Extra, Moment, Scene, label_picture

Pixels = NDArray[np.uint8]

ROOT = Path(__file__).resolve().parents[2]
DISTRACTOR = NUMBERS["distractor"]
LIMBS = [part for part in PARTS if part not in ("head", "trunk", "bat")]
SMALL, LARGE = (112, 112), (720, 1280)


def times(count: int = 5, step: float = 0.31, begin: float = 0.2) -> NDArray[np.float64]:
    return begin + np.arange(count) * step


def drawn(scene: Scene, moment: Moment, **without: Any) -> Pixels:
    """The picture of a moment, less what is replaced."""
    picture = np.empty((scene.height, scene.width, 3), np.uint8)
    scene.paint(picture, replace(moment, **without))
    return picture


def labelled(scene: Scene, moment: Moment) -> Pixels:
    labels = np.full((scene.height, scene.width), 99, np.uint8)
    label_picture(moment.strokes, labels)
    return labels


def wider(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    square = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), square), np.uint8) > 0


def a_scene(
    seed: int, size: tuple[int, int] = SMALL, action: str | None = None, extra: Extra | None = None, **about: Any
) -> Scene:
    return Scene(replace(Cast.draw(seed, action=action, extra=extra), **about), *size)


def equal(one: Moment, other: Moment) -> bool:
    """Is the same drawn in the same way?"""
    return (
        len(one.strokes) == len(other.strokes)
        and all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one.strokes, other.strokes, strict=True))
        and len(one.shadow) == len(other.shadow)
        and all(np.array_equal(a, b) for a, b in zip(one.shadow, other.shadow, strict=True))
        and (one.shift, one.gain, one.noise_at) == (other.shift, other.gain, other.noise_at)
    )


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_same_cast_is_drawn_the_same_bit_for_bit(extra: Extra):
    one, again = (a_scene(4, (180, 320), extra=extra) for _ in range(2))
    for a, b in zip(one.moments(times()), again.moments(times()), strict=True):
        assert equal(a, b)
        np.testing.assert_array_equal(drawn(one, a), drawn(again, b))


def test_another_seed_is_another_scene():
    pictures = [drawn(scene, scene.moments(times(1))[0]) for scene in (a_scene(seed) for seed in range(20))]
    assert len({picture.tobytes() for picture in pictures}) == 20


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 9])
def test_frame_by_frame_is_drawn_as_a_stretch_at_once(seed: int):
    cast = Cast.live(seed) if seed < 3 else Cast.draw(seed, extra="person" if seed == 3 else "bag")
    t = times(37, 1 / 30, 9.1)
    whole = Scene(cast, *LARGE).moments(t)
    alone = Scene(cast, *LARGE)
    assert all(equal(alone.moments(t[i : i + 1])[0], whole[i]) for i in range(len(t)))


def test_the_order_of_times_does_not_matter():
    t = times(12, 0.77)
    forward, backward = Scene(Cast.live(5), *SMALL), Scene(Cast.live(5), *SMALL)
    there = [drawn(forward, moment) for moment in forward.moments(t)]
    back = [drawn(backward, backward.moments(t[i : i + 1])[0]) for i in reversed(range(len(t)))]
    np.testing.assert_array_equal(np.array(there), np.array(back[::-1]))


def test_drawing_leaves_no_trace_in_the_hall():
    scene = a_scene(3)
    first, second = scene.moments(times(2, 1.0))
    before = drawn(scene, first)
    drawn(scene, second)
    np.testing.assert_array_equal(drawn(scene, first), before)


_CHECKSUM = """
import hashlib
import numpy as np
from rtx.scenes.scene import Cast, Scene
seen = hashlib.sha256()
for cast in (Cast.live(7), Cast.draw(1, extra="person"), Cast.draw(2, held_out=True, extra="ball")):
    for moment in Scene(cast, 360, 640).moments(np.arange(0, 20, 0.9)):
        for stroke in moment.strokes:
            seen.update(stroke[0].tobytes() + repr(stroke[1:]).encode())
        seen.update(repr((moment.act.action, moment.act.acting, moment.shift, moment.noise_at)).encode())
print(seen.hexdigest())
"""


def test_another_process_draws_the_same():
    told = [
        subprocess.run(
            [sys.executable, "-c", _CHECKSUM], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True,
            text=True, check=True, timeout=60,
        ).stdout
        for seed in ("1", "4711")
    ]  # fmt: skip
    assert told[0] == told[1]


BEGINS = [
    (1213, 566), (1120, 816), (1093, 817), (990, 809), (987, 811), (1123, 911), (1008, 1400), (1004, 1401), (989,
    1391), (984, 1388), (1105, 904), (1021, 1209), (1013, 1207), (975, 1021), (962, 1018), (959, 691), (967, 698),
    (955, 693), (884, 745), (888, 742), (898, 1228), (890, 1224), (1046, 870), (1041, 870), (836, 1413), (831,
    1409), (856, 1416), (852, 1417), (1429, 1061), (1408, 1051), (1368, 1039),
]  # fmt: skip
"""In 1/16 pixel."""


def test_another_machine_draws_the_same_to_a_sixteenth_of_a_pixel():
    """Where each stroke of a frame begins, as it was when the model was trained."""
    (moment,) = Scene(Cast.draw(1, extra="ball"), *SMALL).moments(times(1))
    begins = np.array([outline[0] for outline, _, _ in moment.strokes])
    np.testing.assert_allclose(begins, BEGINS, rtol=0, atol=1)
    assert (moment.act.action, moment.shift) == ("swing a bat", (0, 0))


@pytest.mark.parametrize("action", LABELS)
@pytest.mark.parametrize("extra", ["none", "ball", "person"])
def test_what_is_drawn_and_what_is_labelled_are_the_same_pixels(action: str, extra: Extra):
    """Smooth edges spread over two pixels: the outermost is touched lightly."""
    for seed in range(5):
        scene = a_scene(seed, action=action, extra=extra)
        for moment in scene.moments(times(3)):
            with_all, empty = drawn(scene, moment), drawn(scene, moment, strokes=[])
            change = np.abs(with_all.astype(int) - empty).max(axis=2)
            mask = labelled(scene, moment) > 0
            assert not (change[~wider(mask, 2)] > 0).any()
            assert not (change[~wider(mask, 1)] > 24).any()
            assert (change[mask] > 0).mean() >= 0.9


@pytest.mark.parametrize(("action", "seed"), [("kick", 5), ("bend", 7), ("wave both hands", 5)])
def test_a_large_picture_is_labelled_as_exactly(action: str, seed: int):
    scene = a_scene(seed, LARGE, action=action, extra="none")
    for moment in scene.moments(times(3, 0.55, 0.3)):
        with_all, empty = drawn(scene, moment), drawn(scene, moment, strokes=[])
        change = np.abs(with_all.astype(int) - empty).max(axis=2)
        mask = labelled(scene, moment) > 0
        assert (change[mask] > 0).mean() >= 0.9
        assert not (change[~wider(mask, 2)] > 0).any()


def test_a_bags_rope_is_labelled_as_the_bag_is():
    scene = a_scene(2, (360, 640), extra="bag")
    for moment in scene.moments(times(3)):
        change = (drawn(scene, moment) != drawn(scene, moment, strokes=[])).any(axis=2)
        assert not change[~wider(labelled(scene, moment) > 0, 2)].any()


def test_without_its_figure_the_hall_and_its_other_things_stay():
    scene = a_scene(6, extra="ball")
    for moment in scene.moments(times(4)):
        kept = strokes_of(moment, {"distractor"})
        assert 0 < len(kept) < len(moment.strokes)
        change = (drawn(scene, moment) != drawn(scene, moment, strokes=kept)).any(axis=2)
        labels = labelled(scene, moment)
        assert not change[~wider((labels > 0) & (labels != DISTRACTOR), 2)].any()
        assert change.any()


def strokes_of(moment: Moment, parts: set[str]) -> list[Stroke]:
    """The strokes of these parts, with the light upon them."""
    found, part = [], ""
    for stroke in moment.strokes:
        part = PART_NAMES[stroke[2]] if stroke[2] else part
        if part in parts:
            found.append(stroke)
    return found


@pytest.mark.parametrize("action", LABELS)
def test_every_part_of_the_figure_is_in_the_truth(action: str):
    scene = a_scene(2, (224, 224), action=action, extra="none")
    ever = np.zeros(len(PARTS) + 2, int)
    for moment in scene.moments(times(8)):
        numbers = {number for _, _, number in moment.strokes} - {0}
        expected = set(PARTS) if action == "swing a bat" else set(PARTS) - {"bat"}
        assert {PART_NAMES[number] for number in numbers} == expected
        assert set(moment.act.acting) <= expected
        ever += np.bincount(labelled(scene, moment).ravel(), minlength=len(ever))
    for part in ("head", "trunk", *LIMBS):
        assert ever[NUMBERS[part]] > 200, part
    assert (ever[NUMBERS["bat"]] > 200) == (action == "swing a bat")
    assert ever[DISTRACTOR] == 0


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "none"])
def test_what_moves_beside_the_figure_is_labelled_as_such(extra: Extra):
    for seed in range(6):
        scene = a_scene(seed, (180, 320), extra=extra)
        shown = [int((labelled(scene, moment) == DISTRACTOR).sum()) for moment in scene.moments(times(12, 0.4))]
        assert max(shown) > 60


def test_every_extra_occurs():
    assert {Cast.draw(seed).extra for seed in range(60)} == set(EXTRAS)
    assert {Cast.live(seed).extra for seed in range(9)} == set(EXTRAS) - {"none"}, "the live hall is never empty"


@pytest.mark.parametrize("extra", EXTRAS)
def test_outlines_are_whole_sixteenths_of_a_pixel_and_few_points(extra: Extra):
    scene = a_scene(1, LARGE, extra=extra)
    for moment in scene.moments(times()):
        for outline, _, _ in moment.strokes:
            assert outline.dtype == np.int32
            assert outline.shape[1:] == (2,)
            assert 3 <= len(outline) <= 64
        assert all(outline.dtype == np.int32 for outline in moment.shadow)


def dent(outline: NDArray[np.int32]) -> float:
    """How deep the deepest corner that points inward is, in pixels; no more than rounding where it is convex."""
    before, here, after = (np.roll(outline, by, axis=0).astype(np.int64) for by in (1, 0, -1))
    chord, side = after - before, here - before
    area = (before[:, 0] * here[:, 1] - before[:, 1] * here[:, 0]).sum()
    inward = -np.sign(area) * (side[:, 0] * chord[:, 1] - side[:, 1] * chord[:, 0])
    return float((inward / np.maximum(np.hypot(*chord.T), 1)).max()) / 16


def test_a_dent_is_measured_in_pixels():
    square = np.array([(0, 0), (160, 0), (160, 160), (80, 128), (0, 160)], np.int32)
    assert dent(square) == dent(square[::-1]) == pytest.approx(2)
    assert dent(square[[0, 1, 2, 4]]) <= 0


@pytest.mark.parametrize("extra", ["ball", "bag"])
def test_things_are_convex(extra: Extra):
    scene = a_scene(1, LARGE, extra=extra)
    for moment in scene.moments(times()):
        assert max(dent(outline) for outline, _, _ in strokes_of(moment, {"distractor"})) <= 0.1


@pytest.mark.parametrize("action", LABELS)
def test_every_outline_of_a_figure_is_convex(action: str):
    for seed in range(8):
        scene = a_scene(seed, LARGE, action=action, extra="none")
        for moment in scene.moments(times(6)):
            assert max(dent(outline) for outline, _, _ in moment.strokes) <= 0.1


@pytest.mark.parametrize("action", LABELS)
def test_a_cast_does_what_it_is_asked_for_and_says_so(action: str):
    cast = Cast.draw(8, action=action)
    acts = film(cast, 6, 15, *SMALL).acts
    assert [act.action for act in acts] == [action] * 6
    assert set(acts[0].acting) <= set(PARTS)


def test_casts_do_everything():
    doing = [Scene(Cast.draw(seed), 36, 64).moments(times(1))[0].act.action for seed in range(100)]
    assert set(doing) == set(LABELS)


def test_labels_of_the_live_hall_are_what_the_figure_does_then():
    cast = Cast.live(3)
    t = times(40, 1.3)
    acts = cast.performance.at(t).acts
    moments = Scene(cast, *SMALL).moments(t)
    assert [moment.act for moment in moments] == list(acts)
    assert len({act.action for act in acts}) >= 9


def test_a_film_is_its_scene_drawn_at_its_rate():
    cast = Cast.draw(12, extra="bag")
    shot = film(cast, 7, 15, 90, 160, begin_s=2.0)
    scene = Scene(cast, 90, 160)
    for i, moment in enumerate(scene.moments(2.0 + np.arange(7) / 15)):
        np.testing.assert_array_equal(shot.frames[i], drawn(scene, moment))
        np.testing.assert_array_equal(shot.labels[i], labelled(scene, moment))


def test_a_picture_of_another_size_shows_the_same():
    cast = Cast.draw(3, extra="none")
    small, large = Scene(cast, 112, 112), Scene(cast, 448, 448)
    for one, other in zip(small.moments(times()), large.moments(times()), strict=True):
        apart = 4 * np.array(one.shift) - np.array(other.shift)
        assert np.abs(apart).max() <= 3, "the camera shakes alike, in whole pixels"
        there = np.roll(labelled(large, other) > 0, apart[::-1], axis=(0, 1)).astype(np.float32)
        a, b = labelled(small, one) > 0, cv2.resize(there, (112, 112), interpolation=cv2.INTER_AREA) > 0.5
        assert not (a & ~wider(b, 1)).any()
        assert not (b & ~wider(a, 1)).any()


@pytest.mark.parametrize("size", [(36, 64), (40, 1000), (720, 64), (113, 111)], ids=str)
def test_odd_sizes_can_be_drawn(size: tuple[int, int]):
    for extra in EXTRAS:
        scene = a_scene(2, size, extra=extra)
        for moment in scene.moments(times(3)):
            assert drawn(scene, moment).std() > 5
            assert labelled(scene, moment).shape == size


class Casts(NamedTuple):
    training: list[Cast]
    held_out: list[Cast]
    live: list[Cast]


@pytest.fixture(scope="module")
def casts() -> Casts:
    training, held_out = ([Cast.draw(seed, kept) for seed in range(400)] for kept in (False, True))
    return Casts(training, held_out, [Cast.live(seed) for seed in range(200)])


def body_of(cast: Cast) -> bytes:
    return cast.body.build.tobytes()


def speed_of(cast: Cast) -> float:
    assert isinstance(cast.performance, OneAct)
    act: Act = cast.performance.act
    return ACTIONS[act.action].period_s / act.period_s


def square_of(cast: Cast) -> tuple[int, int]:
    """The square of an 8 x 4 board, place by size."""
    return int((cast.x + 0.15) / 0.30 * 8), int((cast.size - 0.44) / 0.22 * 4)


@pytest.mark.parametrize("which", ["held_out", "live"])
@pytest.mark.parametrize("about", [body_of, lambda cast: cast.hall, square_of], ids=["body", "hall", "place"])
def test_held_out_bodies_halls_and_places_never_occur_in_training(
    casts: Casts, about: Callable[[Cast], object], which: str
):
    seen, kept = {about(cast) for cast in casts.training}, {about(cast) for cast in getattr(casts, which)}
    assert not seen & kept
    assert min(len(seen), len(kept)) >= 8


def test_places_fill_the_whole_floor(casts: Casts):
    held_out = {square_of(cast) for cast in casts.held_out}
    assert len({square_of(cast) for cast in casts.training}) == 24
    assert len(held_out) == 8
    assert {x for x, _ in held_out} == set(range(8)), "in every column"
    assert {size for _, size in held_out} == set(range(4)), "and in every row"


def test_held_out_speeds_never_occur_in_training(casts: Casts):
    """They lie in two bands; between and around these lie those of training."""
    held_out, training = (np.sort([speed_of(cast) for cast in of]) for of in (casts.held_out, casts.training))
    gap = np.diff(held_out).argmax()
    for band in (held_out[: gap + 1], held_out[gap + 1 :]):
        assert len(band) > 100
        assert not ((training >= band[0]) & (training <= band[-1])).any()
        assert (training < band[0]).any()
        assert (training > band[-1]).any()
    assert training.min() < 0.7
    assert training.max() > 1.4


def test_no_bystander_of_a_training_scene_has_a_held_out_body():
    held_out = {body_of(cast) for cast in (Cast.draw(seed, held_out=True) for seed in range(1500))}
    for seed in range(60):
        bystander = Scene(Cast.draw(seed, extra="person"), 36, 64)._bystander
        assert bystander is not None
        assert bystander.body.build.tobytes() not in held_out


def test_a_larger_figure_stands_nearer_and_its_feet_are_where_the_floor_is():
    for seed in range(20):
        scene = a_scene(seed, (448, 448), action="stand", extra="none")
        (moment,) = scene.moments(times(1))
        rows = np.nonzero(labelled(scene, moment).any(axis=1))[0] - moment.shift[1]
        assert rows.max() / 448 == pytest.approx(foot(scene.cast.size), abs=0.025)
        assert np.ptp(rows) / 448 == pytest.approx(scene.cast.size, rel=0.35)
        assert rows.max() > HORIZON * 448
    assert foot(0.66) > foot(0.44)


def test_the_figure_is_about_where_its_cast_says():
    for seed in range(20):
        scene = a_scene(seed, (224, 224), action="stand", extra="none")
        (moment,) = scene.moments(times(1))
        ys, xs = np.nonzero(labelled(scene, moment))
        x, y = scene.cast.centre
        assert xs.mean() / 224 == pytest.approx(x, abs=0.05)
        assert ys.mean() / 224 == pytest.approx(y, abs=0.08)


@pytest.mark.parametrize("light", [-1.0, 0.0, 1.0])
def test_a_shadow_darkens_the_floor_under_the_figure_away_from_the_light(light: float):
    scene = a_scene(4, (360, 640), action="stand", extra="none", light=light)
    for moment in scene.moments(times(3)):
        lit, shaded = drawn(scene, moment, strokes=[], shadow=[]), drawn(scene, moment, strokes=[])
        darker = lit.astype(int).sum(axis=2) - shaded.astype(int).sum(axis=2)
        assert darker.min() >= 0, "nothing becomes lighter"
        ys, xs = np.nonzero(darker > 60)
        assert len(ys) > 300
        assert ys.min() >= round(HORIZON * 360), "the wall stays as it is"
        feet = foot(scene.cast.size) * 360
        assert feet - 0.25 * 360 < ys.min() < ys.max() < feet + 0.06 * 360
        aside = (xs.mean() - 320) / 360 - scene.cast.x
        assert (aside < -0.03) if light > 0 else (aside > 0.03) if light < 0 else abs(aside) < 0.03
        near = (abs(xs - 320 - 360 * scene.cast.x) < 30) & (abs(ys - feet) < 15)
        assert near.any(), "it begins at the feet"


def test_who_jumps_leaves_the_shadow_on_the_floor():
    scene = a_scene(4, (360, 640), action="jump", extra="none")
    moments = scene.moments(times(40, 0.05))
    soles = [max(outline[:, 1].max() for outline, _, _ in moment.strokes) for moment in moments]
    high = moments[int(np.argmin(soles))]
    shade = (drawn(scene, high, strokes=[], shadow=[]) != drawn(scene, high, strokes=[])).any(axis=2)
    assert np.nonzero(shade)[0].max() > min(soles) / 16


def test_light_changes_slowly():
    for seed in range(4):
        gains = np.array([moment.gain for moment in a_scene(seed).moments(times(300, 1 / 30))])
        assert 0.05 < np.ptp(gains) / gains.mean() < 0.15
        assert np.abs(np.diff(gains)).max() < 0.004
    scene = a_scene(1)
    moment = scene.moments(times(1))[0]
    assert drawn(scene, moment, gain=1.1).mean() > drawn(scene, moment, gain=0.9).mean() + 5


def test_the_camera_shakes_a_little_and_never_beyond_the_hall():
    scene = a_scene(1, LARGE)
    shifts = np.array([moment.shift for moment in scene.moments(times(400, 0.1))])
    assert 0 < np.abs(shifts).max() <= np.ceil(1.5 * SHAKE * 720)
    assert np.abs(np.diff(np.array([m.shift for m in scene.moments(times(90, 1 / 30))]), axis=0)).max() <= 3


def test_a_shaking_camera_moves_the_hall_in_the_picture():
    scene = a_scene(1, (180, 320))
    moment = scene.moments(times(1))[0]

    def seen(shift: tuple[int, int]) -> NDArray[np.float64]:
        """Without noise, which stays where it is: the mean of many frames."""
        empty = [
            drawn(scene, moment, strokes=[], shadow=[], shift=shift, noise_at=(i, 31 - i)).astype(int)
            for i in range(32)
        ]
        return np.mean(empty, axis=0)

    there, moved = seen((0, 0)), seen((2, 1))
    assert np.abs(moved[1:, 2:] - there[:-1, :-2]).mean() < 0.5 * np.abs(moved - there).mean()


def test_each_frame_has_noise_of_its_own():
    scene = a_scene(1, action="stand")
    first, second = scene.moments(times(2, 1 / 30))
    one, other = (drawn(scene, m, strokes=[], shadow=[], shift=(0, 0), gain=1.0).astype(int) for m in (first, second))
    assert 0.5 < np.abs(one - other).mean() < 12


@pytest.mark.parametrize("number", [0, 3, 200])
def test_a_hall_is_the_same_each_time_and_no_two_are_alike(number: int):
    built = hall(number, 90, 160, 2)
    np.testing.assert_array_equal(hall_module._drawn(number, 90, 160, 2), built)
    with pytest.raises(ValueError, match="read-only"):
        built[:] = 0
    assert np.abs(hall(number + 1, 90, 160, 2).astype(int) - built).mean() > 3
    assert built.shape == (94, 164, 3)
    assert built.std() > 15
