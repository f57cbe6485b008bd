"""The newest clip of one camera: a ring buffer of small frames, each resized once, sampled by capture time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_MS
from rtx.engine.flow import between
from rtx.geometry import Rect, input_rect, shown_part
from rtx.link.frames import Frame
from rtx.link.wire import Truth
from rtx.nets import cards

if TYPE_CHECKING:
    from rtx.nets.causal import Past

PAD_VALUE = 127
FINENESS = 4
"""Frames kept per sampling stride, so that a clip can end at the newest frame and not at a multiple of the stride."""


@dataclass(frozen=True)
class Clip:
    """Frames as the network will see them, and where and when they were taken."""

    camera: str
    epoch: int
    first_seq: int
    last_seq: int
    frames: NDArray[np.uint8] = field(repr=False)
    """T H W 3, BGR."""
    t_frames: tuple[int, ...]
    """Capture times, monotonic ns, oldest first."""
    height: int
    width: int
    """Of the camera's picture."""
    rect: Rect
    """The square of the picture that the frames are."""
    seen: Rect | None = None
    """The part of it that shows the picture (the rest is grey), where that is less than what lies in the picture."""
    truth: Truth | None = field(default=None, repr=False)
    """Of the newest frame, where that was drawn."""
    past: Past | None = None
    """Where a network follows the stream, `frames` is only the newest one, 1 H W 3; this is what it remembers."""
    whole: bool = True
    """False while the stream is younger than a clip: it is followed, but nothing is said of it."""
    since: int = 0
    """Capture time of the first frame that no clip before this one had seen."""
    before: tuple[NDArray[np.uint8], ...] = field(default=(), repr=False)
    """Where a network follows the stream: frames before the newest one, H W 3 each, oldest first. The last are the
    clip's; what comes before them, it depends on beside, as far as it was seen."""
    flow: NDArray[np.float32] | None = field(default=None, repr=False)
    """T H W 2: how each frame's pixels came there, in pixels a stride; where the network takes that."""


def see(pixels: NDArray[np.uint8], rect: Rect, size: int, out: NDArray[np.uint8], seen: Rect | None = None) -> None:
    """The rectangle of a picture as size x size pixels into `out` (size size 3); grey outside the part `seen`.

    Without `seen` it is all of the rectangle that lies within the picture.
    """
    seen = seen or shown_part(pixels.shape[0], pixels.shape[1], rect=rect)
    x0, y0 = int(seen.x), int(seen.y)
    x1, y1 = int(seen.x + seen.width), int(seen.y + seen.height)
    left, top = (round((n - start) * size / rect.width) for n, start in ((x0, rect.x), (y0, rect.y)))
    right, bottom = (round((n - start) * size / rect.width) for n, start in ((x1, rect.x), (y1, rect.y)))
    if (left, top, right, bottom) != (0, 0, size, size):
        out[:] = PAD_VALUE
    if right <= left or bottom <= top:
        return
    # AREA averages what it shrinks (LINEAR would alias); for enlarging it is a nearest neighbour.
    how = cv2.INTER_AREA if rect.width >= size else cv2.INTER_LINEAR
    out[top:bottom, left:right] = cv2.resize(pixels[y0:y1, x0:x1], (right - left, bottom - top), interpolation=how)


