"""Optical flow of the frames a network sees: DIS (Kroeger et al. 2016), in pixels a sampling stride."""

from __future__ import annotations

import threading
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

_MADE = threading.local()


def between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where each pixel of `before` has moved in `after` (both H W 3, BGR): H W 2, along x and y."""
    if not hasattr(_MADE, "dis"):  # It remembers its pyramids, and so belongs to one thread.
        _MADE.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grey = (cv2.cvtColor(before, cv2.COLOR_BGR2GRAY), cv2.cvtColor(after, cv2.COLOR_BGR2GRAY))
    return np.asarray(_MADE.dis.calc(*grey, None), np.float32)


def of_clip(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """T H W 3 to T H W 2: to each frame from the one before; the first, which has none, as the second.

    A frame that stands there several times (a camera slower than the sampling) has moved evenly meanwhile.
    """
    flow = np.zeros((*frames.shape[:3], 2), np.float32)
    changed = [0, *(t for t in range(1, len(frames)) if not np.array_equal(frames[t], frames[t - 1]))]
    for before, after in pairwise(changed):
        flow[before + 1 : after + 1] = between(frames[before], frames[after]) / (after - before)
    if len(changed) > 1:
        flow[0], flow[changed[-1] + 1 :] = flow[1], flow[changed[-1]]
    return flow
