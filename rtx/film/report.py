"""What was found in a file as one page that needs nothing from anywhere: pictures, plots, and the pyramid as a tree."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.film.found import COVERED, FULL, NOT_EXPLAINED, Film, Panel, Pyramid, Row, own_scale
from rtx.film.moments import Moments
from rtx.geometry import Rect
from rtx.link.wire import TreeLayer
from rtx.show.document import COLOURS, HEIGHT, axes, facts, line, page, svg
from rtx.show.overlay import draw, every_frame, of_target
from rtx.show.view import Heat, Look, View

if TYPE_CHECKING:
    from rtx.api import Result

MOMENTS = 16
TILE = 240
"""Width of a moment's picture."""
PATCH = 168
"""Side of a layer's picture."""
INLINE = 6
"""Frames that a notebook shows."""
CLASSES = 5
"""That are plotted."""
STYLE = """
.strip { display: flex; gap: .5rem; overflow-x: auto; padding-bottom: .5rem; }
figure { margin: 0; flex: none; } figcaption { font-size: .8rem; }
ul.tree { list-style: none; padding-left: 1.5rem; } .tree li { margin: .5rem 0; }
.layer { display: inline-flex; align-items: center; gap: .7rem; vertical-align: middle; width: calc(100% - 2rem); }
.layer img { flex: none; } summary { cursor: pointer; } .key { margin-right: 1rem; white-space: nowrap; }
.key i { display: inline-block; width: 1rem; height: .3rem; margin-right: .3rem; vertical-align: middle; }
"""


class Report:
    """Written when all frames have gone by."""

    def __init__(self, path: Path, film: Film, look: Look):
        self._path, self._film, self._look = path, film, look
        self._moments = Moments(film.moments(MOMENTS))
        self._strength: list[tuple[float, list[float]]] = []

    def add(self, views: tuple[View, ...]) -> None:
        self._moments.add(views)
        at = (views[0].t_capture - self._film.begin) / NS_PER_S
        self._strength.append((at, [_strength(view) for view in views]))

    def close(self) -> None:
        film = self._film
        chosen = self._moments.close()
        body = [
            f"<h1>{escape(Path(film.file).name)}</h1>", facts(_about(film)), _classes(film),
            *(_panel(film, panel, [views[i] for views in chosen], self._look) for i, panel in enumerate(film.panels)),
            _over_time(film, self._strength), _motion(film),
        ]  # fmt: skip
        if film.pyramid is not None:
            body.append(_tree(film.pyramid, self._look))
        self._path.write_text(
            page(f"{Path(film.file).name}: what the network looked at", "\n".join(body), STYLE), encoding="utf-8"
        )


def _strength(view: View) -> float:
    """How much heat there is in a frame: the mean over the part that the network saw, 0..1."""
    return float(view.heat.values.mean()) / 255 if view.heat is not None else 0.0


def _about(film: Film) -> dict[str, object]:
    clips = len(film.panels[0].rows)
    last = (film.end - film.begin) / NS_PER_S
    said: dict[str, object] = {
        "What": f"{clips} clips over {last:.1f} s; each frame's map is the mean over those that held it, "
        "the more of one the nearer its middle is"
        if film.whole
        else f"one clip, from {film.panels[0].rows[0].times[0] / NS_PER_S:.2f} to "
        f"{film.panels[0].rows[0].times[-1] / NS_PER_S:.2f} s",
        "Network": f"{film.model} ({film.backend}, {film.device}, {film.precision})",
        "Said": _said(film.panels[0].rows),
    }
    if film.whole and film.covered < COVERED:
        said["Not explained"] = f"{100 * (1 - film.covered):.0f} % of it: those frames are in no explained clip"
    if film.stretched:
        said["Note"] = "the file is shorter than a clip: its frames were spread over one"
    return said


def _said(rows: Sequence[Row]) -> str:
    """The likeliest classes, most often named first."""
    if len(rows) == 1:
        return ", ".join(f"{top.label} {100 * top.p:.0f} %" for top in rows[0].top[:3])
    named = Counter(row.top[0].label for row in rows)
    surest = {label: max(row.top[0].p for row in rows if row.top[0].label == label) for label in named}
    return ", ".join(
        f"{label} in {count} of {len(rows)} clips (at most {100 * surest[label]:.0f} %)"
        for label, count in named.most_common(CLASSES)
    )


