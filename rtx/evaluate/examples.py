"""Clips to measure on: of the drawn hall, whose truth is known, or out of a folder of films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import see
from rtx.errors import UserError
from rtx.evaluate import datasets
from rtx.evaluate.datasets import Item
from rtx.evaluate.study import Example, Scene
from rtx.film.read import read_clip
from rtx.geometry import Rect, input_rect
from rtx.measure.boxes import Box
from rtx.nets.cards import Clip
from rtx.scenes.film import Film, film
from rtx.scenes.mat import MAT
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import Cast


class Material(NamedTuple):
    """Clips to measure on, loaded one after another."""

    says: str
    """What they are."""
    names: tuple[str, ...]
    load: Callable[[Sequence[str]], Iterator[Example]]
    """Those of these names."""


FPS = 30.0
"""Frames a second of films that do not say so: of HMDB51, from which JHMDB's pictures were taken."""
FIGURE = [number for part, number in NUMBERS.items() if part != "distractor"]


def examples_of(backend: TorchBackend, wanted: str, boxed: bool = False, scene: Scene | None = None) -> Material:
    """So many held-out scenes, or the films of a folder. UserError.

    `boxed`: it must be known where who acts is. `scene`: it must be such scenes.
    """
    if wanted.isdecimal() and int(wanted):
        names = tuple(f"scene {seed}" for seed in range(int(wanted)))
        what = "the drawn hall" if scene is None else (scene.__doc__ or "").rstrip(".").lower()
        return Material(f"{wanted} held-out scenes: {what}", names, partial(drawn, backend, scene or shot_of))
    if scene is not None:
        raise UserError(f"--clips {wanted!r}: give how many scenes to draw; nothing else will do here")
    folder = Path(wanted)
    if not folder.is_dir():
        raise UserError(f"--clips {wanted!r} is no folder; give one with films, or how many scenes to draw")
    known = datasets.found_in(folder)
    items = datasets.films(folder) if known is None else known.items
    if boxed and not any(of.mask for of in items):
        raise UserError(f"--clips {wanted!r}: where who acts is, nobody says of these films; give a number of scenes")
    says = f"{len(items)} films of {folder.resolve().name}" if known is None else f"{known.name}, {known.part}"
    by_name = {of.name: of for of in items}
    return Material(says, tuple(by_name), lambda names: (read(backend, by_name[name]) for name in names))


def shot_of(spec: Clip, seed: int) -> Film:
    """A clip of a held-out scene, long enough after it began."""
    cast = Cast.draw(seed, held_out=True)
    return film(cast, 2 * spec.frames, 1000 / spec.stride_ms, spec.size, spec.size).last(spec.frames)


def drawn(backend: TorchBackend, scene: Scene, names: Sequence[str]) -> Iterator[Example]:
    """Held-out scenes, by their names, `scene 7`."""
    for name in names:
        shot = scene(backend.card.clip, int(name.removeprefix("scene ")))
        one_act = shot.acts[0].action == shot.acts[-1].action
        boxes = tuple(box_around(np.isin(of, FIGURE)) for of in shot.labels)
        yield Example(name, shot.frames, shot.acts[-1].action if one_act else None, boxes, regions(shot))


def regions(shot: Film) -> dict[str, NDArray[np.bool_]]:
    """The limbs that act, the figure, what distracts, and a mat, in each frame."""
    acting = [
        np.isin(labels, [NUMBERS[part] for part in act.acting])
        for labels, act in zip(shot.labels, shot.acts, strict=True)
    ]
    return {
        "acting": np.stack(acting), "body": np.isin(shot.labels, FIGURE),
        "distractor": shot.labels == NUMBERS["distractor"], "mat": shot.labels == MAT,
    }  # fmt: skip


def read(backend: TorchBackend, item: Item) -> Example:
    """The clip in the middle of a film, or of what of it is meant. UserError."""
    label = {plain(of): of for of in backend.labels}.get(plain(item.label or ""))
    if item.mask is not None:
        return _of_pictures(backend, item, item.mask, label)
    at = None
    if item.between is not None:
        spec, begin, end = backend.card.clip, *item.between
        rate = cv2.VideoCapture(str(item.path)).get(cv2.CAP_PROP_FPS) or FPS
        at = max(0.0, (begin + end) / 2 / rate + (spec.frames - 1) * spec.stride_ms / 2000)
    return Example(item.name, read_clip(item.path, backend, at).clip.frames, label)


def _of_pictures(backend: TorchBackend, item: Item, mask: Path, label: str | None) -> Example:
    """A folder of pictures, and for each a mask of who acts: H W T of `part_mask`."""
    try:
        masks = np.asarray(loadmat(str(mask))["part_mask"]).astype(bool)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{mask}: no part_mask can be read from it: {error}") from None
    files = sorted(item.path.glob("*.png"))[: masks.shape[2]]
    if not files:
        raise UserError(f"{item.path} holds no picture")
    spec = backend.card.clip
    wanted = (len(files) - 1) / 2 + (np.arange(spec.frames) - (spec.frames - 1) / 2) * spec.stride_ms * FPS / 1000
    chosen = np.clip(np.round(wanted), 0, len(files) - 1).astype(int)
    frames, boxes = np.empty((spec.frames, spec.size, spec.size, 3), np.uint8), []
    for out, number in zip(frames, chosen.tolist(), strict=True):
        picture = cv2.imread(str(files[number]))
        if picture is None:
            raise UserError(f"{files[number]} is no picture that can be read")
        height, width = picture.shape[:2]
        rect = input_rect(height, width, (0.0, 0.0, 1.0, 1.0), "crop")
        see(np.asarray(picture, np.uint8), rect, spec.size, out)
        boxes.append(_seen(box_around(masks[:, :, number]), rect, spec.size))
    return Example(item.name, frames, label, tuple(boxes))


def _seen(box: Box | None, rect: Rect, size: int) -> Box | None:
    """A box of the picture in what the network sees of it; None where nothing of it is left."""
    if box is None:
        return None
    corners = zip(box, (rect.x, rect.y, rect.x, rect.y), strict=True)
    seen = Box(*(min(size, max(0, round((at - begin) * size / rect.width))) for at, begin in corners))
    return seen if seen.area else None


def plain(name: str) -> str:
    """A class's name without what data sets differ in: `ApplyEyeMakeup`, `apply_eye_makeup`, `apply eye makeup`."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def box_around(mask: NDArray[np.bool_]) -> Box | None:
    """The least box around all that is true in H W; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
