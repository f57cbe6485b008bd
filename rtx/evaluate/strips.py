"""Films kept as strips of square frames, and who is to be seen in them before a plain wall: the Weizmann actions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.errors import UserError

FPS = 25.0
"""Frames a second of the Weizmann films."""
EDGE = 2
"""Columns at either side in which nobody stands."""
ABOVE = 6
"""Rows in which nobody stands."""
SIDES = 10
"""Columns at either side by which the wall's colour is known, row by row."""
UNLIKE, QUITE_UNLIKE = 35, 70
"""From such a difference of colour on a pixel is perhaps, or surely, not the wall."""
ROUNDS = 3
"""Of GrabCut."""
PART = 0.1
"""Of the largest: a smaller patch is none of the figure's parts."""


def frames_of(strip: Path) -> NDArray[np.uint8]:
    """Frames T H W 3 (BGR), which lie side by side in the picture. UserError."""
    picture = cv2.imread(str(strip))
    if picture is None or picture.shape[1] % picture.shape[0]:
        raise UserError(f"{strip} is no strip of square frames side by side")
    side = picture.shape[0]
    return np.asarray(picture, np.uint8).reshape(side, -1, side, 3).transpose(1, 0, 2, 3)


def silhouettes(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Who stands before the wall, T H W: what GrabCut tells from it in all frames T H W 3 at once, the same each time.

    (Rother et al. 2004; it begins with what differs from the colour that the wall has at its sides in the same row.)
    """
    count, height, width = frames.shape[:3]
    wall = np.median(np.concatenate([frames[:, :, :SIDES], frames[:, :, -SIDES:]], axis=2), axis=(0, 2))
    beside = np.ascontiguousarray(frames.transpose(1, 0, 2, 3)).reshape(height, count * width, 3)
    differs = np.abs(beside - wall[:, None]).max(axis=2)
    seen = np.full(differs.shape, cv2.GC_PR_BGD, np.uint8)
    seen[differs > UNLIKE] = cv2.GC_PR_FGD
    seen[differs > QUITE_UNLIKE] = cv2.GC_FGD
    column = np.arange(count * width) % width
    seen[:, (column < EDGE) | (column >= width - EDGE)] = cv2.GC_BGD
    seen[:ABOVE] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(beside, seen, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (seen == cv2.GC_FGD) | (seen == cv2.GC_PR_FGD)
    return np.stack([_parts(of) for of in found.reshape(height, count, width).transpose(1, 0, 2)])


def _parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without its small patches."""
    number, patches, about, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask, np.uint8))
    areas = about[:, cv2.CC_STAT_AREA]
    large = [of for of in range(1, number) if areas[of] >= PART * areas[1:].max()]
    return np.isin(patches, large)
