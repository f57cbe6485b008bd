"""Where a clip's relevance lies, of scenes whose truth is known: on the limbs that act, the figure, what distracts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtx.measure.boxes import above
from rtx.measure.localisation import widened


class Place(NamedTuple):
    """What one region of a clip gets. Of what is never to be seen nothing can be said: NaN."""

    hit: float
    """The share of frames whose hottest place lies on it, widened by 4 of 112 pixels: 0..1."""
    chance: float
    """What that would be by chance: the widened region's share of the picture."""
    ratio: float
    """Its share of the positive relevance over its share of the area: 1 is chance, 0 is none."""
    iou: float
    """Of it and where the map reaches half way from its mean to its most, over frames."""


def place(relevance: NDArray[np.float32], region: NDArray[np.bool_]) -> Place:
    """A map T H W and a region T H W. Frames in which the region is not to be seen do not count."""
    seen = region.any(axis=(1, 2))
    if not seen.any():
        return Place(*[float("nan")] * 4)
    maps, masks = relevance[seen], region[seen]
    hits, chances, ious = [], [], []
    for frame, mask in zip(maps, masks, strict=True):
        wide = widened(mask)
        says = bool(frame.max() > frame.min())
        hits.append(says and bool(wide.flat[int(frame.argmax())]))
        chances.append(float(wide.mean()))
        hot = above(frame)
        ious.append(float((hot & mask).sum() / (hot | mask).sum()))
    positive = np.maximum(maps, 0).astype(np.float64)
    whole = positive.sum()
    ratio = positive[masks].sum() / whole / masks.mean() if whole > 0 else float("nan")
    return Place(float(np.mean(hits)), float(np.mean(chances)), float(ratio), float(np.mean(ious)))
