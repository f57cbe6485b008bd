"""What was found in a file, as files: film, GIF, sheet, arrays, report. Begun beside, and put there whole."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.errors import UserError
from rtx.film.found import Film
from rtx.film.moments import Moments
from rtx.film.report import Report
from rtx.geometry import Rect
from rtx.show.overlay import compose, draw, of_target
from rtx.show.sinks import Mp4
from rtx.show.view import Heat, Look, View

MOST_WIDTH = 1920
"""Of a film of several explainers side by side."""
GIF_WIDTH, GIF_FPS = 480, 10
SHEET_WIDTH = 1280


class Writer(Protocol):
    """One file being written."""

    def add(self, views: tuple[View, ...]) -> None:
        """The next frame, once an explainer."""

    def close(self) -> None:
        """The file is whole."""


class Movie:
    """Every frame at its own time, H.264; several explainers side by side."""

    def __init__(self, path: Path, film: Film, look: Look):
        self._look, self._columns = look, _columns(len(film.panels))
        width = min(film.width, MOST_WIDTH // self._columns)
        self._size = width, _high(width, film)
        rows = -(-len(film.panels) // self._columns)
        self._movie = Mp4(path, rows * self._size[1], self._columns * self._size[0])

    def add(self, views: tuple[View, ...]) -> None:
        self._movie.add(_side_by_side(views, self._look, self._columns, self._size), views[0].t_capture)

    def close(self) -> None:
        self._movie.close()


class Gif:
    """Ten pictures a second, small, for ever."""

    def __init__(self, path: Path, film: Film, look: Look):
        self._look, self._columns = look, _columns(len(film.panels))
        width = min(film.width, GIF_WIDTH)
        self._size = width, _high(width, film)
        self._due = film.begin
        self._first = film.begin
        rows = -(-len(film.panels) // self._columns)
        self._container = av.open(str(path), "w", format="gif", options={"loop": "0"})
        stream = self._container.add_stream("gif", rate=100)
        stream.width, stream.height, stream.pix_fmt = width * self._columns, self._size[1] * rows, "pal8"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        self._stream = stream
        self._colours = _own_palette(stream.width, stream.height)

    def add(self, views: tuple[View, ...]) -> None:
        time = views[0].t_capture
        if time < self._due:
            return
        self._due = max(self._due + NS_PER_S // GIF_FPS, time)
        picture = _side_by_side(views, self._look, self._columns, self._size)
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="rgb24")
        frame.pts, frame.time_base = (time - self._first) // (NS_PER_S // 100), Fraction(1, 100)
        self._colours.push(frame)
        self._take()

    def close(self) -> None:
        self._colours.push(None)
        self._take()
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _take(self) -> None:
        with contextlib.suppress(av.BlockingIOError, av.EOFError):  # It gives a picture when it has one.
            while True:
                frame = self._colours.pull()
                assert isinstance(frame, av.VideoFrame)
                self._container.mux(self._stream.encode(frame))


def _own_palette(width: int, height: int) -> Graph:
    """Each picture with the 256 colours that suit it, so that nothing waits for the film's end."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=Fraction(1, 100))
    split, sink = graph.add("split"), graph.add("buffersink")
    make, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1:dither=sierra2_4a")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(make, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


