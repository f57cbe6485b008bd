"""The whole way, live: a 720p30 file and the synthetic pattern with I3D, on torch and on OpenVINO; the drawn hall with
its own network, which explains every frame; through all processes, with the page served. And an RTSP camera that draws
its clock, by rtx and by what one would write instead (benchmarks/naive.py).

The page's viewer runs elsewhere: here a client takes what a browser would take, undecoded, and once a second reads the
capture clock off the pixels of one picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
from websockets.sync.client import connect
from websockets.typing import Origin

from benchmarks.record import keep, percentiles, show
from rtx.capture.clockbars import read_clock
from rtx.capture.source import Stamp
from rtx.capture.synthetic import Synthetic
from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera, Pipeline, of_sources
from rtx.demo import HALL
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.report import RunReport, summarise
from rtx.supervise import Supervisor
from tests.rtsp import RtspServer

GOALS = {"shown of 30": 29.0, "explained a second": 3.0, "heatmap age p95 ms": 700.0}
OPENVINO_GOALS = {"explained a second": 5.5, "heatmap age p95 ms": 400.0}
HALL_GOALS = {
    "explained a second": 29.0, "heatmap age p95 ms": 80.0, "age reported against pixels ms": 10.0,
    "first heatmap s, two cameras": 5.0,
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=30, help="of each run, after the first heatmap")
    options.add_argument("--port", type=int, default=8652)
    chosen = options.parse_args()
    seconds, port = chosen.seconds, chosen.port
    openvino = find_spec("openvino") is not None
    with tempfile.TemporaryDirectory() as folder:
        movie = Path(folder) / "720p30.mp4"
        _write_movie(movie, seconds + 40)
        runs = {
            "file 720p30": _run(str(movie), seconds, port),
            "file 720p30, ksigma": _run(str(movie), seconds, port + 1, explainer="ksigma"),
            "synthetic 720p30": _run("synthetic:?size=1280x720&fps=30", seconds, port + 2),
            "hall 720p30": _run(f"{HALL[0]}&clock=1", seconds, port + 3),
            "the demo's two halls": _run(HALL, seconds, port + 4),
        }
        if openvino:
            runs["file 720p30, openvino"] = _run(str(movie), seconds, port + 5, backend="openvino")
            runs["file 720p30, openvino, ksigma"] = _run(
                str(movie), seconds, port + 6, backend="openvino", explainer="ksigma"
            )
    with RtspServer(size="1280x720", fps=30) as server:
        runs["RTSP 720p30"] = _run(server.url, seconds, port + 7)
    with RtspServer(size="1280x720", fps=30) as server:
        naive = _naive(server.url, seconds)
    header = [
        "source",
        "shown /s",
        "explained /s",
        "heatmap ms p50",
        "p95",
        "misaligned p95",
        "pixels ms p50",
        "misses",
        "worker CPU ms a frame",
    ]
    rows = []
    for name, run in runs.items():
        report, ages = run["report"], run["report"]["ages_ms"]
        rows.append([
            name, report["display_fps"], report["explained_per_s"], ages["heatmap"]["p50"], ages["heatmap"]["p95"],
            ages["misalignment"]["p95"], run["pixel_age_ms"]["p50"], report["deadline_misses"],
            report["cpu_ms_per_frame"]["worker"],
        ])  # fmt: skip
    rows.append(
        ["RTSP 720p30, naive", "-", naive["explained_per_s"], *(naive["heatmap_ms"][k] for k in ("p50", "p95"))]
    )
    show(f"live, {seconds:g} s each", header, [[*row, *[None] * (len(header) - len(row))] for row in rows])
    goals = {"goals": GOALS, "openvino_goals": OPENVINO_GOALS, "hall_goals": HALL_GOALS}
    # A machine that does without bf16 is another kind of machine, and takes no result's place.
    keep("live" if cpu_has_bf16() else "live-fp32", {**goals, "runs": runs, "naive": naive})


def _naive(url: str, seconds: float) -> dict[str, Any]:
    """In a process of its own, as it would be."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.naive", url, str(seconds)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write_movie(path: Path, seconds: float) -> None:
    """The synthetic pattern as H.264, 720p30, as a camera would record it."""
    source = Synthetic(Camera(source="synthetic:?size=1280x720&fps=30", pace="every"), threading.Event())
    source.open()
    picture = np.empty((720, 1280, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.time_base = Fraction(1, 30)
        for number in range(int(seconds * 30)):
            drawn: Stamp | None = source.read(lambda height, width: picture)
            assert drawn is not None
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _run(source: str | Sequence[str], seconds: float, port: int, **worker: str) -> dict[str, Any]:
    """All processes over one source or several, a viewer that only takes; what it came to. Nothing is given up."""
    sources = [source] if isinstance(source, str) else list(source)
    asked = [f"worker.{key}={json.dumps(value)}" for key, value in worker.items()]
    pipeline = of_sources(sources, [*asked, f"page.port={port}", "budget.deadline_misses=1.0"])
    viewer = _Taker(pipeline)
    with Supervisor(pipeline) as run:
        thread = threading.Thread(target=viewer.take, daemon=True)
        deadline = now() + 60 * NS_PER_S
        until: int | None = None
        while run.step() and now() < (until or deadline):
            if not thread.ident and any(c.status and c.status.running for c in run.children if c.role == "display"):
                thread.start()
            if until is None and summarise(run).first_heatmap_s is not None:
                until = now() + int((seconds + 2) * NS_PER_S)  # The first 2 s are warm-up.
        viewer.stop.set()
        if thread.ident:
            thread.join(5)
    report: RunReport = summarise(run)
    return {
        "report": msgspec.to_builtins(report),
        "pixel_age_ms": percentiles(viewer.pixel_ages),
        "reported_off_by_ms": percentiles(viewer.off_by),
        "viewer": {"pictures": viewer.pictures, "per_s": round(viewer.pictures / max(1e-9, viewer.seconds), 2)},
    }


class _Taker:
    """A page's viewer without a screen: asks as the browser does, decodes one picture a second."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.stop = threading.Event()
        self.pictures = 0
        self.seconds = 0.0
        self.pixel_ages: list[float] = []
        self.off_by: list[float] = []
        """Between the age that a message states and the one that its pixels show."""
        self._address = f"{pipeline.page.host}:{pipeline.page.port}"

    def take(self) -> None:
        begun = looked = time.monotonic()
        origin = Origin(f"http://{self._address}")
        with connect(f"ws://{self._address}/ws", origin=origin, max_size=1 << 24) as socket:
            socket.recv()
            for _ in range(2):
                socket.send("next")
            while not self.stop.is_set():
                try:
                    message = socket.recv(timeout=1)
                except TimeoutError:
                    continue
                arrived = now()
                if isinstance(message, str):
                    continue  # What is explained, and by what.
                length = int.from_bytes(message[:4], "little")
                header = msgspec.json.decode(message[4 : 4 + length])
                self.pictures += 1
                if header["last"]:
                    socket.send("next")
                if time.monotonic() - looked > 1:
                    looked = time.monotonic()
                    jpeg = message[4 + length + header["heat"][0] * header["heat"][1] :]
                    self._look(jpeg, arrived, header["frame_age_ms"])
                self.seconds = time.monotonic() - begun

    def _look(self, jpeg: bytes, arrived: int, stated_ms: float) -> None:
        taken = read_clock(np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8))
        # A file's bars tell when it was made, not when it was shown.
        if taken is not None and 0 <= arrived - taken < 10 * NS_PER_S:
            self.pixel_ages.append(ms(arrived - taken))
            self.off_by.append(abs(self.pixel_ages[-1] - stated_ms))


if __name__ == "__main__":
    main()
