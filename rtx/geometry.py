"""Where things lie: the part of a picture that a network sees, and the cells of a feature map within it."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_SIDE = 8
"""A smaller part of a picture shows nothing."""


class Rect(NamedTuple):
    """x, y, width, height in pixels of the picture; may reach beyond it."""

    x: float
    y: float
    width: float
    height: float


def input_rect(height: int, width: int, roi: tuple[float, float, float, float], fit: Literal["crop", "pad"]) -> Rect:
    """The square of a height x width picture that becomes the network's input.

    `roi` is x, y, width, height as shares of the picture. `crop` takes the middle square of it, `pad` the square
    around it.
    """
    x, y, w, h = roi[0] * width, roi[1] * height, roi[2] * width, roi[3] * height
    side = max(MIN_SIDE, round(min(w, h) if fit == "crop" else max(w, h)))
    return Rect(round(x + (w - side) / 2), round(y + (h - side) / 2), side, side)


def place(n: int, positions: NDArray[np.float64], stride: float, centre: float) -> NDArray[np.float32]:
    """Weights `len(positions) x n` that interpolate linearly between n cells at `centre + i * stride`.

    Beyond the first and last cell the nearest one counts alone. With `centre = (stride - 1) / 2` this is plain
    resizing (align_corners=False); a network's own centres put each cell where its receptive field lies.
    """
    at = np.clip((positions - centre) / stride, 0, n - 1)
    low = np.minimum(np.floor(at).astype(int), max(n - 2, 0))
    share = at - low
    weights = np.zeros((len(positions), n), np.float32)
    rows = np.arange(len(positions))
    weights[rows, low] += 1 - share
    weights[rows, np.minimum(low + 1, n - 1)] += share
    return weights


def shown_part(
    height: int, width: int, rect: Rect, roi: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
) -> Rect:
    """What of the input rectangle shows the picture: the part within both the region and the picture."""
    x0, y0 = max(rect.x, round(roi[0] * width)), max(rect.y, round(roi[1] * height))
    x1 = min(rect.x + rect.width, max(x0 + MIN_SIDE, round((roi[0] + roi[2]) * width)), width)
    y1 = min(rect.y + rect.height, max(y0 + MIN_SIDE, round((roi[1] + roi[3]) * height)), height)
    return Rect(x0, y0, max(0, x1 - x0), max(0, y1 - y0))


@lru_cache(maxsize=64)
def place_grid(n: int, size: int, points: int, stride: float, centre: float) -> NDArray[np.float32]:
    """`place` for `points` evenly spaced samples over an input axis of `size` frames or pixels."""
    positions = (np.arange(points) + 0.5) * size / points - 0.5
    return place(n, positions, stride, centre)
