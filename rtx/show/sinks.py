"""Where views go: page, window, file, or nowhere. A sink is told each new view, and the last one again when it ages."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_MS, ms, now
from rtx.config import Pipeline
from rtx.errors import UserError, unknown
from rtx.show.asks import Asks
from rtx.show.overlay import compose
from rtx.show.view import Look, View

KINDS = ("page", "window", "file:OUT.mp4", "none")


class Sink(Protocol):
    """One place where views are shown."""

    overlay_ms: float
    """What drawing over the last picture took; 0 where a browser does it."""

    def show(self, view: View) -> None:
        """A new frame."""

    def refresh(self, view: View) -> None:
        """The last frame once more: its states and ages have changed, its picture has not."""

    def follow(self, cameras: list[str]) -> None:
        """From now on it is these that are shown."""

    def quit(self) -> bool:
        """True when the user wants to end."""

    def close(self) -> None:
        """Finish what was begun."""


class Composing:
    """Draws over the picture itself, and knows what that took."""

    overlay_ms = 0.0

    def __init__(self, look: Look):
        self._look = look

    def follow(self, cameras: list[str]) -> None:
        """Whatever is shown is drawn."""

    def _compose(self, view: View, truth: bool = False) -> NDArray[np.uint8]:
        began = now()
        picture = compose(view, self._look, truth)
        self.overlay_ms = ms(now() - began)
        return picture


class NoSink(Composing):
    """Composes each picture, as the others do, and drops it: for measuring."""

    def show(self, view: View) -> None:
        self._compose(view)

    def refresh(self, view: View) -> None:
        return

    def quit(self) -> bool:
        return False

    def close(self) -> None:
        return


class WindowSink(Composing):
    """A window a camera; t outlines the truth where it is known; q or Escape ends."""

    def __init__(self, look: Look):
        check_display()
        super().__init__(look)
        self._quit = self._truth = False
        self._opened: set[str] = set()

    def show(self, view: View) -> None:
        title = f"rtx: {view.camera}"
        if title not in self._opened:
            self._opened.add(title)
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(title, *view.image.shape[1::-1])
        cv2.imshow(title, self._compose(view, self._truth))
        self._keys()

    def refresh(self, view: View) -> None:
        self.show(view)

    def _keys(self) -> None:
        key = cv2.waitKey(1) & 0xFF
        if key in (ord("q"), 27):
            self._quit = True
        elif key == ord("t"):
            self._truth = not self._truth

    def quit(self) -> bool:
        return self._quit

    def close(self) -> None:
        cv2.destroyAllWindows()


class FileSink(Composing):
    """An MP4 a camera, each frame at its own time; readable up to the last second even if the process is killed."""

    def __init__(self, path: Path, look: Look, cameras: list[str], restarts: int):
        self._paths = {name: file_of(path, name, len(cameras), restarts) for name in cameras}
        self._path, self._restarts = path, restarts
        super().__init__(look)
        self._writers: dict[str, Mp4] = {}

    def show(self, view: View) -> None:
        if view.camera not in self._writers:
            height, width = view.image.shape[:2]
            self._writers[view.camera] = Mp4(self._paths[view.camera], height, width)
        self._writers[view.camera].add(self._compose(view), view.t_capture)

    def follow(self, cameras: list[str]) -> None:
        """Who comes later gets a file with its name."""
        for name in cameras:
            self._paths.setdefault(name, file_of(self._path, name, 2, self._restarts))

    def refresh(self, view: View) -> None:
        return

    def quit(self) -> bool:
        return False

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Mp4:
    """One H.264 file with the overlay in the picture; variable frame rate, so that no frame is invented or lost."""

    def __init__(self, path: Path, height: int, width: int, preset: str = "veryfast"):
        self._path = path
        self._size = (width // 2 * 2, height // 2 * 2)
        # Written in fragments: what was written before a kill can be played.
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        with self._writing():
            self._container = av.open(str(path), "w", format="mp4", options=options)
        stream = self._container.add_stream(
            "libx264", rate=30, options={"preset": preset, "crf": "23", "tune": "zerolatency", "g": "30"}
        )
        (stream.width, stream.height), stream.pix_fmt = self._size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        self._stream = stream
        self._first: int | None = None
        self._pts = -1

    def add(self, picture: NDArray[np.uint8], t_capture: int) -> None:
        """A picture H W 3 (BGR) of this time, ns."""
        if picture.shape[1::-1] != self._size:
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        if self._first is None:
            self._first = t_capture
        self._pts = max(self._pts + 1, (t_capture - self._first) // NS_PER_MS)
        frame.pts, frame.time_base = self._pts, Fraction(1, 1000)
        with self._writing():  # The file is opened at the first frame that comes out of the encoder.
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        with self._writing():
            self._container.mux(self._stream.encode(None))
            self._container.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise UserError(f"cannot write {str(self._path)!r}: {error.strerror or error}") from None


def file_of(path: Path, camera: str, cameras: int, restarts: int) -> Path:
    """OUT.mp4; OUT-CAMERA.mp4 where there are several; a restarted display does not overwrite what it had."""
    name = path.stem + (f"-{camera}" if cameras > 1 else "") + (f"-part{restarts + 1}" if restarts else "")
    return path.with_name(name + path.suffix)


def check_display() -> None:
    """Raises UserError where no window can be opened (OpenCV would abort the process)."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("no display for a window (DISPLAY is not set); use --show page and open it in a browser")


def check_sinks(pipeline: Pipeline) -> None:
    """Everything that can be told before a process starts. Raises UserError."""
    if not pipeline.show.sinks:
        raise UserError("show.sinks is empty; use 'none' to show nothing")
    cameras = [camera.name for camera in pipeline.camera]
    seen: set[str] = set()
    for sink in pipeline.show.sinks:
        place = os.path.realpath(sink.removeprefix("file:")) if sink.startswith("file:") else sink
        if place in seen:
            raise UserError(f"show.sinks names {sink!r} twice; once is enough")
        seen.add(place)
        if sink == "window":
            check_display()
        elif sink == "page":
            from rtx.show.page import check_address

            check_address(pipeline.page)
        elif sink.startswith("file:"):
            path = Path(sink.removeprefix("file:"))
            if path.suffix != ".mp4":
                raise UserError(f"{sink!r}: the file's name must end in .mp4")
            if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
                raise UserError(f"{sink!r}: the folder {str(path.parent)!r} is not there or cannot be written")
            for name in cameras:
                if (file := file_of(path, name, len(cameras), 0)).is_dir():
                    raise UserError(f"{sink!r}: {str(file)!r} is a folder; name a file")
        elif sink != "none":
            raise unknown("sink", sink, KINDS)


def open_sinks(pipeline: Pipeline, restarts: int, asks: Asks) -> list[Sink]:
    cameras = [camera.name for camera in pipeline.camera]
    look = Look(pipeline.show.opacity, pipeline.show.display, pipeline.show.colours)
    sinks: list[Sink] = []
    for name in pipeline.show.sinks:
        if name == "window":
            sinks.append(WindowSink(look))
        elif name == "page":
            from rtx.events.store import folder_of
            from rtx.show.page import PageSink  # The web server is not loaded for nothing.

            page = PageSink(
                pipeline.page, cameras, look, pipeline.budget.heatmap_age_ms, asks, folder_of(pipeline.events)
            )
            page.start()
            sinks.append(page)
        elif name == "none":
            sinks.append(NoSink(look))
        else:
            sinks.append(FileSink(Path(name.removeprefix("file:")), look, cameras, restarts))
    return sinks
