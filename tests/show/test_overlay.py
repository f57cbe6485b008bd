"""Heat lies where the network looked, and nowhere else; an empty hall is not painted."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from rtx.clock import NS_PER_S
from rtx.engine.engine import Engine
from rtx.engine.window import Clip, see
from rtx.geometry import Rect, input_rect
from rtx.link.wire import Cells, Explanation, RelevanceMap, TopClass
from rtx.show.overlay import (
    DARKEST,
    DIM,
    GRID,
    LiveScale,
    compose,
    draw_focus,
    draw_heat,
    flow_colours,
    heat_of,
    newest_frame,
    put_beside,
)
from rtx.show.view import Heat, Look, View

WHOLE = Rect(0, 0, 224, 224)
I3D_CELLS = Cells((4.0, 32.0, 32.0), (2.25, 23.0, 23.0))


def an_explanation(values: np.ndarray, p: float = 1.0, peak: float = 1.0, rect: Rect = WHOLE, **about) -> Explanation:
    relevance = RelevanceMap.of(values.astype(np.float32), I3D_CELLS, (16, 224, 224))
    return Explanation(**{
        "camera": "c", "epoch": 0, "first_seq": 0, "last_seq": 15, "t_frames": tuple(range(16)), "height": 224,
        "width": 224, "rect": tuple(rect), "model": "m", "explainer": "cam", "device": "cpu", "backend": "torch",
        "precision": "fp32", "top": (TopClass("bowling", p),), "target": "bowling", "map": relevance,
        "evidence": True, "peak": peak,
    } | about)  # fmt: skip


def one_cell(t: int, y: int, x: int, value: float = 1.0) -> np.ndarray:
    relevance = np.zeros((4, 7, 7))
    relevance[t, y, x] = value
    return relevance


@pytest.mark.parametrize(("y", "x"), [(1, 1), (3, 5), (5, 2)])
def test_a_cell_is_drawn_at_its_receptive_field(y: int, x: int):
    grid = newest_frame(an_explanation(one_cell(3, y, x)).map, points=224)
    assert np.unravel_index(grid.argmax(), grid.shape) == (23 + 32 * y, 23 + 32 * x)
    assert grid.max() == pytest.approx(1)


def test_only_the_newest_feature_frame_shows_on_the_newest_frame():
    assert newest_frame(an_explanation(one_cell(3, 3, 3)).map).max() > 0.9
    assert newest_frame(an_explanation(one_cell(2, 3, 3)).map).max() == 0


@pytest.mark.parametrize(
    ("size", "roi", "fit"),
    [
        ((240, 320), (0.0, 0.0, 1.0, 1.0), "crop"),
        ((240, 320), (0.0, 0.0, 1.0, 1.0), "pad"),
        ((320, 240), (0.0, 0.0, 1.0, 1.0), "pad"),
        ((480, 640), (0.5, 0.25, 0.4, 0.6), "crop"),
        ((480, 640), (0.5, 0.25, 0.4, 0.6), "pad"),
    ],
)
def test_heat_lies_on_the_mark_that_the_network_saw(size, roi, fit):
    """A marked spot goes through the network's own preparation; heat on it there must be drawn back onto it."""
    height, width = size
    rect = input_rect(height, width, roi, fit)
    marked = np.zeros((height, width, 3), np.uint8)
    y, x = int(rect.y + 0.6 * rect.height), int(rect.x + 0.4 * rect.width)
    cv2.circle(marked, (x, y), 12, (255, 255, 255), -1)
    seen = np.empty((224, 224, 3), np.uint8)
    see(marked, rect, 224, seen)
    values = cv2.resize((seen[..., 0] > 200).astype(np.uint8) * 255, (GRID, GRID), interpolation=cv2.INTER_AREA)
    picture = np.full((height, width, 3), 100, np.uint8)
    draw_heat(picture, Heat(values, rect), 0.6)
    changed = np.abs(picture.astype(int) - 100).sum(axis=2)
    inside = np.zeros((height, width), bool)
    inside[max(0, int(rect.y)) : int(rect.y + rect.height), max(0, int(rect.x)) : int(rect.x + rect.width)] = True
    ys, xs = np.nonzero(inside & (changed > 0.5 * changed[inside].max()))
    assert (ys.mean(), xs.mean()) == pytest.approx((y, x), abs=2.5)
    assert (picture[~inside] == round(100 * DIM)).all(), "what the network did not see is dimmed"


