"""The red mat: on the floor beside the figure, behind whatever moves, and still."""

from __future__ import annotations

import numpy as np
import pytest

from rtx.scenes.film import Film, film
from rtx.scenes.mat import MAT, lay_mat
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import Cast


def laid(seed: int, size: int = 112) -> tuple[Film, Film]:
    """A kick without and with a mat."""
    cast = Cast.draw(seed, action="kick")
    before = film(cast, 12, 15, size, size)
    return before, lay_mat(before, cast)


@pytest.mark.parametrize("seed", range(12))
def test_it_is_red_lies_still_and_leaves_all_else_as_it_was(seed: int):
    before, after = laid(seed)
    mat = after.labels == MAT
    assert mat.sum(axis=(1, 2)).min() > 60, "it is to be seen in every frame"
    assert mat.mean() < 0.05
    blue, green, red = np.moveaxis(after.frames[mat].astype(int), -1, 0)
    assert (red > blue + 80).all()
    assert (red > green + 80).all()
    assert np.array_equal(after.frames[~mat], before.frames[~mat])
    assert np.array_equal(after.labels[~mat], before.labels[~mat])
    assert (before.labels[mat] == 0).all(), "whoever moves is before it"
    covered = before.labels > 0
    assert np.array_equal(mat | covered, mat.any(axis=0) | covered), "where nothing is before it, it is always there"
    assert MAT not in NUMBERS.values()


def test_it_lies_at_the_same_place_at_any_size():
    small, large = (
        np.argwhere((laid(3, size)[1].labels == MAT).any(axis=0)).mean(axis=0) / size for size in (112, 224)
    )
    assert small == pytest.approx(large, abs=0.01)


def test_the_same_cast_has_the_same_mat():
    assert np.array_equal(laid(5)[1].frames, laid(5)[1].frames)
    assert not np.array_equal(laid(5)[1].labels == MAT, laid(6)[1].labels == MAT)
