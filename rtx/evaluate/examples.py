"""Clips to measure on: of the drawn hall, whose truth is known, or out of a folder of films."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import see
from rtx.errors import UserError
from rtx.evaluate import datasets, strips
from rtx.evaluate.datasets import Item
from rtx.evaluate.study import Example, Material, Scene
from rtx.film.read import read_clip
from rtx.geometry import input_rect
from rtx.measure.boxes import Box
from rtx.nets.cards import Clip
from rtx.scenes.actions import LABELS
from rtx.scenes.film import Film, film
from rtx.scenes.mat import MAT
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import Cast

FPS = 30.0
"""Frames a second of films that do not say so: of HMDB51, from which JHMDB's pictures were taken."""
STRIP = ".jpg"
"""Ending of a film that is kept as a strip."""
MOST = 10_000
"""Scenes."""
FIGURE = [number for part, number in NUMBERS.items() if part != "distractor"]


def examples_of(
    backend: TorchBackend, wanted: str, boxed: bool = False, scene: Scene | None = None, named: bool = False
) -> Material:
    """So many held-out scenes, or the films of a folder. UserError.

    `boxed`: it must be known where who acts is. `scene`: it must be such scenes. `named`: the network must have a name
    for what some of them show.
    """
    material = _material(backend, wanted, boxed, scene)
    if named and not material.named:
        raise UserError(
            f"--clips {wanted!r}: {backend.card.name} has no name for any in {material.says}; give clips of what it "
            "knows, or a network that knows these"
        )
    return material


def _material(backend: TorchBackend, wanted: str, boxed: bool, scene: Scene | None) -> Material:
    if wanted.isdecimal() and int(wanted) > MOST:
        raise UserError(f"--clips {wanted}: {MOST} scenes at most")
    if wanted.isdecimal() and int(wanted):
        names = tuple(f"scene {seed}" for seed in range(int(wanted)))
        what = "the drawn hall" if scene is None else (scene.__doc__ or "").rstrip(".").lower()
        known = not set(LABELS).isdisjoint(backend.labels)
        return Material(f"{wanted} held-out scenes: {what}", names, partial(drawn, backend, scene or shot_of), known)
    if scene is not None:
        raise UserError(f"--clips {wanted!r}: give how many scenes to draw; nothing else will do here")
    folder = Path(wanted)
    if not folder.is_dir():
        raise UserError(f"--clips {wanted!r} is no folder; give one with films, or how many scenes to draw")
    found = datasets.found_in(folder)
    items = datasets.films(folder) if found is None else found.items
    if boxed and not any(of.mask or of.path.suffix == STRIP for of in items):
        raise UserError(f"--clips {wanted!r}: where who acts is, nobody says of these films; give a number of scenes")
    says = f"{len(items)} films of {folder.resolve().name}" if found is None else f"{found.name}, {found.part}"
    by_name = {of.name: of for of in items}
    known = any(_class_of(backend, of.label) for of in items)
    return Material(says, tuple(by_name), lambda name: read(backend, by_name[name]), known)


def shot_of(spec: Clip, seed: int) -> Film:
    """A clip of a held-out scene, long enough after it began."""
    cast = Cast.draw(seed, held_out=True)
    return film(cast, 2 * spec.frames, 1000 / spec.stride_ms, spec.size, spec.size).last(spec.frames)


def drawn(backend: TorchBackend, scene: Scene, name: str) -> Example:
    """A held-out scene, by its name, `scene 7`."""
    shot = scene(backend.card.clip, int(name.removeprefix("scene ")))
    act = shot.acts[-1].action if shot.acts[0].action == shot.acts[-1].action else ""
    boxes = tuple(box_around(np.isin(of, FIGURE)) for of in shot.labels)
    return Example(name, shot.frames, _class_of(backend, act), act, boxes, regions(shot))


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
    if item.mask is not None:
        return _of_pictures(backend, item, item.mask)
    if item.path.suffix == STRIP:
        return _of_strip(backend, item)
    at = None
    if item.between is not None:
        spec, begin, end = backend.card.clip, *item.between
        rate = cv2.VideoCapture(str(item.path)).get(cv2.CAP_PROP_FPS) or FPS
        at = max(0.0, (begin + end) / 2 / rate + (spec.frames - 1) * spec.stride_ms / 2000)
    frames = read_clip(item.path, backend, at).clip.frames
    return Example(item.name, frames, _class_of(backend, item.label), item.label or "")


def _class_of(backend: TorchBackend, shown: str | None) -> str | None:
    """What the network calls that; None where it has no name for it."""
    return {plain(of): of for of in backend.labels}.get(plain(shown or ""))


def _of_strip(backend: TorchBackend, item: Item) -> Example:
    """A strip of frames, and who is to be seen in it; what of them moves is what is not theirs in every frame."""
    spec, frames = backend.card.clip, strips.frames_of(item.path)
    chosen = _about_the_middle(spec, len(frames), strips.FPS)
    body = np.stack([_as_large(of, spec.size) for of in strips.silhouettes(frames)[chosen]])
    seen = np.stack([cv2.resize(of, (spec.size, spec.size), interpolation=cv2.INTER_LINEAR) for of in frames[chosen]])
    where = {"acting": body & ~body.all(axis=0), "body": body}
    boxes = tuple(box_around(of) for of in body)
    return Example(item.name, seen, _class_of(backend, item.label), item.label or "", boxes, where)


def _as_large(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """A mask at the size that the network sees."""
    share = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(share > 0.5)


def _about_the_middle(spec: Clip, frames: int, fps: float) -> NDArray[np.int_]:
    """Which of so many frames make a clip, its middle where theirs is; the first and last again, if they are few."""
    wanted = (frames - 1) / 2 + (np.arange(spec.frames) - (spec.frames - 1) / 2) * spec.stride_ms * fps / 1000
    return np.clip(np.round(wanted), 0, frames - 1).astype(int)


def _of_pictures(backend: TorchBackend, item: Item, mask: Path) -> Example:
    """A folder of pictures, and for each a mask of who acts: H W T of `part_mask`."""
    try:
        masks = np.asarray(loadmat(str(mask))["part_mask"]).astype(bool)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{mask}: no part_mask can be read from it: {error}") from None
    files = sorted(item.path.glob("*.png"))[: masks.shape[2]]
    if not files:
        raise UserError(f"{item.path} holds no picture")
    spec = backend.card.clip
    chosen = _about_the_middle(spec, len(files), FPS)
    frames, body = np.empty((2, spec.frames, spec.size, spec.size, 3), np.uint8)
    for frame, who, number in zip(frames, body, chosen.tolist(), strict=True):
        picture = cv2.imread(str(files[number]))
        if picture is None:
            raise UserError(f"{files[number]} is no picture that can be read")
        height, width = picture.shape[:2]
        rect = input_rect(height, width, (0.0, 0.0, 1.0, 1.0), "crop")
        see(np.asarray(picture, np.uint8), rect, spec.size, frame)
        see(np.repeat(masks[:, :, number, None], 3, axis=2).astype(np.uint8) * 255, rect, spec.size, who)
    where = body[..., 0] > 127
    boxes = tuple(box_around(of) for of in where)
    return Example(item.name, frames, _class_of(backend, item.label), item.label or "", boxes, {"body": where})


def plain(name: str) -> str:
    """A class's name without what data sets differ in: `ApplyEyeMakeup`, `apply_eye_makeup`, `apply eye makeup`."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def box_around(mask: NDArray[np.bool_]) -> Box | None:
    """The least box around all that is true in H W; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
