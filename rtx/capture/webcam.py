"""A webcam through OpenCV, by number, device path or name."""

from __future__ import annotations

import sys

import cv2

from rtx.capture import devices
from rtx.capture.canvas import Retriever
from rtx.capture.source import Canvas, SourceLost, Stamp
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Camera, resolve
from rtx.errors import UserError

_OLDEST = 2 * NS_PER_S
"""A driver's time stamp further back than this is on another clock."""


class Webcam:
    """`width`, `height` and `fps` are asked of the driver, which takes the nearest that it can."""

    live = True

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._source = resolve(camera.source)
        self._capture: cv2.VideoCapture | None = None
        self._retriever: Retriever | None = None
        self._seen = False

    def open(self) -> None:
        """UserError where there is no such webcam; SourceLost where there was one before."""
        self.close()
        try:
            self._capture = self._connected()
        except UserError as error:
            if self._seen:
                raise SourceLost(str(error)) from None
            raise
        self._seen = True
        self._retriever = Retriever(self._capture, self._camera.mirror)

    def read(self, canvas: Canvas) -> Stamp:
        """Wait for the next frame and draw it. SourceLost where the webcam gives none."""
        if self._capture is None or self._retriever is None:
            raise SourceLost(f"webcam {self._source}: not open")
        if not self._capture.grab():
            raise SourceLost(f"webcam {self._source}: it gives no more frames; was it unplugged?")
        stamp = Stamp(self._t_capture(self._capture, now()))
        if not self._retriever.draw(canvas):
            raise SourceLost(f"webcam {self._source}: its frame holds no picture")
        return stamp

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = self._retriever = None

    def _connected(self) -> cv2.VideoCapture:
        address = devices.address(self._source)
        linux = sys.platform.startswith("linux")
        capture = cv2.VideoCapture(address, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not capture.isOpened():
            capture.release()
            raise UserError(f"no webcam {self._source}: {devices.fault(address)}; rtx doctor lists cameras")
        self._set(capture)
        return capture

    def _set(self, capture: cv2.VideoCapture) -> None:
        camera = self._camera
        if (camera.height or 0) >= 720 or (camera.width or 0) >= 1280:
            # Uncompressed, USB 2 carries few of these a second. Before the size: the format picks the modes.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        if camera.width:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, camera.width)
        if camera.height:
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, camera.height)
        if camera.fps:
            capture.set(cv2.CAP_PROP_FPS, camera.fps)

    @staticmethod
    def _t_capture(capture: cv2.VideoCapture, arrival: int) -> int:
        """V4L2's time stamp of the buffer (monotonic on most drivers) where believable, else `arrival`."""
        stamp = capture.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS
        return int(stamp) if arrival - _OLDEST <= stamp <= arrival else arrival
