"""The grabber process: one source into the shared ring, its newest frame told to whoever listens."""

from __future__ import annotations

import random
import threading
from typing import Literal

import cv2
import zmq

from rtx.capture.source import Source, SourceLost, Stamp
from rtx.capture.sources import open_source
from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera
from rtx.errors import UserError
from rtx.link.frames import FrameWriter
from rtx.link.sockets import Sockets, drain, endpoint, read_keys
from rtx.link.wire import CameraState, unpack_shown
from rtx.process import Report, Start
from rtx.redact import redact

State = Literal["opening", "live", "lost", "ended"]

SILENT_S = 2.0
"""A live source without a frame for so long is called lost."""
HUNG_S = 20.0
"""A read or open that has not come back for so long never will: the process ends and is started anew."""
BACKOFF_S = (0.5, 8.0)
LINGER_S = 1.0


class SourceHung(RuntimeError):
    """A driver call does not come back."""


def run(start: Start, stop: threading.Event, report: Report) -> None:
    """Frames of one camera until `stop` or the source's end."""
    cv2.setNumThreads(1)
    camera, link = start.pipeline.camera[start.index], start.pipeline.link
    only = len(start.pipeline.camera) == 1
    with Sockets(read_keys(link.keys) if link.keys else None) as sockets:
        writer = FrameWriter(sockets, link, start.folder, start.index, camera.name)
        shown = sockets.collect(endpoint("ipc", start.folder, "shown", start.index)) if camera.pace == "every" else None
        loop = _Loop(camera, writer, stop, report, shown, only, start.restarts == 0)
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        while thread.is_alive() and not stop.is_set():
            loop.watch()
            thread.join(0.02 if link.frames != "ipc" else 0.2)
        if not stop.is_set():
            if loop.error is not None:
                raise loop.error
            loop.say_goodbye()
        elif thread.is_alive():
            thread.join(1.0)
        if not thread.is_alive():
            writer.close()


class _Loop:
    """Reads in one thread (`run`); another watches that it does (`watch`)."""

    def __init__(
        self, camera: Camera, writer: FrameWriter, stop: threading.Event, report: Report,
        shown: zmq.Socket[bytes] | None, only: bool, first_life: bool,
    ):  # fmt: skip
        self.camera, self.writer, self.stop, self.report, self.shown = camera, writer, stop, report, shown
        self.error: Exception | None = None
        self._only, self._first_life = only, first_life
        self._source: Source | None = None
        # Another number after every restart, so that nobody takes the new frames for the old ones' continuation.
        self._epoch = now()
        self._since = now()
        self._moved = now()
        self._state: State = "opening"
        self._reason = ""
        self._told = 0

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.error = error

    def _run(self) -> None:
        source = self._source = open_source(self.camera, self.stop)
        wait, ever = BACKOFF_S[0], False
        while not self.stop.is_set():
            try:
                self._moved = now()
                source.open()
                self._epoch += 1
                before = self.writer.seq
                while not self.stop.is_set():
                    stamp = source.read(self.writer.canvas)
                    if stamp is None:
                        break
                    self._publish(stamp)
                    wait, ever = BACKOFF_S[0], True
                if self.writer.seq == before and not self.stop.is_set():
                    raise UserError(f"{self.camera.source!r} holds no frame that can be read")
                if self.stop.is_set() or not self.camera.loop:
                    return
            except (SourceLost, UserError) as error:
                source.close()
                if not ever and self._first_life and (self._only or isinstance(error, UserError)):
                    raise UserError(redact(error)) from None
                self._set("lost", redact(error))
                self.report.counts["reopened"] += 1
                # With jitter, so that a hall of cameras behind one switch does not come back in step.
                self.stop.wait(wait * random.uniform(0.7, 1.3))
                self._moved = now()
                wait = min(wait * 2, BACKOFF_S[1])
        source.close()

    def _publish(self, stamp: Stamp) -> None:
        self._epoch += stamp.jump
        self.writer.publish(self._epoch, stamp.t_capture, stamp.truth)
        self.report.count("captured")
        self.report.age("capture", ms(now() - stamp.t_capture))
        self._moved = now()
        self._set("live", "")
        if self.shown is not None:
            self._wait_until_shown()

    def _wait_until_shown(self) -> None:
        """`pace = "every"`: the next frame waits until this one was explained and shown."""
        assert self.shown is not None
        again = now()
        while not self.stop.is_set():
            self._moved = now()
            if self.shown.poll(100):
                acks = [unpack_shown(data) for data in drain(self.shown)]
                if any((ack.epoch, ack.seq) == (self._epoch, self.writer.seq) for ack in acks):
                    return
            elif now() - again > NS_PER_S // 2:  # A reader that came late, or anew, has not heard of it.
                again = now()
                self.writer.publish_again()

    def watch(self) -> None:
        """From the main thread: serve the clock, tell the state, notice a source that does not come back."""
        self.report.alive(self._words())
        for cause, attribute in (("late", "skipped"), ("decode", "decode_errors")):
            if count := getattr(self._source, attribute, 0):
                self.report.drops[cause] = count
        self.writer.serve_clock()
        still = (now() - self._moved) / NS_PER_S
        if self._state == "live" and still > SILENT_S:
            self._set("lost", f"no frame for {SILENT_S:.0f} s")
        if self._state in ("opening", "lost") and now() - self._told > NS_PER_S // 2:
            self._tell()
        if still > HUNG_S:
            raise SourceHung(f"camera {self.camera.name}: the source has not answered for {still:.0f} s")

    def say_goodbye(self) -> None:
        """The source has ended: say so for a while, for readers that are busy."""
        self._set("ended", "")
        for _ in range(int(LINGER_S / 0.1)):
            self._tell()
            self.writer.serve_clock()
            if self.stop.wait(0.1):
                return

    def _set(self, state: State, reason: str) -> None:
        changed = (state, reason) != (self._state, self._reason)
        if state != self._state:
            self._since = now()
        self._state, self._reason = state, reason
        if changed and state != "live":
            self._tell()

    def _tell(self) -> None:
        self._told = now()
        name, reason = self.camera.name, self._reason[:200]
        self.writer.tell(CameraState(camera=name, state=self._state, since=self._since, reason=reason))

    def _words(self) -> str:
        if self._state == "lost":
            return f"camera lost {(now() - self._since) / NS_PER_S:.0f} s: {self._reason}"
        return self._state
