"""One camera followed frame by frame, by a network that never looks ahead: what it remembers, and the frame due next.

A card says how far apart in time its frames are meant to be. Where frames come about twice as often, they go in turn
into two states, each of which sees them at about the card's pace; else all go into one.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_MS
from rtx.engine.window import Clip, see
from rtx.geometry import input_rect, shown_part
from rtx.link.frames import Frame
from rtx.nets import cards
from rtx.nets.causal import REACH, Past

SOONEST = 0.35
"""A frame that comes sooner after the last one taken, in strides, would tell the network nothing new."""
TWO_LANES, ONE_LANE = 0.7, 0.85
"""Frames nearer to each other than that, in strides, go into two lanes; further apart than this, into one."""
LONGEST = 5.0
"""After so many strides without a frame the thread is lost, and the stream starts anew."""
PACE = 16
"""Intervals between frames that the pace is the median of."""


@dataclass
class Lane:
    """One state, and which frames went into it."""

    past: Past
    times: deque[int] = field(default_factory=deque)
    seqs: deque[int] = field(default_factory=deque)
    frames: deque[NDArray[np.uint8]] = field(default_factory=deque)


class Stream:
    """Frames go in as they come; the newest comes out, with the state that it continues.

    One thread adds, another takes. An epoch (a loop, a reopened camera, a jump) and a gap start it empty. A second lane
    begins as a copy of the first, so that what was seen is not seen again. `overload` counts frames that were replaced
    by a newer one before they were taken. A clip comes with the frames before it that it depends on.
    """

    def __init__(self, clip: cards.Clip, roi: tuple[float, float, float, float], fit: Literal["crop", "pad"]):
        self._spec, self._roi, self._fit = clip, roi, fit
        self.stride_ns = int(clip.stride_ms * NS_PER_MS)
        self.gains_ns = 1
        """Time after which there is something new: with every frame."""
        self.overload = 0
        self._lanes: list[Lane] = []
        self._intervals: deque[int] = deque(maxlen=PACE)
        self._waiting: Clip | None = None
        self._taken: int | None = None
        self._newest: int | None = None
        self._unseen: int | None = None
        self._epoch = -1
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def wants(self, frame: Frame) -> bool:
        """False for a frame that comes too soon after the last one taken."""
        with self._lock:
            taken = self._taken
            return taken is None or self._begins_anew(frame) or frame.t_capture - taken >= SOONEST * self.stride_ns

    def shrink(self, frame: Frame) -> None:
        """Resize the frame; `add` keeps it, once its pixels are known to have been whole."""
        height, width = frame.pixels.shape[:2]
        rect = input_rect(height, width, self._roi, self._fit)
        seen = shown_part(height, width, rect, self._roi)
        small = np.empty((1, self._spec.size, self._spec.size, 3), np.uint8)
        see(frame.pixels, rect, self._spec.size, small[0], seen)
        self._next = Clip(
            frame.camera, frame.epoch, frame.seq, frame.seq, small, (frame.t_capture,), height, width, rect, seen,
            frame.truth,
        )  # fmt: skip

    def add(self, frame: Frame) -> None:
        """Let what `shrink` made of this frame wait to be taken."""
        with self._lock:
            if self._begins_anew(frame):
                self._lanes.clear()
                self._taken = self._unseen = None
            elif self._waiting is not None:
                self.overload += 1
            self._epoch, self._newest, self._waiting = frame.epoch, frame.t_capture, self._next
            self._size = self._next.height, self._next.width
            self._unseen = frame.t_capture if self._unseen is None else self._unseen

    def empty(self) -> None:
        """What was seen does not belong to what comes."""
        with self._lock:
            self._lanes.clear()
            self._waiting = self._newest = self._taken = self._unseen = None

    def progress(self) -> float:
        """Share of a clip's frames that the fullest lane has seen, 0..1."""
        with self._lock:
            return max((len(lane.times) / self._spec.frames for lane in self._lanes), default=0.0)

    def newest(self) -> int | None:
        """Capture time of the newest frame, if there is one."""
        return self._newest

    def clip(self, camera: str) -> Clip | None:
        """The frame that waits, with the state that it continues; it must then be fed to the network."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is None:
                return None
            t, seq = waiting.t_frames[-1], waiting.last_seq
            since, self._unseen = self._unseen, None
            lane = self._lane(t)
            lane.times.append(t)
            lane.seqs.append(seq)
            lane.frames.append(waiting.frames[0])
            while len(lane.times) > self._spec.frames:
                lane.times.popleft()
                lane.seqs.popleft()
            while len(lane.frames) > self._spec.frames + REACH:
                lane.frames.popleft()
            return Clip(
                camera, waiting.epoch, lane.seqs[0], seq, waiting.frames, tuple(lane.times), waiting.height,
                waiting.width, waiting.rect, waiting.seen, waiting.truth, lane.past,
                len(lane.times) == self._spec.frames, since=t if since is None else since,
                before=tuple(lane.frames)[:-1],
            )  # fmt: skip

    def _lane(self, t: int) -> Lane:
        """Whose turn it is at time t."""
        if self._taken is not None:
            gap = t - self._taken
            # A camera that always takes so long has not lost the thread.
            if self._intervals and gap > max(LONGEST * self.stride_ns, 3 * median(self._intervals)):
                self._lanes.clear()
            self._intervals.append(gap)
        self._taken = t
        if not self._lanes:
            self._lanes.append(Lane(Past(self._spec.frames)))
        lane = min(self._lanes, key=lambda lane: lane.times[-1] if lane.times else 0)
        pace = median(self._intervals) / self.stride_ns if len(self._intervals) == PACE else 1.0
        if len(self._lanes) == 1 and pace < TWO_LANES and len(lane.times) == self._spec.frames:
            self._lanes.append(Lane(lane.past.fork(), lane.times.copy(), lane.seqs.copy(), lane.frames.copy()))
        elif len(self._lanes) > 1 and pace > ONE_LANE:
            lane = max(self._lanes, key=lambda lane: lane.times[-1])
            self._lanes = [lane]
        return lane

    def _begins_anew(self, frame: Frame) -> bool:
        if self._newest is None or frame.epoch != self._epoch or frame.pixels.shape[:2] != self._size:
            return True
        # Another host's clock was corrected: waiting until it has caught up could take for ever.
        return bool(frame.t_capture < self._newest - self.stride_ns)
