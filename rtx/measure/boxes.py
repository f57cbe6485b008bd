"""Maps against boxes: the hit point, and weakly supervised localisation. (Yudistira et al., Tables 3 to 5.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

HALF = 0.5
"""A contour lies so far from a map's mean to its most."""


class Box(NamedTuple):
    """From a corner to the one opposite, in pixels; the latter is outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)


def above(relevance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a frame's map H W reaches mean + (max - mean) / 2; nowhere, where it is constant."""
    most, mean = float(relevance.max()), float(relevance.mean())
    if most <= float(relevance.min()):
        return np.zeros(relevance.shape, bool)
    return np.asarray(relevance >= mean + HALF * (most - mean))


def localised(relevance: NDArray[np.float32]) -> Box | None:
    """The box around the largest contour of `above` in a frame's map H W; None, where it is constant."""
    contours, _ = cv2.findContours(above(relevance).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    x, y, width, height = cv2.boundingRect(max(contours, key=lambda of: (cv2.contourArea(of), len(of))))
    return Box(x, y, x + width, y + height)


def iou(first: Box, second: Box) -> float:
    """Intersection over union, 0..1; of two boxes of nothing, 0."""
    common = Box(
        max(first.left, second.left), max(first.top, second.top), min(first.right, second.right),
        min(first.bottom, second.bottom),
    ).area  # fmt: skip
    union = first.area + second.area - common
    return common / union if union else 0.0


def hits_point(relevance: NDArray[np.float32], truth: Box) -> bool:
    """Does the maximum of a frame's map H W lie in the box? Of a constant map, no."""
    if not relevance.max() > relevance.min():
        return False
    y, x = np.unravel_index(int(relevance.argmax()), relevance.shape)
    return bool(truth.left <= x < truth.right and truth.top <= y < truth.bottom)


def hits_box(relevance: NDArray[np.float32], truth: Box, least: float) -> bool:
    """Is the box around the map's largest contour at least so much like the true one? With `least` 0: do they meet?"""
    found = localised(relevance)
    if found is None:
        return False
    shared = iou(found, truth)
    return shared > 0 if least == 0 else shared >= least


class Accuracy(NamedTuple):
    """Shares 0..1."""

    acc: float
    """Hits of all."""
    acc2: float
    """Hits of all, where a wrong prediction is a miss."""


def accuracy(hits: Sequence[bool], right: Sequence[bool]) -> Accuracy:
    """Over frames or clips: did the map hit, and was the class right? NaN of none."""
    if not hits:
        return Accuracy(float("nan"), float("nan"))
    both = sum(hit and named for hit, named in zip(hits, right, strict=True))
    return Accuracy(sum(hits) / len(hits), both / len(hits))
