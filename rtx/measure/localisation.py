"""Does the heat lie where the action is? The map's maximum against the truth of a drawn frame.

Per frame: the maximum of the map at clip resolution lies inside a mask widened by 4 of 112 pixels, or it does not.
Counted over frames of which the network named the action rightly. Chance is the widened mask's share of the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.geometry import Rect
from rtx.link.wire import Truth

WIDENED = 4 / 112
"""Of the input's side."""
SIDE = 112
"""Pixels at which a live map is judged."""
BODY, ACTING, DISTRACTOR = 1, 2, 3
"""What `regions` says of a pixel; the hall is 0. Parts that act belong to the body too."""
RUNNING = 900
"""Frames that a running rate looks back on."""


def regions(truth: Truth, height: int, width: int, rect: Rect) -> NDArray[np.uint8]:
    """Whose each pixel of a height x width picture of the rectangle is; `rect` is in pixels of the frame."""
    labels = np.zeros((height, width), np.uint8)
    scale = np.array([width / rect.width, height / rect.height])
    # Pixel centres lie at whole numbers: the frame's corner is at -1/2, and so is the picture's.
    shift = 16 * ((0.5 - np.array([rect.x, rect.y])) * scale - 0.5)
    for shape in truth.shapes:
        kind = DISTRACTOR if shape.part == "distractor" else ACTING if shape.part in truth.acting else BODY
        outline = np.round(shape.outline() * scale + shift).astype(np.int32)
        cv2.fillConvexPoly(labels, outline, kind, cv2.LINE_8, 4)
    return labels


def disc(height: int) -> NDArray[np.uint8]:
    """What a picture of this height is widened by: 1 within 4 of 112 pixels of the middle."""
    side = 2 * round(WIDENED * height) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and what lies within 4 of 112 pixels around it."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc(mask.shape[0])), np.uint8) > 0


def named_rightly(label: str, truth: Truth | None, span_ns: int, labels: Collection[str]) -> bool | None:
    """Is that label of a clip of this duration what the figure does?

    None where it cannot be said: what was not drawn, what the network has no name for (`labels` are all that it knows),
    and a clip that begins in the act before.
    """
    if truth is None or truth.action not in labels or truth.lasted_ns < span_ns:
        return None
    return label == truth.action


class Hit(NamedTuple):
    """Where one frame's map has its maximum, and how likely that was by chance."""

    body: bool
    acting: bool | None
    """None where no limb that acts is to be seen: standing, or out of the picture."""
    chance_body: float
    chance_acting: float


def judge(relevance: NDArray[np.float32], truth: Truth, rect: Rect) -> Hit:
    """A frame's map h w over the input rectangle, at clip resolution, against the truth of that frame."""
    height, width = relevance.shape
    labels = regions(truth, height, width, rect)
    return hit(relevance, (labels == BODY) | (labels == ACTING), labels == ACTING)


def hit(relevance: NDArray[np.float32], body: NDArray[np.bool_], acting: NDArray[np.bool_]) -> Hit:
    """A frame's map h w against masks of the same size. A map without a maximum hits nothing."""
    something_acts = bool(acting.any())
    body, acting = widened(body), widened(acting)
    at = np.unravel_index(int(relevance.argmax()), relevance.shape)
    found = bool(relevance.max() > relevance.min())
    return Hit(
        found and bool(body[at]), found and bool(acting[at]) if something_acts else None, float(body.mean()),
        float(acting.mean()),
    )  # fmt: skip


class HitRates(NamedTuple):
    """Shares 0..1 of frames, and what chance would give; None where there is nothing to count."""

    body: float | None
    acting: float | None
    chance_body: float | None
    chance_acting: float | None
    frames: int


class Hits:
    """Hits of one camera: those of late, and all."""

    def __init__(self) -> None:
        self._late: deque[Sums] = deque()
        self._late_sum = np.zeros(6)
        self.judged = 0
        """Explained frames whose truth is known."""
        self.right = 0
        """Of these, with the action named rightly; only they can hit."""
        self.totals = np.zeros(6)
        """Frames, hits, sum of chances: on the body; on the limbs that act."""

    def add(self, right: bool, hit: Hit) -> None:
        self.judged += 1
        if not right:
            return
        self.right += 1
        new = _sums(hit)
        self._late.append(new)
        self._late_sum += new
        if len(self._late) > RUNNING:
            self._late_sum -= self._late.popleft()
        self.totals += new

    def running(self) -> HitRates:
        """Over the last frames."""
        return _shares(self._late_sum)


def rates(hits: list[Hit]) -> HitRates:
    """Shares over all of these."""
    return _shares(sum(map(_sums, hits), np.zeros(6)))


Sums = NDArray[np.float64]


def _sums(hit: Hit) -> Sums:
    acts = hit.acting is not None
    return np.array([1, hit.body, hit.chance_body, acts, bool(hit.acting), hit.chance_acting if acts else 0.0])


def _shares(sums: Sums) -> HitRates:
    frames, body, chance_body, acted, acting, chance_acting = sums.tolist()

    def share(sum_: float, of: float) -> float | None:
        return sum_ / of if of else None

    return HitRates(
        share(body, frames),
        share(acting, acted),
        share(chance_body, frames),
        share(chance_acting, acted),
        round(frames),
    )