class Window:
    """Frames go in as they come; the newest whole clip comes out. One thread adds, another takes.

    An epoch (a loop, a reopened camera, a jump) starts it empty, and a clip is given only when each of its samples
    is there: within a stride of its due time (the first: half a stride), or within a frame period of a slow camera.
    """

    overload = 0
    """Frames replaced before they were taken: none, a clip is made of all that was kept."""

    def __init__(
        self, clip: cards.Clip, roi: tuple[float, float, float, float], fit: Literal["crop", "pad"],
        with_flow: bool = False,
    ):  # fmt: skip
        self._spec, self._roi, self._fit = clip, roi, fit
        self.stride_ns = self._stride = int(clip.stride_ms * NS_PER_MS)
        """Time between two samples."""
        self.gains_ns = self.stride_ns
        """Time after which a clip has a new sample."""
        self._spacing = 0.9 * self._stride / FINENESS
        capacity = (clip.frames + 1) * FINENESS
        self._frames = np.empty((capacity, clip.size, clip.size, 3), np.uint8)
        self._flows = np.zeros((capacity, clip.size, clip.size, 2), np.float16) if with_flow else None
        self._times = np.zeros(capacity, np.int64)
        self._seqs = np.zeros(capacity, np.int64)
        self._truths: list[Truth | None] = [None] * capacity
        self._count = 0
        self._unseen: int | None = None
        self._epoch = -1
        self._picture = (0, 0)
        self._rect = self._seen = Rect(0, 0, 1, 1)
        self._next = np.empty((clip.size, clip.size, 3), np.uint8)
        self._lock = threading.Lock()

    def wants(self, frame: Frame) -> bool:
        """False for a frame so close to the last one that no clip would use both."""
        if self._begins_anew(frame):
            return True
        return bool(frame.t_capture - self._times[(self._count - 1) % len(self._times)] >= self._spacing)

    def shrink(self, frame: Frame) -> None:
        """Resize the frame; `add` keeps it, once its pixels are known to have been whole."""
        height, width = frame.pixels.shape[:2]
        self._rect_of_next = input_rect(height, width, self._roi, self._fit)
        self._seen_of_next = shown_part(height, width, self._rect_of_next, self._roi)
        see(frame.pixels, self._rect_of_next, self._spec.size, self._next, self._seen_of_next)
        if self._flows is not None:
            self._flow_of_next = None if self._begins_anew(frame) else self._moved(frame.t_capture)

    def add(self, frame: Frame) -> None:
        """Keep what `shrink` made of this frame."""
        with self._lock:
            if self._begins_anew(frame):
                self._count, self._unseen = 0, None
            self._epoch, self._picture = frame.epoch, frame.pixels.shape[:2]
            self._rect, self._seen = self._rect_of_next, self._seen_of_next
            at = self._count % len(self._times)
            self._frames[at], self._times[at], self._seqs[at] = self._next, frame.t_capture, frame.seq
            self._truths[at] = frame.truth
            if self._flows is not None:
                self._flows[at] = np.nan if self._flow_of_next is None else self._flow_of_next
            self._count += 1
            self._unseen = frame.t_capture if self._unseen is None else self._unseen

    def empty(self) -> None:
        """What was seen does not belong to what comes."""
        with self._lock:
            self._count, self._unseen = 0, None

    def progress(self) -> float:
        """Share of a clip's duration that has been seen without a break, 0..1."""
        with self._lock:
            times = self._ordered()
            if len(times) < 2:
                return 0.0
            return float(min(1.0, (times[-1] - times[0]) / max(1.0, self._stride * (self._spec.frames - 1))))

    def newest(self) -> int | None:
        """Capture time of the newest frame, if there is one."""
        with self._lock:
            return int(self._times[(self._count - 1) % len(self._times)]) if self._count else None

    def clip(self, camera: str) -> Clip | None:
        """The clip that ends at the newest frame, or None where a sample is missing."""
        with self._lock:
            times = self._ordered()
            if len(times) == 0:
                return None
            due = times[-1] - self._stride * np.arange(self._spec.frames - 1, -1, -1)
            after = np.searchsorted(times, due).clip(1, len(times) - 1) if len(times) > 1 else np.zeros(len(due), int)
            nearest = np.where(due - times[after - 1] < times[after] - due, after - 1, after)
            period = float(np.median(np.diff(times[-FINENESS * 4 :]))) if len(times) > 1 else 0.0
            off = np.abs(times[nearest] - due)
            if off[0] > max(self._stride / 2, period) or off.max() > max(self._stride, period):
                return None
            start = max(0, self._count - len(self._times))
            at = (start + nearest) % len(self._times)
            since, self._unseen = self._unseen, None
            return Clip(
                camera, self._epoch, int(self._seqs[at[0]]), int(self._seqs[at[-1]]), self._frames[at],
                tuple(int(t) for t in self._times[at]), *self._picture, self._rect,
                self._seen, self._truths[at[-1]], flow=self._flow(at), since=int(times[-1]) if since is None else since,
            )  # fmt: skip

    def _moved(self, t: int) -> NDArray[np.float32] | None:
        """How the pixels of the frame that came at t moved since about a stride before; None where nothing was kept.

        A frame much nearer than that would tell of noise.
        """
        times = self._ordered()
        times = times[times <= t - self._stride / 2]
        if not len(times):
            return None
        nearest = int(np.abs(times - (t - self._stride)).argmin())
        gap = t - int(times[nearest])
        at = (max(0, self._count - len(self._times)) + nearest) % len(self._times)
        return between(self._frames[at], self._next) * np.float32(self._stride / gap)

    def _flow(self, at: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Of the kept frames of these numbers: T H W 2. The first ones of all move as the next one does."""
        if self._flows is None:
            return None
        known = np.isfinite(self._flows[at, 0, 0, 0])
        if not known.any():
            return np.zeros((len(at), *self._flows.shape[1:]), np.float32)
        first = int(known.argmax())
        return self._flows[np.where(np.arange(len(at)) < first, at[first], at)].astype(np.float32)

    def _ordered(self) -> NDArray[np.int64]:
        """Capture times of what is kept, oldest first."""
        if self._count <= len(self._times):
            return self._times[: self._count]
        return np.roll(self._times, -(self._count % len(self._times)))

    def _begins_anew(self, frame: Frame) -> bool:
        if self._count == 0 or frame.epoch != self._epoch or frame.pixels.shape[:2] != self._picture:
            return True
        # Another host's clock was corrected: waiting until it has caught up could take for ever.
        return bool(frame.t_capture < self._times[(self._count - 1) % len(self._times)] - self._stride)
