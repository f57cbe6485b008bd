"""The clip of one event on disk: plain, with the overlay, and the maps; readable even if the writer was killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.errors import UserError
from rtx.events.store import MAPS, PART
from rtx.geometry import Rect
from rtx.link.wire import TopClass
from rtx.show.overlay import GRID
from rtx.show.view import Heat

LATEST_S = 1.5
"""A map speaks for frames up to so long before its newest one, and after it."""


class Moment(msgspec.Struct, frozen=True):
    """What was known of one explained clip."""

    at: int
    """Capture time of its newest frame, ns; in files since the clip's first frame."""
    relevance: bytes
    """At that frame: 56 x 56 float16, 1 where it is drawn as full heat."""
    certainty: float
    """The share of full heat that is shown: less where the class is unlikely."""
    rect: tuple[float, float, float, float]
    """Where it lies in the frame: x, y, width, height."""
    seen: tuple[float, float, float, float] | None
    top: tuple[TopClass, ...]
    target: str | None
    motion_share: float | None

    def heat(self) -> Heat:
        """As it was shown."""
        values = np.frombuffer(self.relevance, np.float16).reshape(GRID, GRID).astype(np.float32)
        shown = np.clip(values * (255 * self.certainty), 0, 255).astype(np.uint8)
        return Heat(shown, Rect(*self.rect), None if self.seen is None else Rect(*self.seen))


def moment_for(moments: list[Moment], at: int) -> Moment | None:
    """The moment that speaks for a frame: the first whose clip holds it, else the last before it."""
    after = bisect_left(moments, at, key=lambda moment: moment.at)
    near = (*moments[after : after + 1], *moments[max(0, after - 1) : after])
    return next((moment for moment in near if abs(moment.at - at) <= LATEST_S * NS_PER_S), None)


class MapLog:
    """Moments, each on disk as soon as it is known; `close` makes an npz of them."""

    def __init__(self, clip: Path):
        self._clip = clip
        self._file = (clip / PART).open("ab", buffering=0)

    def add(self, moment: Moment) -> None:
        data = msgspec.msgpack.encode(moment)
        self._file.write(len(data).to_bytes(4, "little") + data)

    def close(self) -> None:
        self._file.close()
        finish(self._clip)


def finish(clip: Path) -> None:
    """The npz of a clip whose moments were logged; what was cut off within one is left out."""
    part = clip / PART
    if not part.is_file():
        return
    moments = list(_logged(part))
    made = clip / f"{MAPS}.new"
    with made.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays(moments))
    os.replace(made, clip / MAPS)
    part.unlink()


def _logged(part: Path) -> Iterator[Moment]:
    data = part.read_bytes()
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            return
        try:
            yield msgspec.msgpack.decode(data[at + 4 : end], type=Moment)
        except msgspec.DecodeError:
            return  # After a power cut there may be zeros.
        at = end


def arrays(moments: list[Moment]) -> dict[str, NDArray[Any]]:
    """What stands in maps.npz, one row a moment."""
    most = max((len(of.top) for of in moments), default=0)

    def row(of: Moment) -> list[TopClass]:
        return [*of.top, *[TopClass("", 0.0)] * (most - len(of.top))]

    none = (float("nan"),) * 4
    relevance = [np.frombuffer(of.relevance, np.float16).reshape(GRID, GRID) for of in moments]
    return {
        "at_ns": np.array([of.at for of in moments], np.int64),
        "relevance": np.array(relevance, np.float16).reshape(-1, GRID, GRID),
        "certainty": np.array([of.certainty for of in moments], np.float32),
        "rect": np.array([of.rect for of in moments], np.float32).reshape(-1, 4),
        "seen": np.array([of.seen or none for of in moments], np.float32).reshape(-1, 4),
        "labels": np.array([[top.label for top in row(of)] for of in moments], np.str_).reshape(len(moments), most),
        "p": np.array([[top.p for top in row(of)] for of in moments], np.float32).reshape(len(moments), most),
        "target": np.array([of.target or "" for of in moments], np.str_),
        "motion_share": np.array([of.motion_share for of in moments], np.float32),
    }


AGAIN = "maps-*.npz"
"""Maps that were made later, by other explainers."""


def keep_again(clip: Path, explainer: str, moments: list[Moment]) -> None:
    """Maps of another explainer, beside those that were recorded. OSError."""
    name = f"maps-{hashlib.sha256(explainer.encode()).hexdigest()[:12]}.npz"
    made = clip / f".{name}.new"
    with made.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, explainer=np.asarray(explainer), **arrays(moments))
    os.replace(made, clip / name)


def made_again(clip: Path) -> dict[str, Path]:
    """By whom maps were made later, and where they are; what cannot be read is left out."""
    found = {}
    for path in sorted(clip.glob(AGAIN)):
        with (
            contextlib.suppress(OSError, ValueError, KeyError, EOFError, BadZipFile),
            np.load(path, allow_pickle=False) as file,
        ):
            found[str(file["explainer"])] = path
    return found


def read(clip: Path, explainer: str | None = None) -> list[Moment]:
    """The moments of a clip, times since its first frame; without an explainer, as they were recorded. UserError."""
    path = clip / MAPS if explainer is None else made_again(clip).get(explainer)
    if path is None:
        raise UserError(f"{explainer!r} has not explained this clip; see `rtx events explain`")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        return [
            Moment(
                int(at), found["relevance"][i].astype(np.float16).tobytes(), float(found["certainty"][i]),
                (*map(float, found["rect"][i]),),  # type: ignore[arg-type]
                None if np.isnan(found["seen"][i]).any() else (*map(float, found["seen"][i]),),  # type: ignore[arg-type]
                tuple(TopClass(str(label), float(p)) for label, p in zip(found["labels"][i], found["p"][i], strict=True)
                      if label),
                str(found["target"][i]) or None,
                None if np.isnan(found["motion_share"][i]) else float(found["motion_share"][i]),
            )
            for i, at in enumerate(found["at_ns"])
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"the maps in {str(clip)!r} cannot be read: {error}") from None
