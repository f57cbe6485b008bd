"""Frames across a link: through the shared ring on one host, as JPEG between hosts; the reader need not know which."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from rtx.clock import now
from rtx.config import Link
from rtx.errors import UserError
from rtx.link.offset import ClockAnswer, ClockOffset
from rtx.link.ring import DEFAULT_MEMORY, RingGone, RingReader, RingWriter, Torn
from rtx.link.sockets import Sockets, endpoint
from rtx.link.wire import MAX_MESSAGE_BYTES, BadMessage, CameraState, FrameJpeg, FrameRef, Truth, pack, unpack_frame


@dataclass(frozen=True)
class Frame:
    """One picture of one camera. `t_capture` is in this host's monotonic ns."""

    camera: str
    epoch: int
    seq: int
    t_capture: int
    pixels: NDArray[np.uint8]
    """H W 3, BGR."""
    truth: Truth | None = None


class FrameWriter:
    """The grabber's end: `canvas`, draw, `publish`; never waits."""

    def __init__(self, sockets: Sockets, link: Link, folder: str, index: int, camera: str):
        self.camera = camera
        self.seq = -1
        self._link = link
        self._socket = sockets.publish(endpoint(link.frames, folder, "frames", index))
        self._clock = None
        if link.frames != "ipc":
            self._clock = ClockAnswer(sockets.answer(endpoint(link.frames, folder, "frames-clock", index)))
        self._ring: RingWriter | None = None
        self._picture: NDArray[np.uint8] | None = None
        self._slot = 0
        self._last: bytes | None = None
        self._lock = threading.Lock()

    def canvas(self, height: int, width: int) -> NDArray[np.uint8]:
        """The array to draw the next frame into: uint8 H W 3 BGR."""
        if self._clock is not None:
            if self._picture is None or self._picture.shape[:2] != (height, width):
                self._picture = np.empty((height, width, 3), np.uint8)
            return self._picture
        if self._ring is None or (self._ring.height, self._ring.width) != (height, width):
            if self._ring is not None:
                self._ring.close()
            memory = DEFAULT_MEMORY if self._link.memory == "auto" else self._link.memory
            self._ring = RingWriter(height, width, memory=memory)
        self._slot, self._picture = self._ring.begin(self.seq + 1)
        return self._picture

    def publish(self, epoch: int, t_capture: int, truth: Truth | None = None) -> None:
        """The canvas is drawn: tell the readers."""
        assert self._picture is not None
        self.seq += 1
        height, width = self._picture.shape[:2]
        about: dict[str, Any] = {
            "camera": self.camera, "epoch": epoch, "seq": self.seq, "t_capture": t_capture,
            "height": height, "width": width, "truth": truth,
        }  # fmt: skip
        if self._ring is None:
            quality = [cv2.IMWRITE_JPEG_QUALITY, self._link.jpeg_quality]
            self._last = pack(FrameJpeg(**about, jpeg=cv2.imencode(".jpg", self._picture, quality)[1].tobytes()))
            if len(self._last) > MAX_MESSAGE_BYTES:  # The reader's end would close the connection, for good.
                raise UserError(
                    f"camera {self.camera!r}: a frame of {width} x {height} makes {len(self._last) / 2**20:.0f} MB of "
                    f"JPEG, a message holds {MAX_MESSAGE_BYTES >> 20}; lower link.jpeg_quality or camera.width"
                )
        else:
            self._ring.end(self.seq)
            self._last = pack(FrameRef(**about, ring=self._ring.address, slot=self._slot))
        self._send(self._last)

    def publish_again(self) -> None:
        """The last frame once more, for a reader that came late."""
        if self._last is not None:
            self._send(self._last)

    def tell(self, state: CameraState) -> None:
        self._send(pack(state))

    def serve_clock(self) -> None:
        """Answer other hosts that ask for the time."""
        if self._clock is not None:
            self._clock.serve()

    def _send(self, data: bytes) -> None:
        with self._lock:  # One thread reads the source, another tells how it is.
            self._socket.send(data, zmq.NOBLOCK)

    def close(self) -> None:
        self._picture = None
        if self._ring is not None:
            self._ring.close()