def test_heat_that_leaves_the_picture_is_cut_off():
    picture = np.full((100, 200, 3), 100, np.uint8)
    values = np.zeros((GRID, GRID), np.uint8)
    values[: GRID // 4] = 255  # Above the picture: the rectangle is padded by 50 pixels there.
    draw_heat(picture, Heat(values, Rect(0, -50, 200, 200)), 1.0)
    assert (picture[4:] == 100).all()


def test_what_the_region_leaves_out_is_dimmed_and_not_painted():
    picture = np.full((100, 200, 3), 100, np.uint8)
    values = np.full((GRID, GRID), 255, np.uint8)
    draw_heat(picture, Heat(values, Rect(50, 0, 100, 100), seen=Rect(80, 0, 40, 100)), 1.0)
    assert (picture[:, :80] == round(100 * DIM)).all()
    assert (picture[:, 120:] == round(100 * DIM)).all()
    assert (picture[:, 80:120] != round(100 * DIM)).any()


def test_zero_heat_changes_nothing_but_the_unseen():
    picture = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    before = picture.copy()
    draw_heat(picture, Heat(np.zeros((GRID, GRID), np.uint8), Rect(0, 0, 90, 90)), 1.0)
    np.testing.assert_array_equal(picture, before)


def test_weak_evidence_is_drawn_weakly_from_the_first_clip_on():
    """A scale of each clip for itself would draw it in full."""
    weak = an_explanation(one_cell(3, 3, 3, 0.1), peak=1.0)
    assert heat_of(weak, LiveScale()).values.max() == pytest.approx(25, abs=2)


def test_the_scale_follows_strong_evidence_and_forgets_it():
    scale = LiveScale()
    strong = an_explanation(one_cell(3, 3, 3, 8.0))
    assert scale.full(strong, 8.0) == 8
    later = tuple(t + int(LiveScale.HALF_LIFE_S * NS_PER_S) for t in strong.t_frames)
    assert scale.full(an_explanation(one_cell(3, 3, 3, 0.1), t_frames=later), 0.1) == pytest.approx(4, rel=1e-3)


def test_another_explainer_has_a_scale_of_its_own():
    scale = LiveScale()
    assert scale.full(an_explanation(one_cell(3, 3, 3, 8.0), explainer="cam"), 8.0) == 8
    assert scale.full(an_explanation(one_cell(3, 3, 3, 0.1), explainer="ksigma(k=2)", peak=0.0), 0.1) == 0.1
    for k in range(100):
        scale.full(an_explanation(one_cell(3, 3, 3), explainer=f"ksigma(k={k / 50})"), 1.0)
    assert len(scale._scale) == 1, "nothing grows while somebody moves a slider"


def test_heat_follows_the_probability_of_the_explained_class():
    sure, unsure = (an_explanation(one_cell(3, 3, 3), p=p) for p in (0.9, 0.15))
    assert heat_of(sure, LiveScale()).values.max() > 225
    assert heat_of(unsure, LiveScale()).values.max() < 30


def test_no_evidence_no_heat():
    empty = an_explanation(one_cell(3, 3, 3, 0.0), evidence=False)
    assert not heat_of(empty, LiveScale()).values.any()
    assert not heat_of(replace_map(empty, np.full((4, 7, 7), -3.0)), LiveScale()).values.any()


def replace_map(explanation: Explanation, values: np.ndarray) -> Explanation:
    import msgspec

    return msgspec.structs.replace(
        explanation, map=RelevanceMap.of(values.astype(np.float32), I3D_CELLS, (16, 224, 224))
    )


def test_an_empty_hall_is_not_painted(i3d):
    hall = np.full((224, 224, 3), 150.0)
    hall[150:] = (90, 120, 160)
    cv2.rectangle(hall, (40, 60), (110, 150), (200, 190, 180), -1)
    noise = np.random.default_rng(0)
    frames = np.stack([np.clip(hall + noise.normal(0, 4, hall.shape), 0, 255) for _ in range(16)]).astype(np.uint8)
    clip = Clip("hall", 0, 0, 15, frames, tuple(range(16)), 224, 224, Rect(0, 0, 224, 224))
    for explainer in ("cam", "ksigma"):
        explanation = Engine(i3d, explainer).explain([clip])[0]
        heat = heat_of(explanation, LiveScale())
        assert heat.values.max() < 60, f"{explainer} paints an empty hall (p = {explanation.top[0].p:.2f})"


def test_the_composed_picture_says_what_and_how_old():
    picture = np.full((480, 640, 3), 128, np.uint8)
    view = View("c", picture, 0, 0, 0, 5.0, "live", "explaining", top=(TopClass("bowling", 0.5),), heatmap_age_ms=400.0)
    plain, late = compose(view, Look()), compose(replace(view, late=True), Look())
    assert (picture == 128).all(), "the view's own picture is not touched"
    assert (plain != late).any(), "an overdue heatmap looks different"


def test_focus_leaves_the_picture_where_the_evidence_is():
    picture = np.full((100, 200, 3), 200, np.uint8)
    values = np.zeros((GRID, GRID), np.uint8)
    values[:, : GRID // 2] = 255
    draw_focus(picture, Heat(values, Rect(50, 0, 100, 100)))
    assert picture[50, 60].tolist() == [200] * 3
    assert picture[50, 140] == pytest.approx([200 * DARKEST / 255] * 3, abs=1)
    assert picture[50, 20] == pytest.approx([200 * DARKEST / 255] * 3, abs=1)  # Nobody looked there.


def test_without_evidence_nothing_is_focused():
    picture = np.full((100, 100, 3), 200, np.uint8)
    draw_focus(picture, Heat(np.zeros((GRID, GRID), np.uint8), Rect(0, 0, 100, 100)))
    assert (picture == 200).all()


def test_flow_is_drawn_as_hue_and_lightness():
    """Right is red, left its opposite; what stands still is black, and what moves far is brightest."""
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, 1:, 0] = (1.0, 0.1, -1.0)
    still, far, near, left = flow_colours(flow)[0].astype(int)
    assert still.tolist() == [0, 0, 0]
    assert far[2] > far[0]
    assert far[2] > near[2] > 0
    assert left[0] > left[2]


def test_what_the_second_branch_saw_lies_in_the_corner_above_the_heat():
    image = np.full((480, 640, 3), 90, np.uint8)
    beside = np.full((224, 224, 3), (0, 255, 0), np.uint8)
    heat = Heat(np.full((GRID, GRID), 255, np.uint8), Rect(0, 0, 640, 480))
    view = View("c", image, 0, 0, 0, 0.0, "live", "explaining", heat=heat, beside=beside)
    x0, y0, x1, y1 = put_beside(image.copy(), beside)
    assert (x1 - x0, y1 - y0) == (160, 160)
    assert (compose(view, Look())[y0:y1, x0:x1] == (0, 255, 0)).all()
