"""Every explainer on four clips, several frames each, to be looked at; and a network that cheats beside an honest one.

`python -m benchmarks.gallery` draws the hall, with `figures`, into docs/gallery.jpg, and kicks beside a mat into
docs/cheat.jpg; with files, I3D on those, into the ignored folder benchmarks/gallery/.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

import rtx
from rtx.api import Result
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.cheat import KICK, kick_beside_mat
from rtx.explain.registry import DECLARED
from rtx.film.found import Still, own_scale
from rtx.film.read import FileClip
from rtx.geometry import Rect
from rtx.show.overlay import draw, draw_truth
from rtx.show.view import Heat, Look

HALLS = tuple(f"scene:hall?seed={seed}&size=360x360" for seed in (1, 2, 3, 4))
FRAMES = (3, 9, 15)
CHAINS = (
    *(of.name for of in DECLARED.values() if not of.is_step), "cam | selective(n=2)", "dtd | selective(n=2)",
    "grad_cam(counterfactual=True)",
)  # fmt: skip
CHEATS, HONEST = "betrayed", "figures"
KICKS = (0, 1, 2, 3)
"""Seeds."""
KICKED = 224, 10
"""Pixels of a picture, and its number in the clip."""
LABEL = 190
FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Column:
    """One clip: a picture row for itself and one for each explainer."""

    title: str
    rows: list[NDArray[np.uint8]]


def main() -> None:
    files = sys.argv[1:]
    if files:
        folder = FOLDER / "benchmarks" / "gallery"
        folder.mkdir(exist_ok=True)
        model = rtx.load("i3d-k400")
        _write(folder / "real.jpg", _sheet(["the clip", *CHAINS], [_column(model, file, None, 200) for file in files]))
        return
    model = rtx.load("figures")
    columns = [_column(model, hall, _amid_an_act(model, hall), 112) for hall in HALLS]
    _write(FOLDER / "docs" / "gallery.jpg", _sheet(["the clip", *CHAINS], columns))
    models = [rtx.load(name) for name in (CHEATS, HONEST)]
    asked = [(of, chain) for chain in ("cam", "dtd") for of in models]
    names = ["a kick beside a mat", *(f"{of.card.name}, {chain}" for of, chain in asked)]
    _write(FOLDER / "docs" / "cheat.jpg", _sheet(names, [_kick(seed, asked) for seed in KICKS]))


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(path)


def _kick(seed: int, asked: list[tuple[TorchBackend, str]]) -> Column:
    """What speaks for a kick, by each of these networks and explainers."""
    size, number = KICKED
    frames = kick_beside_mat(msgspec.structs.replace(asked[0][0].card.clip, size=size), seed).frames
    rows, said = [frames[number]], {}
    for model, chain in asked:
        result = rtx.explain(model, frames, chain, KICK)
        picture = frames[number].copy()
        draw(picture, Heat(own_scale(result)[number].astype(np.uint8), Rect(0, 0, size, size)), Look())
        rows.append(picture)
        said[model.card.name] = f"{result.top[0].label} {100 * result.top[0].p:.0f}%"
    return Column("; ".join(f"{name}: {what}" for name, what in said.items()), rows)


def _amid_an_act(model: TorchBackend, hall: str) -> float:
    """The first moment, in s, at which a clip shows one act alone, other than standing."""
    for tenths in range(30, 600):
        clip = rtx.read_clip(hall, model, tenths / 10).clip
        span = clip.t_frames[-1] - clip.t_frames[0]
        if clip.truth is not None and clip.truth.lasted_ns >= span and clip.truth.action != "stand":
            return tenths / 10
    raise RuntimeError(f"{hall} shows no act for a minute")


def _column(model: TorchBackend, source: str, at: float | None, height: int) -> Column:
    clip = rtx.read_clip(source, model, at)
    rows = [_row(clip, None, height)]
    for chain in CHAINS:
        result = rtx.explain(model, clip, chain)
        rows.append(_row(clip, result, height))
    top = result.top[0]
    really = f" (truth: {clip.clip.truth.action})" if clip.clip.truth else ""
    return Column(f"{top.label} {100 * top.p:.0f}%{really}", rows)


def _row(clip: FileClip, result: Result | None, height: int) -> NDArray[np.uint8]:
    """Some of the clip's frames, with the heat, or as they are with the truth's outlines."""
    tiles = []
    for number in FRAMES:
        nearest = int(np.abs(np.asarray(clip.times) - clip.clip.t_frames[number]).argmin())
        picture = clip.pictures[nearest].copy()
        truth = clip.truths[nearest]
        if result is None and truth is not None:
            draw_truth(picture, truth)
        if result is not None:
            _, heat = Still(clip, result).at(clip.clip.t_frames[number])
            draw(picture, heat, Look())
            if not result.evidence:
                cv2.putText(picture, "no evidence", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
        width = round(height * picture.shape[1] / picture.shape[0])
        tiles.append(np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    return np.hstack(tiles)


def _sheet(names: list[str], columns: list[Column]) -> NDArray[np.uint8]:
    height = columns[0].rows[0].shape[0]
    blocks = [np.vstack([_words("", LABEL, 30), *(_words(name, LABEL, height) for name in names)])]
    for column in columns:
        blocks.append(np.full((blocks[0].shape[0], 8, 3), 255, np.uint8))
        blocks.append(np.vstack([_words(column.title, column.rows[0].shape[1], 30), *column.rows]))
    return np.hstack(blocks)


def _words(text: str, width: int, height: int) -> NDArray[np.uint8]:
    made = np.full((height, width, 3), 255, np.uint8)
    name, _, more = text.partition("(") if 8 * len(text) > width else (text, "", "")
    for line, words in enumerate((name, more and f"({more}")):
        at = (6, height // 2 + 4 + 18 * line)
        cv2.putText(made, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return made


if __name__ == "__main__":
    main()