class FrameReader:
    """A reader's end: the newest frame of one camera, or its state.

    `drops` counts by cause: `stale` (replaced by a newer one before it was read), `lapped` (overwritten while it
    was read), `gone` (its memory is no longer there), `decode`, `malformed`.
    """

    def __init__(self, sockets: Sockets, link: Link, folder: str, index: int):
        self.socket = sockets.newest(endpoint(link.frames, folder, "frames", index))
        self.offset = None
        if link.frames != "ipc":
            self.offset = ClockOffset(sockets.ask(endpoint(link.frames, folder, "frames-clock", index)))
        self.drops: Counter[str] = Counter()
        self._ring: RingReader | None = None
        self._last: tuple[int, int] | None = None

    def take(self) -> Frame | CameraState | None:
        """The newest frame where it lies (use it, then `whole`), the camera's state, or None where nothing is new."""
        if self.offset is not None:
            self.offset.step()
        try:
            message = unpack_frame(self.socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None
        except BadMessage:
            self.drops["malformed"] += 1
            return None
        if isinstance(message, CameraState):
            return self._local_state(message)
        if self.offset is not None and isinstance(message, FrameRef):
            self.drops["malformed"] += 1  # Another host cannot know of memory here.
            return None
        if self._last is not None and message.epoch == self._last[0] and message.seq > self._last[1]:
            self.drops["stale"] += message.seq - self._last[1] - 1
        self._last = (message.epoch, message.seq)
        pixels = self._pixels(message)
        if pixels is None:
            return None
        local = message.t_capture - (self.offset.offset if self.offset is not None else 0)
        return Frame(message.camera, message.epoch, message.seq, local, pixels, message.truth)

    @property
    def ready(self) -> bool:
        """False while another host's clock is not known: until then no age can be told."""
        return self.offset is None or self.offset.known

    def whole(self, frame: Frame) -> bool:
        """After the pixels were used: were they those of the frame to the end? A torn frame is counted."""
        if self._ring is None:
            return True
        try:
            self._ring.check(frame.seq, frame.seq % self._ring.slots)
        except Torn:
            self.drops["lapped"] += 1
            return False
        return True

    def _pixels(self, message: FrameRef | FrameJpeg) -> NDArray[np.uint8] | None:
        if isinstance(message, FrameJpeg):
            pixels = cv2.imdecode(np.frombuffer(message.jpeg, np.uint8), cv2.IMREAD_COLOR)
            if pixels is None or pixels.shape[:2] != (message.height, message.width):
                self.drops["decode"] += 1
                return None
            return np.asarray(pixels, np.uint8)
        try:
            if self._ring is None or self._ring.address != message.ring:
                if self._ring is not None:
                    self._ring.close()
                    self._ring = None
                self._ring = RingReader(message.ring)
            return self._ring.view(message.seq, message.slot, message.height, message.width)
        except Torn:
            self.drops["lapped"] += 1
        except RingGone:
            self.drops["gone"] += 1
        return None

    def _local_state(self, state: CameraState) -> CameraState:
        """The state with `since` in this host's clock."""
        if self.offset is None:
            return state
        return CameraState(
            camera=state.camera,
            state=state.state,
            since=state.since - self.offset.offset,
            reason=state.reason,
        )

    def close(self) -> None:
        """Belongs to the thread that takes frames."""
        self.socket.close(0)
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    @property
    def age_uncertainty_ms(self) -> float:
        return self.offset.uncertainty / 1e6 if self.offset is not None else 0.0

    def age_ms(self, frame: Frame) -> float:
        return (now() - frame.t_capture) / 1e6
