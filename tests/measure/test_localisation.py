"""Hit rates: the truth rasterised as it lies under the map, widened by so much, and what counts as a hit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rtx.capture.scene import truth_of
from rtx.geometry import Rect, input_rect
from rtx.link.wire import Shape, Truth
from rtx.measure.localisation import (
    ACTING,
    BODY,
    DISTRACTOR,
    RUNNING,
    Hit,
    Hits,
    judge,
    rates,
    regions,
    widened,
)
from rtx.scenes.scene import Cast, Scene, label_picture

WHOLE = Rect(0, 0, 112, 112)
SIDE = 112
REACH = 4


def box(part: str, x0: int, y0: int, x1: int, y1: int) -> Shape:
    """From the centre of one pixel to that of another: a mask of both and all between."""
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.int32) * 16
    return Shape(part, corners.tobytes())


# A trunk 20..39 x 30..79 and an arm that acts, 60..79 x 40..49; a ball before the trunk.
PUNCH = Truth(
    "punch", ("right_lower_arm",), (box("trunk", 20, 30, 39, 79), box("right_lower_arm", 60, 40, 79, 49)),
)  # fmt: skip
STAND = Truth("stand", (), PUNCH.shapes)
WITH_BALL = Truth("punch", PUNCH.acting, (*PUNCH.shapes, box("distractor", 30, 60, 50, 80)))


def heat_at(x: int, y: int, side: int = SIDE) -> NDArray[np.float32]:
    relevance = np.full((side, side), 0.25, np.float32)
    relevance[y, x] = 1
    return relevance


def hit_at(x: int, y: int, truth: Truth = PUNCH, rect: Rect = WHOLE) -> tuple[bool, bool | None]:
    hit = judge(heat_at(x, y), truth, rect)
    return hit.body, hit.acting


def slowly(truth: Truth, side: int, rect: Rect) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whose the centre of each pixel is, and how many pixels the nearest outline is away."""
    # In pixels of the frame, whose own centres lie at halves: pixel 0 goes from 0 to 1.
    steps = (np.arange(side) + 0.5) / side
    xs, ys = np.meshgrid(rect.x + rect.width * steps, rect.y + rect.height * steps)
    kinds = np.zeros((side, side), int)
    nearest = np.full((side, side), np.inf)
    for shape in truth.shapes:
        corners = shape.outline() / 16 + 0.5
        crossings = np.zeros((side, side), int)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y0 != y1:
                share = (ys - y0) / (y1 - y0)
                crossings += ((y0 <= ys) != (y1 <= ys)) & (xs < x0 + share * (x1 - x0))
            length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
            along = (((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / length).clip(0, 1)
            away = np.hypot(xs - x0 - along * (x1 - x0), ys - y0 - along * (y1 - y0))
            nearest = np.minimum(nearest, away * side / rect.width)
        kind = DISTRACTOR if shape.part == "distractor" else ACTING if shape.part in truth.acting else BODY
        kinds[crossings % 2 == 1] = kind
    return kinds, nearest


@pytest.fixture(scope="module", params=[("punch", "ball"), ("jumping jack", "person"), ("stand", "bag")], ids=str)
def shown(request: pytest.FixtureRequest) -> Truth:
    """A drawn frame of 640 x 360."""
    action, extra = request.param
    (moment,) = Scene(Cast.draw(3, action=action, extra=extra), 360, 640).moments(np.array([0.8]))
    return truth_of(moment, 0.8)


RECTS = {
    "the middle square": Rect(140, 0, 360, 360),
    "a part, enlarged": Rect(250, 60, 150, 150),
    "off the grid": Rect(200.3, 41.7, 211.4, 211.4),
    "all, padded": Rect(0, -140, 640, 640),
}


@pytest.mark.parametrize("where", RECTS)
def test_regions_are_the_outlines_whose_pixel_centres_they_hold(shown: Truth, where: str):
    labels = regions(shown, SIDE, SIDE, RECTS[where])
    expected, away = slowly(shown, SIDE, RECTS[where])
    assert labels.dtype == np.uint8
    assert (labels[away > 1] == expected[away > 1]).all()
    kinds = {BODY, DISTRACTOR} | ({ACTING} if shown.acting else set())
    if where == "all, padded":
        assert set(np.unique(expected)) == kinds | {0}
    for kind in set(np.unique(expected[away > 1])) - {0}:
        assert (labels == kind).any()


@pytest.mark.parametrize("where", RECTS)
@pytest.mark.parametrize(("x", "y"), [(320.0, 120.0), (301.25, 133.8125)])
def test_a_disc_lies_about_its_centre(where: str, x: float, y: float):
    """To a sixth of a pixel of the map: half a pixel aside would not show at the edges."""
    rect = RECTS[where]
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    disc = np.round(16 * (np.array([x, y]) + 40 * np.stack([np.cos(turn), np.sin(turn)], axis=1))).astype(np.int32)
    ys, xs = np.nonzero(regions(Truth("x", (), (Shape("head", disc.tobytes()),)), SIDE, SIDE, rect))
    assert xs.mean() == pytest.approx((x + 0.5 - rect.x) * SIDE / rect.width - 0.5, abs=0.15)
    assert ys.mean() == pytest.approx((y + 0.5 - rect.y) * SIDE / rect.height - 0.5, abs=0.15)
    assert len(xs) == pytest.approx(np.pi * (40 * SIDE / rect.width + 0.4) ** 2, rel=0.1)


def test_at_the_frames_own_size_regions_are_what_was_drawn():
    scene = Scene(Cast.draw(3, action="punch", extra="ball"), SIDE, SIDE)
    (moment,) = scene.moments(np.array([0.8]))
    labels = np.empty((SIDE, SIDE), np.uint8)
    label_picture(moment.strokes, labels)
    np.testing.assert_array_equal(regions(truth_of(moment, 0.8), SIDE, SIDE, WHOLE) > 0, labels > 0)


def test_what_lies_in_front_hides_what_lies_behind():
    labels = regions(WITH_BALL, SIDE, SIDE, WHOLE)
    assert labels[45, 25] == BODY
    assert labels[45, 70] == ACTING
    assert labels[70, 35] == labels[70, 50] == DISTRACTOR
    assert labels[5, 5] == 0
    behind = Truth("punch", (), (WITH_BALL.shapes[2], *PUNCH.shapes))
    assert regions(behind, SIDE, SIDE, WHOLE)[70, 35] == BODY


def test_nothing_shown_is_nothing_anywhere():
    assert not regions(Truth("stand", (), ()), SIDE, SIDE, WHOLE).any()
    assert judge(heat_at(50, 50), Truth("stand", (), ()), WHOLE) == Hit(False, None, 0, 0)


@pytest.mark.parametrize(("side", "reach"), [(56, 2), (112, 4), (224, 8)])
def test_widened_is_what_lies_within_4_of_112_pixels(side: int, reach: int):
    dice = np.random.default_rng(side)
    for _ in range(4):
        mask = np.zeros((side, side), np.uint8)
        for x, y in dice.integers(-5, side + 5, (3, 2)):
            cv2.circle(mask, (int(x), int(y)), int(dice.integers(0, side // 6)), 1, -1)
        mask[dice.integers(side), dice.integers(side)] = 1
        away = distance_transform_edt(mask == 0)
        wide = widened(mask > 0)
        assert wide[away <= reach].all()
        assert not wide[away > reach + 0.5].any()
        assert wide.any()
        assert not wide.all()


def test_nothing_widened_is_nothing():
    assert not widened(np.zeros((SIDE, SIDE), bool)).any()


def test_a_maximum_inside_a_limb_that_acts_hits_it_and_the_body():
    assert hit_at(70, 45) == (True, True)


def test_a_maximum_inside_another_part_hits_the_body_only():
    assert hit_at(25, 70) == (True, False)


def test_a_maximum_outside_hits_nothing():
    assert hit_at(100, 100) == (False, False)
    assert hit_at(0, 0) == (False, False)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_the_rim_still_hits_and_the_next_pixel_does_not(dx: int, dy: int):
    x, y = {1: 79, -1: 60, 0: 70}[dx], {1: 49, -1: 40, 0: 45}[dy]
    assert hit_at(x + REACH * dx, y + REACH * dy) == (True, True)
    assert hit_at(x + (REACH + 1) * dx, y + (REACH + 1) * dy) == (False, False)


def test_a_limb_is_widened_into_the_body_behind_it():
    close = Truth("punch", ("head",), (box("trunk", 20, 30, 39, 79), box("head", 20, 10, 39, 29)))
    assert hit_at(30, 33, close) == (True, True)
    assert hit_at(30, 34, close) == (True, False)


def test_what_stands_by_is_no_hit_even_before_the_body():
    assert hit_at(45, 70, WITH_BALL) == (False, False)
    assert hit_at(35, 70, WITH_BALL)[0] is False
    assert hit_at(35, 70, PUNCH)[0] is True


def test_a_maximum_counts_however_low_the_map_is():
    for relevance in (1e-6 * heat_at(70, 45), -3 + heat_at(70, 45)):
        assert judge(relevance, PUNCH, WHOLE)[:2] == (True, True)


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_a_flat_map_hits_nothing(value: float):
    everywhere = Truth("punch", ("trunk",), (box("trunk", -5, -5, 120, 120),))
    flat = np.full((SIDE, SIDE), value, np.float32)
    hit = judge(flat, everywhere, WHOLE)
    assert hit[:2] == (False, False)
    assert hit.chance_body == hit.chance_acting == 1
    assert judge(heat_at(0, 0), everywhere, WHOLE)[:2] == (True, True)


def test_who_stands_has_a_body_and_nothing_that_acts():
    assert hit_at(70, 45, STAND) == (True, None)
    assert hit_at(100, 100, STAND) == (False, None)
    hit = judge(heat_at(70, 45), STAND, WHOLE)
    assert hit.chance_acting == 0
    assert hit.chance_body == judge(heat_at(70, 45), PUNCH, WHOLE).chance_body


def test_chance_is_the_widened_masks_share_of_the_picture():
    arm, trunk = np.ones((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)
    arm[40:50, 60:80] = trunk[30:80, 20:40] = False
    hit = judge(heat_at(0, 0), PUNCH, WHOLE)
    for mask, chance in ((arm, hit.chance_acting), (arm & trunk, hit.chance_body)):
        away = distance_transform_edt(mask)
        assert (away <= REACH).mean() <= chance <= (away <= REACH + 0.5).mean()


def test_chance_is_how_often_a_maximum_anywhere_would_hit():
    side = 28
    rect = Rect(0, 0, SIDE, SIDE)
    hits = [judge(heat_at(x, y, side), PUNCH, rect) for x in range(side) for y in range(side)]
    assert np.mean([hit.body for hit in hits]) == pytest.approx(hits[0].chance_body)
    assert np.mean([bool(hit.acting) for hit in hits]) == pytest.approx(hits[0].chance_acting)
    assert len({hit[2:] for hit in hits}) == 1, "it does not depend on where the maximum lies"


def test_the_map_lies_over_its_rectangle_of_the_frame():
    """The arm at 60..79 x 40..49 of the frame, under a map of twice its scale that begins at 50, 30."""
    rect = Rect(50, 30, 56, 56)
    assert hit_at(40, 30, rect=rect) == (True, True)
    assert hit_at(70, 45, rect=rect) == (False, False)
    assert hit_at(21 - REACH + 1, 30, rect=rect) == (True, True)
    assert hit_at(21 - REACH - 2, 30, rect=rect) == (False, False)
    assert hit_at(58 + REACH - 1, 30, rect=rect) == (True, True)
    assert hit_at(58 + REACH + 2, 30, rect=rect) == (False, False)


def test_a_padded_map_hits_as_an_exact_one_does():
    rect = input_rect(56, 112, (0.0, 0.0, 1.0, 1.0), "pad")
    assert rect == Rect(0, -28, 112, 112)
    arm = Truth("punch", ("head",), (box("head", 60, 10, 79, 19),))
    assert hit_at(70, 28 + 15, arm, rect) == (True, True)
    assert hit_at(70, 15, arm, rect) == (False, False)


HIT, MISS = Hit(True, True, 0.2, 0.1), Hit(False, False, 0.4, 0.3)
STANDING = Hit(True, None, 0.3, 0.0)


def test_only_frames_with_the_right_class_count():
    hits = Hits()
    for right, hit in [(True, HIT), (False, HIT), (True, MISS), (False, MISS), (False, STANDING)]:
        hits.add(right, hit)
    assert (hits.judged, hits.right) == (5, 2)
    assert hits.totals == pytest.approx([2, 1, 0.6, 2, 1, 0.4])
    assert hits.running() == pytest.approx((0.5, 0.5, 0.3, 0.2, 2))


def test_standing_counts_for_the_body_only():
    hits = Hits()
    for hit in (HIT, STANDING, MISS, STANDING):
        hits.add(True, hit)
    assert hits.totals == pytest.approx([4, 3, 1.2, 2, 1, 0.4])
    assert hits.running() == pytest.approx((0.75, 0.5, 0.3, 0.2, 4))


def test_running_rates_look_back_and_totals_on_everything():
    hits = Hits()
    for _ in range(RUNNING):
        hits.add(True, MISS)
    assert hits.running().body == 0
    for _ in range(RUNNING // 3):
        hits.add(True, HIT)
    assert hits.running().body == pytest.approx(1 / 3)
    assert hits.running().frames == RUNNING
    for _ in range(RUNNING):
        hits.add(False, MISS)
    assert hits.running().body == pytest.approx(1 / 3), "frames that do not count push none out"
    for _ in range(RUNNING):
        hits.add(True, HIT)
    assert hits.running()[:2] == (1, 1)
    assert hits.totals[:2] == pytest.approx([RUNNING * 7 / 3, RUNNING * 4 / 3])


def test_nothing_counted_is_nothing_said():
    assert Hits().running() == rates([]) == (None, None, None, None, 0)
    assert rates([STANDING]) == (1, None, 0.3, None, 1)