def _panel(film: Film, panel: Panel, views: Sequence[View], look: Look) -> str:
    height = max(2, round(TILE * film.height / film.width))
    figures = []
    for view in views:
        picture = view.image.copy()
        assert view.heat is not None
        draw(picture, view.heat, look)
        small = np.asarray(cv2.resize(picture, (TILE, height), interpolation=cv2.INTER_AREA), np.uint8)
        at = f"{view.t_capture / NS_PER_S:.2f} s"
        said = f"{view.top[0].label} {100 * view.top[0].p:.0f} %" if view.top else NOT_EXPLAINED
        words = f"{at}: {said}" if film.whole else at
        if not view.evidence:
            words += ", no evidence above threshold"
        figures.append(f"<figure>{_picture(small, words)}<figcaption>{escape(words)}</figcaption></figure>")
    row = panel.rows[0]
    title = panel.explainer if film.whole else of_target(panel.explainer, row.target, row.top)
    return (
        f'<section><h2>{escape(title)}</h2><div class="strip" tabindex="0" role="group" '
        f'aria-label="moments">{"".join(figures)}</div></section>'
    )


def _classes(film: Film) -> str:
    """The likeliest classes over the film; of one clip there is but one answer."""
    rows = film.panels[0].rows
    if len(rows) < 2:
        return ""
    highest: dict[str, float] = {}
    for row in rows:
        for top in row.top:
            highest[top.label] = max(highest.get(top.label, 0.0), top.p)
    labels = sorted(highest, key=highest.__getitem__, reverse=True)[:CLASSES]
    of = [[(_middle(film, row), next((t.p for t in row.top if t.label == label), None)) for row in rows]
          for label in labels]  # fmt: skip
    return _section("What it says", "probability", "100 %", 1.0, _end(film), labels, of)


def _over_time(film: Film, strength: Sequence[tuple[float, list[float]]]) -> str:
    names = [panel.explainer for panel in film.panels]
    top = max((value for _, values in strength for value in values), default=0.0)
    of = [[(at, values[i]) for at, values in strength] for i in range(len(names))]
    says = "how much heat, on average over the picture"
    return _section("When its evidence is there", says, f"{100 * top:.0f} %", top or 1.0, _end(film), names, of)


def _motion(film: Film) -> str:
    """The motion share, where a selective step told it."""
    told = [panel for panel in film.panels if film.whole and any(row.motion_share is not None for row in panel.rows)]
    if not told:
        return ""
    of = [[(_middle(film, row), row.motion_share) for row in panel.rows] for panel in told]
    names = [panel.explainer for panel in told]
    return _section("How much of it is motion", "motion share", "100 %", 1.0, _end(film), names, of)


