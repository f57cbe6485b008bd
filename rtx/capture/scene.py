"""The drawn hall as a camera, `scene:hall?seed=7&size=1280x720&fps=30&clock=1`; each frame comes with its truth."""

from __future__ import annotations

import threading

import numpy as np

from rtx.capture.canvas import mirror_in_place
from rtx.capture.clockbars import draw_clock
from rtx.capture.options import number_of, options_of, size_of, whole_of
from rtx.capture.pace import wait_until
from rtx.capture.source import Canvas, SourceLost, Stamp
from rtx.clock import NS_PER_S, now
from rtx.config import Camera, resolve
from rtx.errors import UserError
from rtx.link.wire import Shape, Truth
from rtx.scenes.person import PART_NAMES
from rtx.scenes.scene import Cast, Moment, Scene

EXAMPLE = "scene:hall?seed=7&size=1280x720&fps=30&clock=1"


class SceneCamera:
    """It never ends; the same seed always shows the same. The camera's own `width`, `height`, `fps` hold where the
    source names none."""

    def __init__(self, camera: Camera, stop: threading.Event | None = None) -> None:
        source = resolve(camera.source)
        if source.partition("?")[0] != "scene:hall":
            raise UserError(f"source {source!r}: there is one scene, the hall: {EXAMPLE}")
        options = options_of(source, EXAMPLE, ("seed", "size", "fps", "clock"))
        self._width, self._height = camera.width or 1280, camera.height or 720
        if "size" in options:
            self._width, self._height = size_of(options["size"], source)
        self._fps = number_of("fps", options["fps"], 1, 240, source) if "fps" in options else camera.fps or 30.0
        self._seed = whole_of("seed", options.get("seed", "1"), 2**32 - 1, source)
        self._clock = whole_of("clock", options.get("clock", "0"), 1, source) > 0
        self._mirror = camera.mirror
        self._stop = stop or threading.Event()
        self.live = camera.pace == "realtime"
        self._scene: Scene | None = None
        self.skipped = 0
        """Frames not drawn because the reader was late."""

    def open(self) -> None:
        self._scene = Scene(Cast.live(self._seed), self._height, self._width)
        self._start: int | None = None
        self._index = 0

    def seek(self, seconds: float) -> None:
        """Go on at that time of the scene."""
        self._index = round(seconds * self._fps)

    @property
    def time(self) -> int:
        """Of the scene, in ns, when the next frame is seen."""
        return int(self._index * NS_PER_S / self._fps)

    @property
    def period(self) -> int:
        """Time between two frames, in ns."""
        return int(NS_PER_S / self._fps)

    def read(self, canvas: Canvas) -> Stamp | None:
        """The next frame that is due; None only where `stop` was set while waiting."""
        if self._scene is None:
            raise SourceLost("scene: is not open")
        if self._start is None:
            self._start = now() - self.time
        if self.live:
            # The newest frame that is due by now: those that nobody took in time are gone, as with a camera.
            newest = int((now() - self._start) * self._fps / NS_PER_S)
            self.skipped += max(0, newest - self._index)
            self._index = max(self._index, newest)
        due = self._start + self.time
        if self.live and not wait_until(due, self._stop):
            return None
        picture = canvas(self._height, self._width)
        time_s = self._index / self._fps
        (moment,) = self._scene.moments(np.array([time_s]))
        self._scene.paint(picture, moment)
        if self._mirror:
            mirror_in_place(picture)
        if self._clock:  # After the mirror, so that it can be read.
            draw_clock(picture, due)
        self._index += 1
        return Stamp(due, truth=truth_of(moment, time_s, self._width if self._mirror else None))

    def close(self) -> None:
        self._scene = None


def truth_of(moment: Moment, time_s: float, mirrored_width: int | None = None) -> Truth:
    """What a moment of that time shows, as it travels with the frame.

    Turned where the picture, so many pixels wide, is mirrored.
    """
    shapes = []
    for outline, _, number in moment.strokes:
        if number:
            if mirrored_width is not None:
                outline = outline * np.array([-1, 1], np.int32) + np.array([16 * (mirrored_width - 1), 0], np.int32)
            shapes.append(Shape(PART_NAMES[number], np.ascontiguousarray(outline, np.int32).tobytes()))
    lasted = int((time_s - moment.since_s) * NS_PER_S)
    return Truth(moment.act.action, moment.act.acting, tuple(shapes), lasted)
