"""The hit point and weakly supervised localisation, by hand and against slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtx.measure.boxes import Box, above, accuracy, hits_box, hits_point, iou, localised

TRUE = Box(4, 2, 8, 6)


def a_map(box: Box, strength: float = 1.0, size: tuple[int, int] = (10, 12)) -> np.ndarray:
    made = np.zeros(size, np.float32)
    made[box.top : box.bottom, box.left : box.right] = strength
    return made


def test_a_perfect_map_finds_the_box():
    assert localised(a_map(TRUE)) == TRUE
    assert iou(TRUE, TRUE) == 1
    assert hits_point(a_map(TRUE), TRUE)
    assert all(hits_box(a_map(TRUE), TRUE, least) for least in (0, 0.5, 0.6, 1.0))


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_a_constant_map_hits_nothing(value: float):
    constant = np.full((10, 12), value, np.float32)
    assert not above(constant).any()
    assert localised(constant) is None
    assert not hits_point(constant, TRUE)
    assert not hits_box(constant, TRUE, 0)


def test_an_inverted_map_misses_the_box_but_surrounds_it():
    inverted = 1 - a_map(TRUE)
    assert not hits_point(inverted, TRUE)
    found = localised(inverted)
    assert found == Box(0, 0, 12, 10)
    assert hits_box(inverted, TRUE, 0), "the box around a ring meets what is in it"
    assert not hits_box(inverted, TRUE, 0.5)


def test_the_threshold_lies_half_way_from_mean_to_most():
    made = np.zeros((10, 10), np.float32)
    made[0, 0], made[5, 5] = 1.0, 0.52
    mean = made.mean()
    assert 0.5 < mean + 0.5 * (1 - mean) < 0.52
    assert above(made).sum() == 2
    made[5, 5] = 0.49
    assert above(made).sum() == 1


def test_of_several_contours_the_largest_counts():
    both = a_map(Box(0, 0, 2, 2), 2.0) + a_map(TRUE, 1.5)
    assert localised(both) == TRUE
    assert not hits_point(both, TRUE), "the maximum lies in the other"


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
    assert localised(frame) == expected
    near = Box(expected.left + 1, expected.top, expected.right + 1, expected.bottom)
    side = expected.right - expected.left
    for least in (0.0, 0.5, 0.6):
        assert hits_box(frame, near, least) == ((side - 1) / (side + 1) > least)


sides = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)
boxes = st.tuples(sides, sides).map(lambda of: Box(of[0][0], of[1][0], of[0][1], of[1][1]))


@settings(deadline=None)
@given(boxes, boxes)
def test_iou_is_counted_in_pixels(first: Box, second: Box):
    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box.left, box.right) for y in range(box.top, box.bottom)}

    one, other = pixels(first), pixels(second)
    assert iou(first, second) == pytest.approx(len(one & other) / len(one | other) if one | other else 0)


def test_a_wrong_prediction_is_a_miss_in_acc2():
    assert accuracy([True, True, False, False], [True, False, True, False]) == (0.5, 0.25)
    assert all(np.isnan(accuracy([], [])))
