"""The recorder process: takes the frames of the cameras that are recorded; a thread of its own makes clips of them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.config import Events
from rtx.events.recording import MAX_WIDTH, Recorder, Taken
from rtx.health import HealthReader
from rtx.link.sockets import Sockets, read_keys
from rtx.process import Report, Start
from rtx.show.view import Look
from rtx.show.viewer import Viewer

NICENESS = 10
QUALITY = 88
LATE_S = 3.0
"""Where the oldest frame that waits to be looked at is so much older than the newest, only every other one is taken."""
LATEST_S = 10.0
"""Older ones make room."""
MOST_WAITING = 900
"""Frames that wait, at most."""
LAST_S = 3.0
"""At the end, so long for what is still open; what is cut off then is mended at the next start."""


def run(start: Start, stop: threading.Event, report: Report) -> None:
    """Record until `stop`."""
    cv2.setNumThreads(1)
    os.nice(NICENESS)
    pipeline = start.pipeline
    look = Look(pipeline.show.opacity, pipeline.show.display, pipeline.show.colours)
    with Sockets(read_keys(pipeline.link.keys) if pipeline.link.keys else None) as sockets:
        viewer, health = Viewer(sockets, pipeline, start.folder, beside=True), HealthReader(sockets, start.folder)
        with Writing(pipeline.events, look) as writing:
            recorded = set[str]()
            while not stop.is_set():
                health.step()
                if health.seats is not None:
                    viewer.follow(health.seats)
                    recorded = {seat.camera.name for seat in health.seats if seat.recording}
                    writing.follow(recorded)
                if not recorded:
                    stop.wait(0.2)
                for view in viewer.views(100) if recorded else ():
                    if view.camera in recorded:
                        explained = next(of.explained() for of in viewer.cameras if of.camera.name == view.camera)
                        writing.take(Taken(view.camera, view.epoch, view.t_capture, _jpeg(view.image), explained))
                writing.tell(report)


class Writing:
    """The recorder in a thread of its own: to encode takes longer than to take a frame, and in bursts."""

    def __init__(self, settings: Events, look: Look):
        self._settings, self._look = settings, look
        self._taken: deque[Taken] = deque()
        self._wanted = set[str]()
        self._number = self._backlog = self._newest = 0
        self._words = "starting"
        self._recorder: Recorder | None = None
        self._error: BaseException | None = None
        self._end, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def follow(self, cameras: set[str]) -> None:
        self._wanted = cameras

    def take(self, taken: Taken) -> None:
        """One more frame to be looked at. What comes too quickly is thinned, what waits too long left out; counted."""
        self._number += 1
        if self.late_s(taken.t) > LATE_S and self._number % 2:
            self._backlog += 1
            return
        self._taken.append(taken)
        while len(self._taken) > MOST_WAITING or self.late_s(taken.t) > LATEST_S:
            with contextlib.suppress(IndexError):  # The other thread took it.
                self._taken.popleft()
                self._backlog += 1
        self._newest = taken.t
        self._wake.set()

    def late_s(self, newest: int) -> float:
        """How much older than this the oldest frame is that waits."""
        try:
            return (newest - self._taken[0].t) / NS_PER_S
        except IndexError:
            return 0.0

    def tell(self, report: Report) -> None:
        """Say how it is. Raises what has ended the thread."""
        if self._error is not None:
            raise self._error
        if self._recorder is None:
            return
        report.counts.update({name: n - report.counts[name] for name, n in self._recorder.counts.items()})
        report.facts["trouble"] = self._recorder.trouble
        if self._backlog:
            report.drops["backlog"] = self._backlog
        late = self.late_s(self._newest)
        report.alive(f"{late:.0f} s behind, {self._words}" if late > LATE_S else self._words)

    def _run(self) -> None:
        try:
            with Recorder(self._settings, self._look) as self._recorder:
                while not self._end.is_set():
                    self._recorder.follow(self._wanted)
                    while self._taken and not self._end.is_set():
                        self._recorder.follow(self._wanted)
                        self._recorder.step(self._taken.popleft())
                        self._recorder.idle()
                        self._words = self._recorder.words
                    self._recorder.idle()
                    self._words = self._recorder.words
                    self._wake.wait(0.5)
                    self._wake.clear()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._wake.set()
        self._thread.join(LAST_S)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    if image.shape[1] > MAX_WIDTH:
        size = (MAX_WIDTH, round(image.shape[0] * MAX_WIDTH / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
