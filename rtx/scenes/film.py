"""Clips of the drawn hall, with the truth: what networks are trained on and explainers are judged on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import Act
from rtx.scenes.scene import Cast, Scene, label_picture


class Film(NamedTuple):
    """Frames of one scene."""

    frames: NDArray[np.uint8]
    """T H W 3, BGR."""
    labels: NDArray[np.uint8]
    """T H W, see `label_picture`."""
    acts: list[Act]
    """What the figure does in each frame."""

    def last(self, frames: int) -> Film:
        """So many at its end."""
        return Film(self.frames[-frames:], self.labels[-frames:], self.acts[-frames:])


def film(cast: Cast, frames: int, fps: float, height: int, width: int, begin_s: float = 0.0) -> Film:
    """So many frames of a cast at that rate."""
    scene = Scene(cast, height, width)
    moments = scene.moments(begin_s + np.arange(frames) / fps)
    pictures = np.empty((frames, height, width, 3), np.uint8)
    labels = np.empty((frames, height, width), np.uint8)
    for picture, label, moment in zip(pictures, labels, moments, strict=True):
        scene.paint(picture, moment)
        label_picture(moment.strokes, label)
    return Film(pictures, labels, [moment.act for moment in moments])