def _section(
    title: str, says: str, top_words: str, top: float, end: float, names: Sequence[str],
    of: Iterable[Sequence[tuple[float, float | None]]],
) -> str:  # fmt: skip
    """A plot with its key; where a value is missing, so is the line."""
    drawn = [(COLOURS[i % len(COLOURS)], i // len(COLOURS) > 0, name) for i, name in enumerate(names)]
    lines = []
    for (colour, dashed, _), points in zip(drawn, of, strict=True):
        for piece in _pieces(points):
            if len(piece) == 1:
                at, value = piece[0]
                piece = [(at, value), (at + end / 200, value)]
            lines.append(line(piece, end, top, colour, dashed))
    keys = "".join(
        f'<span class="key"><i style="{"border-top: .3rem dotted" if dashed else "background:"} {colour}"></i>'
        f"{escape(name)}</span>"
        for colour, dashed, name in drawn
    )
    plot = svg(HEIGHT, [*axes(top_words, f"{end:.1f} s"), *lines], f"{title}: {says} over time")
    return f"<section><h2>{title}</h2><p>{keys}</p>{plot}</section>"


def _pieces(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is not None:
            pieces[-1].append((at, value))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _middle(film: Film, row: Row) -> float:
    return ((row.times[0] + row.times[-1]) / 2 - film.begin) / NS_PER_S


def _end(film: Film) -> float:
    return max(film.end - film.begin, 1) / NS_PER_S


def _tree(pyramid: Pyramid, look: Look) -> str:
    row = pyramid.row
    if not pyramid.layers:
        return f"<section><h2>Layer by layer</h2><p>No pyramid: {escape(pyramid.why)}</p></section>"
    name = row.target or row.top[0].label
    where = f"from {row.times[0] / NS_PER_S:.2f} to {row.times[-1] / NS_PER_S:.2f} s"
    return (
        f"<section><h2>What {escape(name)} rests on, layer by layer</h2>"
        f"<p>The Class Feature Pyramid of the clip {where}, at the frame where each layer is most active.</p>"
        f"{_branch(pyramid, -1, 0, look)}</section>"
    )


def _branch(pyramid: Pyramid, above: int, depth: int, look: Look) -> str:
    """The layers that made the channels of layer number `above`."""
    items = []
    for number, layer in enumerate(pyramid.layers):
        if layer.below != above:
            continue
        name = "Features" if depth == 0 else f"{depth} {'layer' if depth == 1 else 'layers'} down"
        strongest = ", ".join(f"no. {channel} {100 * share:.0f} %" for channel, share in layer.strongest[:4])
        most = f"; most {strongest}" if strongest else ""
        words = escape(f"{name}: {layer.channels} of {layer.of} channels matter{most}")
        shown = f'<span class="layer">{_picture(_layer(pyramid, layer, look), name)}<span>{words}</span></span>'
        below = _branch(pyramid, number, depth + 1, look)
        items.append(
            f"<li><details{' open' if depth == 0 else ''}><summary>{shown}</summary>{below}</details></li>"
            if below
            else f"<li>{shown}</li>"
        )
    return f'<ul class="tree">{"".join(items)}</ul>' if items else ""


def _layer(pyramid: Pyramid, layer: TreeLayer, look: Look) -> NDArray[np.uint8]:
    heat = np.maximum(every_frame(layer.map), 0)
    newest = int(heat.mean(axis=(1, 2)).argmax())
    frame = cv2.resize(pyramid.frames[newest], (PATCH, PATCH), interpolation=cv2.INTER_AREA)
    full = float(np.quantile(heat, FULL)) or 1.0
    values = np.clip(heat[newest] * (255 / full), 0, 255).astype(np.uint8)
    picture = np.asarray(frame, np.uint8).copy()
    draw(picture, Heat(values, Rect(0, 0, PATCH, PATCH)), look)
    return picture


def _picture(picture: NDArray[np.uint8], words: str) -> str:
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    height, width = picture.shape[:2]
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(words)}">'


def inline(result: Result) -> str:
    """One result as a notebook shows it: some of its frames with their heat, and what the network says."""
    heat = own_scale(result)
    figures = []
    for i in np.linspace(0, len(heat) - 1, min(INLINE, len(heat))).round().astype(int):
        small = np.asarray(cv2.resize(result.frames[i], (PATCH, PATCH), interpolation=cv2.INTER_AREA), np.uint8).copy()
        draw(small, Heat(heat[i].astype(np.uint8), Rect(0, 0, PATCH, PATCH)), Look())
        figures.append(_picture(small, f"frame {i + 1} of {len(heat)}"))
    bars = "".join(
        f'<div style="display:flex;gap:.5em"><span style="width:12em">{escape(top.label)}</span>'
        f'<span style="width:4em">{100 * top.p:.1f} %</span>'
        f'<span style="background:#f90;height:1em;width:{12 * top.p:.2f}em"></span></div>'
        for top in result.top[:3]
    )
    words = of_target(result.explainer, result.target, result.top) if result.target else result.explainer
    said = [words, f"{result.model}, {result.backend} {result.device} {result.precision}"]
    if not result.evidence:
        said.append("no evidence above threshold")
    if result.motion_share is not None:
        said.append(f"motion share {100 * result.motion_share:.0f} %")
    return (
        f'<div><div style="display:flex;gap:4px;overflow-x:auto">{"".join(figures)}</div>{bars}'
        f"<div>{escape('; '.join(said))}</div></div>"
    )
