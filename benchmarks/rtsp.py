"""An RTSP camera to a worker that takes 100 ms a frame: how old is what it gets, and does that stay so?

The server draws its clock into each frame; ages are read off the pixels. `source` reads the camera in this process as
fast as it comes, `rtx` through grabber process and ring, `opencv` is the plain loop that a user would write.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import keep, percentiles, show
from rtx.capture.clockbars import read_clock
from rtx.capture.rtsp import Rtsp
from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera, of_sources
from rtx.link.frames import Frame, FrameReader
from rtx.link.sockets import Sockets
from rtx.supervise import Supervisor
from tests.rtsp import RtspServer

SLOW_S = 0.1
Pictures = Iterator[NDArray[np.uint8] | None]
"""Pictures as they come; None where there is none yet."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    chosen = options.parse_args()
    runs: dict[str, Any] = {}
    ways: dict[str, tuple[Callable[[str], Pictures], float, float]] = {
        "source": (_source, 0.0, 15.0),
        "rtx": (_rtx, SLOW_S, chosen.seconds),
        "opencv": (_opencv, SLOW_S, min(20.0, chosen.seconds)),
    }
    for name, (way, pause, seconds) in ways.items():
        with RtspServer(size="1280x720", fps=30) as server:
            runs[name] = _ages(way(server.url), pause, seconds)
    rows = [
        [name, r["age_ms"]["p50"], r["age_ms"]["p95"], r["first_half_p50"], r["second_half_p50"], r["age_ms"]["n"]]
        for name, r in runs.items()
    ]
    show(
        "RTSP 720p30, age read off the pixels, ms",
        ["way", "p50", "p95", "first half p50", "second half p50", "frames"],
        rows,
    )
    keep("rtsp", {"consumer_ms": SLOW_S * 1000, "runs": runs})


def _ages(pictures: Pictures, pause: float, seconds: float) -> dict[str, Any]:
    """Ages of the pictures that a consumer with `pause` gets, the first 3 s left out."""
    ages: list[float] = []
    begun = now()
    for picture in pictures:
        passed = (now() - begun) / NS_PER_S
        if passed > seconds + 3:
            break
        if picture is None:
            continue
        drawn = read_clock(picture)
        if drawn is not None and passed > 3:
            ages.append(ms(now() - drawn))
        time.sleep(pause)
    half = len(ages) // 2
    return {
        "age_ms": percentiles(ages),
        "first_half_p50": percentiles(ages[:half])["p50"],
        "second_half_p50": percentiles(ages[half:])["p50"],
    }


def _source(url: str) -> Pictures:
    source = Rtsp(Camera(source=url))
    source.open()
    picture = np.empty((720, 1280, 3), np.uint8)
    while source.read(lambda height, width: picture) is not None:
        yield picture


def _rtx(url: str) -> Pictures:
    pipeline = of_sources([url], ['link.parts=["capture"]'])
    with Supervisor(pipeline, own_reader=True) as run, Sockets() as sockets:
        reader = FrameReader(sockets, pipeline.link, run.folder, 0)
        ended = threading.Event()
        keeper = threading.Thread(target=_keep_stepping, args=(run, ended), daemon=True)
        keeper.start()
        try:
            while True:
                taken = reader.take() if reader.socket.poll(100) else None
                picture = taken.pixels.copy() if isinstance(taken, Frame) else None
                yield picture if isinstance(taken, Frame) and reader.whole(taken) else None
        finally:
            ended.set()
            keeper.join()


def _keep_stepping(run: Supervisor, ended: threading.Event) -> None:
    while not ended.is_set():
        run.step()


def _opencv(url: str) -> Pictures:
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    while True:
        ok, picture = capture.read()
        if not ok:
            return
        yield np.asarray(picture, np.uint8)


if __name__ == "__main__":
    main()
