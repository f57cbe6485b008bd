"""A video file through OpenCV: at its own pace like a camera, or every frame without waiting."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import cv2

from rtx.capture.canvas import Retriever
from rtx.capture.pace import wait_until
from rtx.capture.source import Canvas, SourceLost, Stamp
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Camera, resolve
from rtx.errors import UserError
from rtx.redact import redact

_USUAL_FPS = 30.0
_MOST_FPS = 1000.0
_LONGEST_STEP_MS = 10_000.0
"""A longer step between two frames' time stamps is taken for a broken one."""
_LONGEST_SKIP = NS_PER_S
"""Media time skipped at one read: a file too heavy for this machine must still show something."""


class File:
    """Portrait videos are turned upright (OpenCV heeds the rotation in the file)."""

    def __init__(self, camera: Camera, stop: threading.Event | None = None) -> None:
        self._path = Path(resolve(camera.source)).expanduser()
        self._name = repr(redact(camera.source))  # As it was written: a variable's value is not for every eye.
        self._mirror = camera.mirror
        self._stop = stop or threading.Event()
        self._capture: cv2.VideoCapture | None = None
        self._retriever: Retriever | None = None
        self.live = camera.pace == "realtime"
        self.assumed_fps: float | None = None
        """The rate taken where the file states none that makes sense."""
        self.skipped = 0
        """Frames not given because the reader was late."""

    def open(self) -> None:
        """Begin at the first frame. UserError where there is no such file, or no video in it."""
        self.close()
        if not self._path.is_file():
            raise UserError(f"no file {self._name}; give a video file, a webcam, rtsp://..., scene:hall or synthetic:")
        try:
            str(self._path).encode()
        except UnicodeEncodeError:  # OpenCV would end the process.
            raise UserError(f"{self._name}: OpenCV opens files whose names are UTF-8 only; rename it") from None
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise UserError(f"{self._name} is not a video that can be read; `ffmpeg -i IN OUT.mp4` makes one")
        fps = capture.get(cv2.CAP_PROP_FPS)
        sensible = math.isfinite(fps) and 0 < fps <= _MOST_FPS
        self.assumed_fps = None if sensible else _USUAL_FPS
        self._period_ms = 1000 / (fps if sensible else _USUAL_FPS)
        self._start: int | None = None
        self._position_ms = 0.0
        self._media_ms = 0.0
        self._capture = capture
        self._retriever = Retriever(capture, self._mirror)

    def read(self, canvas: Canvas) -> Stamp | None:
        """The next frame that is due; None at the end, or where `stop` was set while waiting."""
        if self._capture is None or self._retriever is None:
            raise SourceLost(f"{self._name} is not open")
        due = self._grab(self._capture)
        if self.live and due is not None:
            due = self._catch_up(self._capture, due)
        if due is None or (self.live and not wait_until(due, self._stop)):
            return None
        return Stamp(due) if self._retriever.draw(canvas) else None

    def seek(self, seconds: float) -> None:
        """Go on near that time of the file; `position_s` tells, after the next frame, where that was."""
        if self._capture is not None:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, seconds * 1000)

    @property
    def period(self) -> int:
        """Time between two frames, in ns."""
        return int(self._period_ms * NS_PER_MS)

    @property
    def stated_frames(self) -> int | None:
        """How many frames the file says it has; None where what it says makes no sense (raw or live-muxed files)."""
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) if self._capture is not None else math.nan
        return int(count) if math.isfinite(count) and count > 1 else None

    def run_through(self) -> int:
        """Go to the end without making pictures: time of the last frame after the first, in ns."""
        while self._capture is not None and self._grab(self._capture) is not None:
            pass
        return int(self._media_ms * NS_PER_MS)

    @property
    def position_s(self) -> float:
        """The last frame's time in the file, by its own time stamps; 0 where it has none."""
        return self._position_ms / 1000

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = self._retriever = None

    def _catch_up(self, capture: cv2.VideoCapture, due: int) -> int | None:
        """Grab, without making pictures of them, the frames that are over by more than one period."""
        furthest = due + _LONGEST_SKIP
        late: int | None = due
        while late is not None and late < min(now() - self.period, furthest):
            self.skipped += 1
            late = self._grab(capture)
        return late

    def _grab(self, capture: cv2.VideoCapture) -> int | None:
        """Monotonic ns at which the next frame is due, or None at the end."""
        if not capture.grab():
            return None
        position = capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._start is None:
            self._start = now()
        else:
            step = position - self._position_ms
            self._media_ms += step if 0 < step < _LONGEST_STEP_MS else self._period_ms
        self._position_ms = position
        return self._start + int(self._media_ms * NS_PER_MS)
