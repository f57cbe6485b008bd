"""What the capture tests share: a canvas to draw on, small videos, an RTSP camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rtx.capture.clockbars import draw_clock
from rtx.capture.source import Pixels
from rtx.clock import NS_PER_MS
from tests.rtsp import RtspServer, why_not

MakeVideo = Callable[..., Path]


class Paper:
    """A canvas that keeps what was drawn last, and hands out the same memory for the same size."""

    def __init__(self) -> None:
        self._sheets: dict[tuple[int, int], Pixels] = {}
        self.picture: Pixels = np.zeros((0, 0, 3), np.uint8)

    def __call__(self, height: int, width: int) -> Pixels:
        self.picture = self._sheets.setdefault((height, width), np.zeros((height, width, 3), np.uint8))
        return self.picture


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """`make_video(n, fps)`: an H.264 MP4 whose frame i carries i seconds as its clock; left half dark."""

    def make(frames: int = 10, fps: int = 25, size: tuple[int, int] = (640, 360), name: str = "v.mp4") -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for index in range(frames):
                picture = np.full((size[1], size[0], 3), 60, np.uint8)
                picture[:, size[0] // 2 :] = 180
                draw_clock(picture, index * 1000 * NS_PER_MS)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode())
        assert cv2.VideoCapture(str(path)).isOpened()
        return path

    return make


@pytest.fixture(scope="session")
def _rtsp_possible() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def rtsp_server(_rtsp_possible: None) -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server
