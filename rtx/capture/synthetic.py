"""A drawn camera, `synthetic:?size=1280x720&fps=30&seed=1`: a figure walks through a plain room."""

from __future__ import annotations

import math
import threading

import cv2
import numpy as np

from rtx.capture.canvas import mirror_in_place
from rtx.capture.clockbars import draw_clock
from rtx.capture.options import number_of, options_of, size_of, whole_of
from rtx.capture.pace import wait_until
from rtx.capture.source import Canvas, Pixels, SourceLost, Stamp
from rtx.clock import NS_PER_S, now
from rtx.config import Camera, resolve

EXAMPLE = "synthetic:?size=1280x720&fps=30&seed=1"
_INK = (52, 44, 40)
_SKIN = (150, 180, 225)


class Synthetic:
    """The camera's own `width`, `height` and `fps` hold where the source names none. It never ends."""

    def __init__(self, camera: Camera, stop: threading.Event | None = None) -> None:
        source = resolve(camera.source)
        options = options_of(source, EXAMPLE, ("size", "fps", "seed"))
        self._width = camera.width or 1280
        self._height = camera.height or 720
        if "size" in options:
            self._width, self._height = size_of(options["size"], source)
        self._fps = camera.fps or 30.0
        if "fps" in options:
            self._fps = number_of("fps", options["fps"], 1, 1000, source)
        self._seed = whole_of("seed", options.get("seed", "1"), 2**32 - 1, source)
        self._mirror = camera.mirror
        self._stop = stop or threading.Event()
        self.live = camera.pace == "realtime"
        self._scene: _Scene | None = None

    def open(self) -> None:
        self._scene = _Scene(self._width, self._height, self._seed)
        self._start: int | None = None
        self._index = 0

    def read(self, canvas: Canvas) -> Stamp | None:
        """The next frame that is due; None only where `stop` was set while waiting."""
        if self._scene is None:
            raise SourceLost("synthetic: is not open")
        if self._start is None:
            self._start = now()
        if self.live:
            # The newest frame that is due by now: those that nobody took in time are gone, as with a camera.
            self._index = max(self._index, int((now() - self._start) * self._fps / NS_PER_S))
        due = self._start + int(self._index * NS_PER_S / self._fps)
        if self.live and not wait_until(due, self._stop):
            return None
        picture = canvas(self._height, self._width)
        self._scene.draw(picture, self._index / self._fps)
        if self._mirror:
            mirror_in_place(picture)
        # After the mirror, so that clock and number can be read.
        draw_clock(picture, due)
        foot = (self._height // 40, self._height - self._height // 30)
        size = self._height / 600
        cv2.putText(picture, str(self._index), foot, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
        self._index += 1
        return Stamp(due)

    def close(self) -> None:
        self._scene = None


class _Scene:
    """A room drawn once, and a figure drawn anew at each time."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._phase = float(random.uniform(0, 2 * math.pi))
        self._unit = height / 12  # the figure's head; it is about seven heads tall
        self._floor = int(height * 0.86)
        shade = np.linspace(228, 190, height).astype(np.uint8)
        shade[self._floor :] = 150
        tint = np.array([1.0, 0.985, 0.96])
        self._room: Pixels = np.ascontiguousarray(
            np.broadcast_to((shade[:, None, None] * tint).astype(np.uint8), (height, width, 3))
        )
        side = max(2, int(self._unit * 1.6))
        patches = random.integers(30, 225, (6, 4, 3), dtype=np.uint8)
        shirt = cv2.resize(patches, (side, int(side * 1.6)), interpolation=cv2.INTER_NEAREST)
        self._shirt = np.asarray(shirt, np.uint8)

    def draw(self, picture: Pixels, t: float) -> None:
        """Draw the room with the figure at media time `t` (s)."""
        np.copyto(picture, self._room)
        width, unit = picture.shape[1], self._unit
        walk = 0.5 + 0.32 * math.sin(0.7 * t + self._phase)
        swing = 0.7 * math.sin(6 * t)
        x, hip = walk * width, self._floor - 3.2 * unit
        neck = hip - 2.6 * unit
        thick = max(1, int(unit * 0.4))
        for side in (-1, 1):
            _limb(picture, (x, hip), side * swing * 0.7, 3.2 * unit, thick)
            _limb(picture, (x + side * 0.6 * unit, neck + 0.4 * unit), 0.6 * side - swing, 2.4 * unit, thick)
        _paste(picture, self._shirt, x, (hip + neck) / 2)
        head = (round(x), round(neck - 0.6 * unit))
        cv2.circle(picture, head, max(1, round(0.55 * unit)), _SKIN, -1, cv2.LINE_AA)


def _limb(picture: Pixels, joint: tuple[float, float], angle: float, length: float, thick: int) -> None:
    """A line from the joint, `angle` radians from straight down."""
    end = (round(joint[0] + length * math.sin(angle)), round(joint[1] + length * math.cos(angle)))
    cv2.line(picture, (round(joint[0]), round(joint[1])), end, _INK, thick, cv2.LINE_AA)


def _paste(picture: Pixels, patch: Pixels, x: float, y: float) -> None:
    """Copy `patch` with its centre at x, y, as far as it lies within the picture."""
    left, top = round(x - patch.shape[1] / 2), round(y - patch.shape[0] / 2)
    inside = picture[max(0, top) : max(0, top + patch.shape[0]), max(0, left) : max(0, left + patch.shape[1])]
    from_top, from_left = max(0, -top), max(0, -left)
    inside[...] = patch[from_top : from_top + inside.shape[0], from_left : from_left + inside.shape[1]]
