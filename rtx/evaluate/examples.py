"""Clips to measure on: of the drawn hall, whose truth is known, or out of a folder of films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.study import Example
from rtx.film.read import read_clip
from rtx.measure.boxes import Box
from rtx.nets.cards import Clip
from rtx.scenes.film import Film, film
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import Cast


class Material(NamedTuple):
    """Clips to measure on, loaded one after another."""

    says: str
    """What they are."""
    names: tuple[str, ...]
    load: Callable[[Sequence[str]], Iterator[Example]]
    """Those of these names."""


FILMS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
FIGURE = [number for part, number in NUMBERS.items() if part != "distractor"]


def examples_of(backend: TorchBackend, wanted: str, boxed: bool = False) -> Material:
    """So many held-out scenes, or the films of a folder. `boxed`: it must be known where who acts is. UserError."""
    if wanted.isdecimal() and int(wanted):
        names = tuple(f"scene {seed}" for seed in range(int(wanted)))
        return Material(f"{wanted} held-out scenes of the drawn hall", names, partial(drawn, backend))
    folder = Path(wanted)
    names = tuple(films(folder))
    if boxed:
        raise UserError(f"--clips {wanted!r}: where who acts is, nobody says of these films; give a number of scenes")
    return Material(f"{len(names)} films of {folder.resolve().name}", names, partial(filmed, backend, folder))


def shot_of(spec: Clip, seed: int) -> Film:
    """A clip of a held-out scene, long enough after it began."""
    whole = film(Cast.draw(seed, held_out=True), 2 * spec.frames, 1000 / spec.stride_ms, spec.size, spec.size)
    return Film(whole.frames[-spec.frames :], whole.labels[-spec.frames :], whole.acts[-spec.frames :])


def drawn(backend: TorchBackend, names: Sequence[str]) -> Iterator[Example]:
    """Held-out scenes, by their names, `scene 7`."""
    for name in names:
        shot = shot_of(backend.card.clip, int(name.removeprefix("scene ")))
        one_act = shot.acts[0].action == shot.acts[-1].action
        boxes = tuple(box_around(np.isin(of, FIGURE)) for of in shot.labels)
        yield Example(name, shot.frames, shot.acts[-1].action if one_act else "several acts", boxes)


def filmed(backend: TorchBackend, folder: Path, names: Sequence[str]) -> Iterator[Example]:
    """The middle clip of each film, by its path in the folder. One in a folder that is called like a class shows it."""
    classes = {plain(label): label for label in backend.labels}
    for name in names:
        yield Example(name, read_clip(folder / name, backend).clip.frames, classes.get(plain(Path(name).parent.name)))


def films(folder: Path) -> list[str]:
    """The films in a folder and in those within it, by path. UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"--clips {str(folder)!r} is no folder; give one with films, or how many scenes to draw")
    found = sorted(str(of.relative_to(folder)) for of in folder.rglob("*") if of.suffix.lower() in FILMS)
    if not found:
        raise UserError(f"--clips {str(folder)!r} holds no film ({', '.join(FILMS)})")
    return found


def plain(name: str) -> str:
    """A class's name without what data sets differ in: `ApplyEyeMakeup`, `apply_eye_makeup`, `apply eye makeup`."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def box_around(mask: NDArray[np.bool_]) -> Box | None:
    """The least box around all that is true in H W; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
