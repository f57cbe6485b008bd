"""How a picture gets into the canvas: copied, mirrored, or retrieved by OpenCV straight into its memory."""

from __future__ import annotations

import cv2
import numpy as np

from rtx.capture.source import Canvas, Pixels


def place(picture: Pixels, canvas: Canvas, mirror: bool) -> None:
    """Copy a picture (uint8 H W 3 BGR) into the canvas, left and right swapped where `mirror` says so."""
    target = canvas(picture.shape[0], picture.shape[1])
    np.copyto(target, picture[:, ::-1] if mirror else picture)


def mirror_in_place(picture: Pixels) -> None:
    """Swap left and right of a C-contiguous picture (uint8 H W 3)."""
    cv2.flip(picture, 1, dst=picture)


class Retriever:
    """Draws the frame that `cv2.VideoCapture.grab` took on the canvas, without a copy where it can."""

    def __init__(self, capture: cv2.VideoCapture, mirror: bool) -> None:
        self._capture = capture
        self._mirror = mirror
        self._shape: tuple[int, int] | None = None

    def draw(self, canvas: Canvas) -> bool:
        """Draw the grabbed frame; False where it has no picture."""
        # The size is known from the first frame, and expected of the next ones.
        target = None if self._shape is None else canvas(*self._shape)
        ok, retrieved = self._capture.retrieve(target)
        if not ok:
            return False
        picture = np.asarray(retrieved, np.uint8)
        if target is not None and np.may_share_memory(picture, target):
            if self._mirror:
                mirror_in_place(target)
            return True
        if picture.ndim == 2:  # a grey camera
            picture = np.repeat(picture[:, :, None], 3, axis=2)
        self._shape = (picture.shape[0], picture.shape[1])
        place(picture, canvas, self._mirror)
        return True
