"""The hit point and weakly supervised localisation, by hand and against slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtx.measure.boxes import NOTHING, Box, above, accuracy, hits_box, hits_point, iou, localised, meets

TRUE = Box(4, 2, 8, 6)


def a_map(box: Box, strength: float = 1.0, size: tuple[int, int] = (10, 12)) -> Tensor:
    """Of one frame: 1 H W."""
    made = torch.zeros(1, *size)
    made[:, box.top : box.bottom, box.left : box.right] = strength
    return made


def one(box: Box) -> Tensor:
    return torch.tensor([box])


def test_a_perfect_map_finds_the_box():
    assert Box(*localised(a_map(TRUE))[0].tolist()) == TRUE
    assert iou(one(TRUE), one(TRUE)) == 1
    assert hits_point(a_map(TRUE), one(TRUE))
    assert meets(a_map(TRUE), one(TRUE))
    assert all(hits_box(iou(localised(a_map(TRUE)), one(TRUE)), least) for least in (0, 0.5, 0.6, 1.0))


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_a_constant_map_hits_nothing(value: float):
    constant = torch.full((1, 10, 12), value)
    assert not above(constant).any()
    assert Box(*localised(constant)[0].tolist()) == NOTHING
    assert not hits_point(constant, one(TRUE))
    assert not meets(constant, one(TRUE))
    assert not hits_box(iou(localised(constant), one(TRUE)), 0)


def test_an_inverted_map_misses_the_box_but_surrounds_it():
    inverted = 1 - a_map(TRUE)
    assert not hits_point(inverted, one(TRUE))
    assert not meets(inverted, one(TRUE))
    assert Box(*localised(inverted)[0].tolist()) == Box(0, 0, 12, 10)
    assert hits_box(iou(localised(inverted), one(TRUE)), 0), "the box around a ring meets what is in it"
    assert not hits_box(iou(localised(inverted), one(TRUE)), 0.5)


def test_the_threshold_lies_half_way_from_mean_to_most():
    made = torch.zeros(1, 10, 10)
    made[0, 0, 0], made[0, 5, 5] = 1.0, 0.52
    mean = float(made.mean())
    assert 0.5 < mean + 0.5 * (1 - mean) < 0.52
    assert above(made).sum() == 2
    made[0, 5, 5] = 0.49
    assert above(made).sum() == 1


def test_of_several_contours_the_largest_counts():
    both = a_map(Box(0, 0, 2, 2), 2.0) + a_map(TRUE, 1.5)
    assert Box(*localised(both)[0].tolist()) == TRUE
    assert not hits_point(both, one(TRUE)), "the maximum lies in the other"


def test_a_thresholded_map_meets_the_box_by_one_pixel_within_it():
    corner = a_map(TRUE) * 0
    corner[0, 5, 7], corner[0, 0, 0] = 0.8, 1
    assert meets(corner, one(TRUE))
    assert not meets(corner, one(TRUE._replace(right=7))), "right is outside"
    assert not meets(corner, one(TRUE._replace(bottom=5))), "and so is bottom"
    maps = torch.cat((corner, a_map(TRUE), a_map(Box(0, 0, 3, 1))))
    assert meets(maps, one(TRUE).expand(3, 4)).tolist() == [True, True, False]


def test_per_clip_a_frame_with_little_evidence_has_no_contour():
    maps = torch.cat((a_map(TRUE), a_map(TRUE, 0.1)))
    assert localised(maps).tolist() == [list(TRUE)] * 2
    assert localised(maps, per="clip").tolist() == [list(TRUE), list(NOTHING)]
    assert not above(torch.ones(2, 10, 12), per="clip").any()


def test_frames_are_judged_each_by_its_own_box():
    other = Box(0, 0, 3, 3)
    maps = torch.cat((a_map(TRUE), a_map(TRUE), a_map(other), torch.zeros(1, 10, 12)))
    boxes = torch.tensor([TRUE, other, other, TRUE])
    assert hits_point(maps, boxes).tolist() == [True, False, True, False]
    assert hits_box(iou(localised(maps), boxes), 0.5).tolist() == [True, False, True, False]
    assert localised(maps).tolist() == [list(of) for of in (TRUE, TRUE, other, NOTHING)]
    assert localised(maps[:0]).shape == (0, 4)


def slow_box(frame: np.ndarray) -> Box | None:
    """By the definition, pixel by pixel: islands above the threshold, corners touching; the box of the largest."""
    values = frame.tolist()
    everything = [value for row in values for value in row]
    mean, most = math.fsum(everything) / len(everything), max(everything)
    if most == min(everything):
        return None
    left = {(x, y) for y, row in enumerate(values) for x, value in enumerate(row) if value >= mean + (most - mean) / 2}
    islands = []
    while left:
        island, reached = set(), [left.pop()]
        while reached:
            x, y = reached.pop()
            island.add((x, y))
            near = {(x + across, y + down) for across in (-1, 0, 1) for down in (-1, 0, 1)} & left
            left -= near
            reached += near
        islands.append(island)
    largest = max(islands, key=len)
    across, down = zip(*largest, strict=True)
    return Box(min(across), min(down), max(across) + 1, max(down) + 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_box_as_it_is_defined(seed: int):
    """Rectangles of several strengths, of which no two touch and no two are equally large."""
    random = np.random.default_rng(seed)
    frame = random.random((40, 40)).astype(np.float32) * 0.2
    sides = random.permutation(np.arange(2, 11))
    for number, side in enumerate(sides):
        x, y = 13 * (number % 3), 13 * (number // 3)
        frame[y : y + side, x : x + side] += random.random()
    expected = slow_box(frame)
    assert expected is not None
    maps = torch.from_numpy(frame)[None]
    assert Box(*localised(maps)[0].tolist()) == expected
    near = Box(expected.left + 1, expected.top, expected.right + 1, expected.bottom)
    side = expected.right - expected.left
    for least in (0.0, 0.5, 0.6):
        assert hits_box(iou(localised(maps), one(near)), least) == ((side - 1) / (side + 1) > least)


sides = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)
boxes = st.tuples(sides, sides).map(lambda of: Box(of[0][0], of[1][0], of[0][1], of[1][1]))
pairs = st.lists(st.tuples(boxes, boxes), min_size=1, max_size=5)


@settings(deadline=None)
@given(pairs)
def test_iou_is_counted_in_pixels(pairs: list[tuple[Box, Box]]):
    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box.left, box.right) for y in range(box.top, box.bottom)}

    found = iou(*map(torch.tensor, zip(*pairs, strict=True)))
    for (first, second), said in zip(pairs, found.tolist(), strict=True):
        left, right = pixels(first), pixels(second)
        assert said == pytest.approx(len(left & right) / len(left | right) if left | right else 0)


def test_a_wrong_prediction_is_a_miss_in_acc2():
    hits, right = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert accuracy(hits, right) == (0.5, 0.25)
    assert all(np.isnan(accuracy(hits[:0], right[:0])))
