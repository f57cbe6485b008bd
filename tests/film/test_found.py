"""What is made of clips that overlap: one map a moment, on one scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.film.found import LEAST, Clips, Sliding, joined, usual
from rtx.link.wire import Cells, Explanation, RelevanceMap, TopClass


def slowly_joined(clips: list[tuple[list[int], NDArray[np.float32]]], time: int) -> NDArray[np.float64]:
    """The definition, cell by cell."""
    _, height, width = clips[0][1].shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            above = below = 0.0
            for times, maps in clips:
                middle, half = (times[0] + times[-1]) / 2, (times[-1] - times[0]) / 2
                weight = max(LEAST, 1 - abs(time - middle) / half)
                above += weight * np.interp(time, times, maps[:, y, x])
                below += weight
            out[y, x] = above / below
    return out


@pytest.mark.parametrize("time", [10, 17, 25, 29, 30])
def test_a_moment_is_the_mean_over_the_clips_that_held_it(time: int):
    draw = np.random.default_rng(3)
    clips = [
        (list(range(start, start + 31, 10)), draw.normal(size=(4, 3, 5)).astype(np.float32)) for start in (0, 5, 10)
    ]
    np.testing.assert_allclose(joined(clips, time), slowly_joined(clips, time), rtol=1e-5, atol=1e-6)


def test_a_clip_alone_is_its_own_map_also_at_its_ends():
    maps = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
    for time, frame in ((0, 0), (10, 1), (20, 2)):
        np.testing.assert_allclose(joined([([0, 10, 20], maps)], time), maps[frame], rtol=1e-6)


def test_the_usual_strength_is_that_of_the_sure_clips():
    assert usual([1, 2, 3], [1, 1, 1]) == 2
    assert usual([1, 2, 100], [1, 1, 0]) == 1
    assert usual([5, 5, 1], [0.01, 0.01, 1]) == 1
    assert usual([0, 0], [1, 1]) == 0, "no evidence at all"
    assert usual([0, 7], [1, 1]) == 7, "clips without evidence set no scale"


def explanation(at_s: float, values: NDArray[np.float32], label: str = "kick", p: float = 0.9) -> Explanation:
    """A clip of a second that ends then."""
    end = round(at_s * NS_PER_S)
    times = tuple(end - (3 - i) * NS_PER_S // 3 for i in range(4))
    cells = Cells((1.0, 28.0, 28.0), (0.0, 13.5, 13.5))
    return Explanation(
        camera="file", epoch=0, first_seq=0, last_seq=3, t_frames=times, height=56, width=56, rect=(0, 0, 56, 56),
        model="m", explainer="cam", device="cpu", backend="torch", precision="fp32", top=(TopClass(label, p),),
        target=label, map=RelevanceMap.of(values, cells, (4, 56, 56)), evidence=bool((values > 0).any()), peak=0,
    )  # fmt: skip


def corner(y: int, x: int, strength: float = 1.0) -> NDArray[np.float32]:
    made = np.zeros((4, 2, 2), np.float32)
    made[:, y, x] = strength
    return made


def sliding(*explanations: Explanation) -> Sliding:
    clips = Clips()
    for of in explanations:
        clips.add(of, smooth=False)
    return Sliding("cam", clips)


def hottest(panel: Sliding, at_s: float) -> tuple[int, int]:
    values = panel.at(round(at_s * NS_PER_S))[1].values
    corners = values.reshape(2, 28, 2, 28).mean(axis=(1, 3))
    y, x = np.unravel_index(int(corners.argmax()), (2, 2))
    return int(y), int(x)


def test_clips_come_back_as_they_were_kept():
    clips, made = Clips(), [explanation(at, corner(0, i % 2, 1 + i)) for i, at in enumerate((1.0, 1.5, 2.0))]
    for of in made:
        clips.add(of, smooth=False)
    assert [clips[i] for i in (2, 0, 1)] == [made[2], made[0], made[1]]
    assert [row.full for row in clips.rows] == pytest.approx([1, 2, 3], rel=0.02)


def test_the_clip_whose_middle_is_nearest_speaks():
    panel = sliding(*(explanation(at, corner(0, 0), label) for at, label in ((1.0, "a"), (1.5, "b"), (2.0, "c"))))
    said = [row.target for at in (0.0, 0.5, 0.7, 0.8, 1.2, 1.3, 2.0, 2.3) if (row := panel.at(round(at * NS_PER_S))[0])]
    assert said == ["a", "a", "a", "b", "b", "c", "c", "c"]


def test_what_no_clip_held_is_not_explained():
    """Frames next to a clip's ends, as it samples not all of them, are."""
    panel = sliding(explanation(1.0, corner(0, 0)), explanation(4.0, corner(0, 0)))
    for at, explained in (
        (1.0, True),
        (1.3, True),
        (1.4, False),
        (2.6, False),
        (2.7, True),
        (4.4, False),
        (9.0, False),
    ):
        row, heat = panel.at(round(at * NS_PER_S))
        assert (row is not None) == explained
        assert heat.values.any() == explained


def test_maps_of_another_class_are_left_out():
    panel = sliding(explanation(1.0, corner(0, 0), "kick"), explanation(1.2, corner(1, 1, 9.0), "squat"))
    assert hottest(panel, 0.55) == (0, 0)
    assert not panel.at(round(0.55 * NS_PER_S))[1].values[40:, 40:].any()
    assert hottest(panel, 0.75) == (1, 1)


def test_nothing_leaps_where_a_clip_comes_or_goes():
    panel = sliding(explanation(1.0, corner(0, 0)), explanation(1.5, corner(1, 1)), explanation(2.0, corner(0, 1)))
    steps = [panel.at(ms * NS_PER_S // 1000)[1].values.astype(int) for ms in range(0, 2001, 5)]
    assert max(int(abs(after - before).max()) for before, after in itertools.pairwise(steps)) < 12
    assert hottest(panel, 0.2) == (0, 0)
    assert hottest(panel, 1.0) == (1, 1)


def test_an_unsure_clip_stays_pale_beside_a_sure_one():
    panel = sliding(explanation(1.0, corner(0, 0), p=0.9), explanation(3.0, corner(0, 0), p=0.1))
    sure, unsure = (int(panel.at(round(at * NS_PER_S))[1].values.max()) for at in (0.5, 2.5))
    assert sure > 240
    assert unsure < 15


def test_a_film_of_nothing_but_guesses_is_not_painted():
    panel = sliding(*(explanation(at, corner(0, 0), p=0.08) for at in (1.0, 1.5, 2.0)))
    assert panel.at(NS_PER_S)[1].values.max() < 10


def test_where_nothing_was_found_nothing_is_painted():
    panel = sliding(explanation(1.0, corner(0, 0, -1.0)), explanation(1.5, corner(0, 0, 0.0)))
    row, heat = panel.at(NS_PER_S)
    assert row is not None
    assert not row.evidence
    assert not heat.values.any()