class Sheet:
    """Some moments beside each other: of one explainer sixteen, of several eight, a row each."""

    def __init__(self, path: Path, film: Film, look: Look):
        self._path, self._film, self._look = path, film, look
        self._alone = len(film.panels) == 1
        self._moments = Moments(film.moments(16 if self._alone else 8))
        self._columns = 4 if self._alone else len(self._moments.due)
        self._width = SHEET_WIDTH // 4 if self._alone else MOST_WIDTH // self._columns

    def add(self, views: tuple[View, ...]) -> None:
        self._moments.add(views)

    def close(self) -> None:
        chosen = self._moments.close()
        blocks = []
        for number, panel in enumerate(self._film.panels):
            views = [views[number] for views in chosen]
            tiles = [self._tile(view) for view in views]
            tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % self._columns)
            rows = [np.hstack(tiles[i : i + self._columns]) for i in range(0, len(tiles), self._columns)]
            words = _words(panel.explainer, views, self._film)
            title = np.zeros((36, rows[0].shape[1], 3), np.uint8)
            cv2.putText(title, words, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
            blocks += [title, *rows]
        self._path.write_bytes(cv2.imencode(".png", np.vstack(blocks))[1].tobytes())

    def _tile(self, view: View) -> NDArray[np.uint8]:
        view = scaled(view, (self._width, _high(self._width, self._film)))
        tile = view.image.copy()
        assert view.heat is not None
        draw(tile, view.heat, self._look)
        if self._film.whole:
            said = f"{view.top[0].label} {100 * view.top[0].p:.0f}%" if view.top else "not explained"
            at = f"{view.t_capture / NS_PER_S:.1f} s  {said}"
            for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(tile, at, (6, len(tile) - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness, cv2.LINE_AA)
        return tile


def _words(explainer: str, views: Sequence[View], film: Film) -> str:
    said = [explainer]
    if not film.whole:
        top = views[0].top
        said = [f"{top[0].label} {100 * top[0].p:.0f}%", of_target(explainer, views[0].target, top)]
    if not any(view.evidence for view in views):
        said.append("no evidence above threshold")
    return "   ".join(said)


class Arrays:
    """numpy's .npz, without pickle: named as in `Panel.arrays`, with a number where there are several explainers."""

    def __init__(self, path: Path, film: Film, look: Look):
        self._path, self._film = path, film

    def add(self, views: tuple[View, ...]) -> None:
        """Pictures are not in it."""

    def close(self) -> None:
        several = len(self._film.panels) > 1
        named = {
            f"{name}_{number}" if several else name: array
            for number, panel in enumerate(self._film.panels)
            for name, array in panel.arrays().items()
        }
        with self._path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **named)


WRITERS: dict[str, Callable[[Path, Film, Look], Writer]] = {
    ".html": Report, ".mp4": Movie, ".gif": Gif, ".png": Sheet, ".npz": Arrays,
}  # fmt: skip


def save(paths: Sequence[Path], film: Film, look: Look, told: Callable[[float], None] = lambda _: None) -> None:
    """Write all of them in one go through the frames; the name's end says what. UserError."""
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        writers: list[Writer] = []
        for path, part in zip(paths, parts, strict=True):
            with _writing(path):
                writers.append(WRITERS[path.suffix](part, film, look))
        for views in film.views() if any(path.suffix != ".npz" for path in paths) else ():
            for path, writer in zip(paths, writers, strict=True):
                with _writing(path):
                    writer.add(views)
            told((views[0].t_capture - film.begin) / max(1, film.end - film.begin))
        for path, part, writer in zip(paths, parts, writers, strict=True):
            with _writing(path):
                writer.close()
                os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def check_all(paths: Sequence[Path], source: str) -> None:
    """Raises UserError where one of them cannot be written, before any work is done."""
    places = [path.resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        check(path)
        if places.count(place) > 1:
            raise UserError(f"-o {str(path)!r} is given twice; once is enough")
        if os.path.exists(source) and path.exists() and path.samefile(source):
            raise UserError(f"-o {str(path)!r} is the file that is explained; name another")


def check(path: Path) -> None:
    """Raises UserError where this one cannot be."""
    if path.suffix not in WRITERS:
        raise UserError(f"-o {str(path)!r}: the name must end in {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise UserError(f"-o {str(path)!r}: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise UserError(f"-o {str(path)!r} is a folder; name a file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"-o {str(path)!r}: the folder {str(path.parent)!r} cannot be written")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}") from None


def scaled(view: View, size: tuple[int, int]) -> View:
    """The view at another size (width, height), with its heat."""
    height, width = view.image.shape[:2]
    if (width, height) == size:
        return view
    across, down = size[0] / width, size[1] / height

    def of(rect: Rect) -> Rect:
        return Rect(rect.x * across, rect.y * down, rect.width * across, rect.height * down)

    how = cv2.INTER_AREA if across < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(view.image, size, interpolation=how), np.uint8)
    heat = view.heat
    if heat is not None:
        heat = Heat(heat.values, of(heat.rect), None if heat.seen is None else of(heat.seen))
    return replace(view, image=image, heat=heat)


def _high(width: int, film: Film) -> int:
    """Of a picture of this width; a film may be a line."""
    return max(2, round(width * film.height / film.width))


def _columns(panels: int) -> int:
    return math.ceil(math.sqrt(panels)) if panels > 2 else panels


def _side_by_side(
    views: Sequence[View], look: Look, columns: int, size: tuple[int, int]
) -> NDArray[np.uint8]:  # fmt: skip
    """One moment, once an explainer, as one picture."""
    pictures = [compose(scaled(view, size), look) for view in views]
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])
