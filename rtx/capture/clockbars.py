"""A clock drawn into the picture as bars, so that a frame's age can be read off its pixels further on.

Each bit is a cell in the top row and the opposite cell beneath it; what is read is their difference. Whatever
lies over both alike (a heatmap, a change of brightness) falls out of it.
"""

from __future__ import annotations

import numpy as np

from rtx.capture import clockcode
from rtx.capture.source import Pixels

_LEAST_CONTRAST = 20.0
"""Grey levels between a bit's two cells, below which nothing is read. A 0.6 blend leaves about 90 of 255."""


def draw_clock(image: Pixels, t_ns: int) -> None:
    """Write monotonic `t_ns`, to the millisecond, into the top strip of `image` (uint8 H W 3), in place."""
    width = image.shape[1]
    height = clockcode.row_height(width)
    cells = np.array(clockcode.bits(t_ns), np.uint8) * np.uint8(255)
    row = np.repeat(cells, np.diff(clockcode.edges(width)))
    row = np.repeat(row, 3).reshape(width, 3)
    image[:height] = row
    image[height : 2 * height] = 255 - row


def read_clock(image: Pixels) -> int | None:
    """The time (ns) that `draw_clock` wrote into `image` (uint8 H W 3); None where no clock can be read."""
    width = image.shape[1]
    cell = width / clockcode.COLUMNS
    if image.shape[0] < 2 * cell or cell < 2:
        return None
    difference = _row(image, 0.0, cell) - _row(image, cell, cell)
    # The middle half of each cell: its edges are smeared by compression and scaling.
    starts = np.arange(clockcode.COLUMNS) * cell
    left = np.floor(starts + 0.25 * cell).astype(int)
    right = np.ceil(starts + 0.75 * cell).astype(int)
    total = np.concatenate([[0.0], np.cumsum(difference)])
    contrast = (total[right] - total[left]) / (right - left)
    if np.abs(contrast).min() < _LEAST_CONTRAST:
        return None
    return clockcode.time([int(bit) for bit in contrast > 0])


def _row(image: Pixels, top: float, cell: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Grey level of each column of pixels (W) in the middle half of a row of cells."""
    rows = image[int(top + 0.25 * cell) : int(np.ceil(top + 0.75 * cell))]
    grey: np.ndarray[tuple[int], np.dtype[np.float64]] = rows.mean(axis=(0, 2))
    return grey
