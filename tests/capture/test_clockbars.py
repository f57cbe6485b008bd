"""The capture clock survives what lies between a camera and a screen, and is never misread."""

from __future__ import annotations

import io
import time

import av
import cv2
import numpy as np
import pytest

from rtx.capture.clockbars import draw_clock, read_clock
from rtx.capture.source import Pixels
from rtx.clock import NS_PER_MS

TIMES = [0, 1, 123_456_789, 2**32 + 5, 2**40 - 1, *np.random.default_rng(3).integers(0, 2**41, 20).tolist()]


def _noisy(height: int = 720, width: int = 1280) -> Pixels:
    random = np.random.default_rng(0)
    rough = random.integers(0, 255, (height // 40, width // 40, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (width, height)), np.uint8)


def _clocked(ms: int, height: int = 720, width: int = 1280) -> Pixels:
    image = _noisy(height, width)
    draw_clock(image, ms * NS_PER_MS)
    return image


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (480, 640), (361, 643), (640, 360), (120, 160)])
def test_what_is_drawn_is_read(size: tuple[int, int]) -> None:
    for ms in TIMES:
        assert read_clock(_clocked(ms, *size)) == ms * NS_PER_MS


def test_only_the_top_strip_is_touched() -> None:
    assert (_clocked(77)[60:] == _noisy()[60:]).all()


@pytest.mark.parametrize("scale", [0.5, 0.37, 2.0])
def test_scaling(scale: float) -> None:
    for ms in TIMES:
        image = cv2.resize(_clocked(ms), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        assert read_clock(np.asarray(image, np.uint8)) == ms * NS_PER_MS


def test_jpeg_q60_after_halving() -> None:
    for ms in TIMES:
        half = cv2.resize(_clocked(ms), None, fx=0.5, fy=0.5)
        _, data = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 60])
        assert read_clock(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)) == ms * NS_PER_MS


def test_h264() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "28", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for ms in TIMES:
            frame = av.VideoFrame.from_ndarray(_clocked(ms, 360, 640), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        read = [read_clock(np.asarray(f.to_ndarray(format="bgr24"), np.uint8)) for f in container.decode(video=0)]
    assert read == [ms * NS_PER_MS for ms in TIMES]


@pytest.mark.parametrize("colours", [cv2.COLORMAP_JET, cv2.COLORMAP_INFERNO])
@pytest.mark.parametrize("zoom", [cv2.INTER_LINEAR, cv2.INTER_NEAREST])
def test_under_a_heatmap(colours: int, zoom: int) -> None:
    random = np.random.default_rng(1)
    for ms in TIMES:
        image = _clocked(ms)
        grid = random.integers(0, 255, (7, 7), dtype=np.uint8)
        heat = cv2.applyColorMap(cv2.resize(grid, (1280, 720), interpolation=zoom), colours)
        mixed = cv2.addWeighted(image, 0.4, heat, 0.6, 0)
        _, data = cv2.imencode(".jpg", mixed, [cv2.IMWRITE_JPEG_QUALITY, 60])
        assert read_clock(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)) == ms * NS_PER_MS


def test_none_where_no_clock_is() -> None:
    random = np.random.default_rng(2)
    for _ in range(200):
        assert read_clock(random.integers(0, 255, (90, 320, 3), dtype=np.uint8)) is None
    assert read_clock(_noisy()) is None
    assert read_clock(np.zeros((720, 1280, 3), np.uint8)) is None
    assert read_clock(np.zeros((2, 1280, 3), np.uint8)) is None


@pytest.mark.parametrize("column", range(0, 64, 7))
def test_a_flipped_bit_is_noticed(column: int) -> None:
    image = _clocked(123_456_789)
    cell = image[:40, column * 20 : column * 20 + 20]
    cell[...] = 255 - cell
    assert read_clock(image) is None


def test_two_times_mixed_are_not_read() -> None:
    torn = _clocked(1000)
    torn[:, 640:] = _clocked(987_654_321)[:, 640:]
    assert read_clock(torn) is None
    assert read_clock(cv2.addWeighted(_clocked(1000), 0.5, _clocked(987_654_321), 0.5, 0)) is None


def test_drawing_is_cheap() -> None:
    image = _noisy()
    began = time.process_time()
    for ms in range(100):
        draw_clock(image, ms * NS_PER_MS)
    assert (time.process_time() - began) / 100 < 1e-3  # measured: well under 0.3 ms; the margin is for neighbours
