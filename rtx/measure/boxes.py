"""Maps against boxes: the hit point, and weakly supervised localisation. (Yudistira et al., Tables 3 to 5.)

Frames' maps are N H W, and boxes N 4, int64, as `Box` has them: one for each frame.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


NOTHING = Box(0, 0, 0, 0)
"""Of a map without a contour."""


def says(maps: Tensor) -> Tensor:
    """Has a frame's map a maximum, N bool? A constant one has none."""
    return maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))


def above(maps: Tensor, *, per: Literal["frame", "clip"] = "frame") -> Tensor:
    """Where frames' maps reach mean + (max - mean) / 2: N H W bool; nowhere, where one is constant.

    The paper does not say of what these are. Boxes are of frames, and so, unless it is said otherwise, are they; `per`
    clip, the frames being those of one, a frame with little evidence has no contour at all.
    """
    values, over = maps.double(), (1, 2) if per == "frame" else (0, 1, 2)
    most, mean = values.amax(dim=over, keepdim=True), values.mean(dim=over, keepdim=True)
    reached: Tensor = values >= mean + HALF * (most - mean)
    return reached & (most > values.amin(dim=over, keepdim=True))


def localised(maps: Tensor, *, per: Literal["frame", "clip"] = "frame") -> Tensor:
    """The boxes N 4 around the largest contour of `above` in each frame; `NOTHING`, where there is none.

    OpenCV follows contours on the CPU, a frame at a time; all else is where the maps are.
    """
    found = [_around_largest(mask) for mask in above(maps, per=per).cpu().numpy()]
    return torch.tensor(found, dtype=torch.int64, device=maps.device).reshape(-1, 4)


def _around_largest(mask: NDArray[np.bool_]) -> Box:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return NOTHING
    x, y, width, height = cv2.boundingRect(max(contours, key=lambda of: (cv2.contourArea(of), len(of))))
    return Box(x, y, x + width, y + height)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes N 4: N float64 in 0..1; of two boxes of nothing, 0."""
    begin, end = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    common = _area(torch.cat((begin, end), dim=1))
    union = _area(first) + _area(second) - common
    return common.double() / union.clamp(min=1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def hits_point(maps: Tensor, truth: Tensor) -> Tensor:
    """Does the maximum of a frame's map lie in its box: N bool? Of a constant map, no."""
    hottest = maps.flatten(1).argmax(dim=1)
    width = maps.shape[2]
    at = torch.stack((hottest % width, hottest // width), dim=1)
    inside = (truth[:, :2] <= at).all(dim=1) & (at < truth[:, 2:]).all(dim=1)
    return inside & says(maps)


def meets(maps: Tensor, truth: Tensor) -> Tensor:
    """Does a frame's map, where it is `above`, meet its box: N bool? The hit of a thresholded map."""
    rows, columns = (torch.arange(side, device=maps.device) for side in maps.shape[1:])
    left, top, right, bottom = (edge[:, None] for edge in truth.to(maps.device).unbind(dim=1))
    across, down = (left <= columns) & (columns < right), (top <= rows) & (rows < bottom)
    return (above(maps) & down[:, :, None] & across[:, None, :]).any(dim=(1, 2))


def hits_box(shared: Tensor, least: float) -> Tensor:
    """Is a box whose `iou` with the true one is this, N, at least so much like it: N bool? With 0: do they meet?"""
    return shared > 0 if least == 0 else shared >= least


class Accuracy(NamedTuple):
    """Shares 0..1."""

    acc: float
    """Hits of all."""
    acc2: float
    """Hits of all, where a wrong prediction is a miss."""


def accuracy(hits: Tensor, right: Tensor) -> Accuracy:
    """Over N frames or clips: did the map hit, and was the class right, N bool each? NaN of none."""
    return Accuracy(float(hits.double().mean()), float((hits & right).double().mean()))
