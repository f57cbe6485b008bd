"""An explained clip as a file: contact sheet, video or arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.api import Result
from rtx.clock import NS_PER_S
from rtx.errors import UserError
from rtx.film.read import FileClip
from rtx.show.overlay import compose, draw, of_target
from rtx.show.sinks import Mp4
from rtx.show.view import Heat, Look, View

LOOK = Look()
SHEET_WIDTH = 320
FULL = 0.995
"""Full heat begins at this quantile of a clip: of a map of single pixels, the highest would leave all others pale."""
BLUR = 1 / 56
"""Such a map is drawn smoothed: the deviation of the Gaussian, as a share of the clip's height."""


def save(path: Path, clip: FileClip, result: Result, look: Look = LOOK) -> None:
    """Write .png (contact sheet), .mp4 (every frame of the clip's time) or .npz (arrays, no pickle)."""
    check(path)
    try:
        WRITERS[path.suffix](path, clip, result, look)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}") from None


def check(path: Path) -> None:
    """Raises UserError where the file cannot be written, before any work is done."""
    if path.suffix not in WRITERS:
        raise UserError(f"-o {str(path)!r}: the name must end in {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise UserError(f"-o {str(path)!r}: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise UserError(f"-o {str(path)!r} is a folder; name a file")


def views(
    clip: FileClip, result: Result, times: tuple[int, ...], pictures: tuple[NDArray[np.uint8], ...]
) -> list[View]:
    """The pictures with the heat of their own moment: the clip's map, interpolated at their times."""
    heat = heat_of(result)
    samples = np.asarray(clip.clip.t_frames)
    made = []
    for number, (time, picture) in enumerate(zip(times, pictures, strict=True)):
        at = float(np.interp(time, samples, np.arange(len(samples))))
        low = int(at)
        high = min(low + 1, len(samples) - 1)
        values = cv2.addWeighted(heat[low], 1 - (at - low), heat[high], at - low, 0)
        heated = Heat(np.asarray(values, np.uint8), clip.clip.rect, clip.clip.seen)
        made.append(View(
            "file", picture, number, 0, time, 0.0, "live", "explaining", heated, evidence=result.evidence,
            top=result.top, target=result.target, explainer=result.explainer,
        ))  # fmt: skip
    return made


def heat_of(result: Result) -> NDArray[np.uint8]:
    """T H W, as it is drawn: what speaks for the class, from the clip's least, or nothing, to its `FULL` quantile."""
    heat = np.zeros_like(result.relevance_full)
    if result.evidence:
        heat = np.maximum(result.relevance_full - max(0.0, float(result.relevance_full.min())), 0)
    if result.relevance.shape == heat.shape:
        heat = np.stack([cv2.GaussianBlur(frame, (0, 0), BLUR * heat.shape[1]) for frame in heat])
    full = float(np.quantile(heat, FULL)) or float(heat.max()) or 1.0
    return np.asarray(np.clip(heat * (255 / full), 0, 255), np.uint8)


def _png(path: Path, clip: FileClip, result: Result, look: Look) -> None:
    samples = clip.clip.t_frames
    pictures = tuple(clip.pictures[int(np.abs(np.asarray(clip.times) - t).argmin())] for t in samples)
    composed = []
    for view in views(clip, result, samples, pictures):
        assert view.heat is not None
        composed.append(view.image.copy())
        draw(composed[-1], view.heat, look)
    height, width = composed[0].shape[:2]
    size = (SHEET_WIDTH, round(SHEET_WIDTH * height / width))
    small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in composed]
    columns = 4
    while len(small) % columns:
        small.append(np.zeros_like(small[0]))
    rows = [np.hstack(small[i : i + columns]) for i in range(0, len(small), columns)]
    words = (
        f"{result.top[0].label} {100 * result.top[0].p:.0f}%   {of_target(result.explainer, result.target, result.top)}"
    )
    words += "" if result.evidence else "   no evidence above threshold"
    title = np.zeros((36, rows[0].shape[1], 3), np.uint8)
    cv2.putText(title, words, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    if not cv2.imwrite(str(path), np.vstack([title, *rows])):
        raise UserError(f"cannot write {str(path)!r}")


def _mp4(path: Path, clip: FileClip, result: Result, look: Look) -> None:
    height, width = clip.pictures[0].shape[:2]
    movie = Mp4(path, height, width)
    for view in views(clip, result, clip.times, clip.pictures):
        movie.add(compose(view, look), view.t_capture)
    movie.close()


def _npz(path: Path, clip: FileClip, result: Result, look: Look) -> None:
    np.savez_compressed(
        path, allow_pickle=False, relevance=result.relevance, heatmap=result.heatmap, frames=clip.clip.frames,
        times_s=np.asarray(clip.clip.t_frames) / NS_PER_S, rect=np.asarray(clip.clip.rect),
        labels=np.asarray([top.label for top in result.top]), p=np.asarray([top.p for top in result.top]),
        target=np.asarray(result.target or ""), explainer=np.asarray(result.explainer), model=np.asarray(result.model),
    )  # fmt: skip


WRITERS: dict[str, Callable[[Path, FileClip, Result, Look], None]] = {".png": _png, ".mp4": _mp4, ".npz": _npz}
