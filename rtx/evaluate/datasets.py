"""Data sets as their publishers lay them out: the papers' UCF101, HMDB51, JHMDB, Kinetics and TTStroke-21; Weizmann's.

Each is known by what lies in its folder. What its own list names and is not there is an error that names it.
"""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rtx.errors import UserError

FILMS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
NAMED = 3
"""So many of the films that are missing are told by name."""


class Item(NamedTuple):
    """One film of a data set, or a part of one."""

    name: str
    path: Path
    """A film; of JHMDB, a folder of pictures; of Weizmann's, a strip of frames."""
    label: str | None
    between: tuple[int, int] | None = None
    """Frames of the film, first and last, where it shows more than this."""
    mask: Path | None = None
    """Who acts in each frame: JHMDB's puppet_mask.mat."""


class DataSet(NamedTuple):
    """A data set that was found in a folder."""

    name: str
    items: tuple[Item, ...]
    part: str
    """Which of its clips: the test list, or what else was there."""


def found_in(folder: Path) -> DataSet | None:
    """The data set that lies there; None where it is none of these. UserError where it is not whole."""
    for look in (_jhmdb, _ucf101, _hmdb51, _kinetics, _weizmann, _ttstroke):
        found = look(folder)
        if found is not None:
            return found
    return None


def films(folder: Path) -> tuple[Item, ...]:
    """Any films in a folder and in those within it; one in a folder that is called like a class shows it. UserError."""
    found = sorted(of for of in folder.rglob("*") if of.suffix.lower() in FILMS)
    if not found:
        raise UserError(f"{str(folder)!r} holds no film ({', '.join(FILMS)}) and no data set that rtx knows")
    return tuple(Item(str(of.relative_to(folder)), of, of.parent.name if of.parent != folder else None) for of in found)


def _ucf101(folder: Path) -> DataSet | None:
    """UCF-101/Class/v_Class_g01_c01.avi beside ucfTrainTestlist/testlist01.txt."""
    films = next((of for of in (folder / "UCF-101", folder) if any(of.glob("*/v_*_g??_c??.avi"))), None)
    if films is None:
        return None
    listed = next((of for of in (folder, folder.parent) if (of / "ucfTrainTestlist/testlist01.txt").is_file()), None)
    if listed is None:
        here = sorted(films.glob("*/v_*_g??_c??.avi"))
        return DataSet("UCF101", tuple(_film(films, of, of.parent.name) for of in here), "all that is there")
    lines = _text(listed / "ucfTrainTestlist/testlist01.txt").split()
    items = tuple(_film(films, films / line, line.split("/")[0]) for line in lines)
    return DataSet("UCF101", _there("UCF101", items), "testlist01")


def _hmdb51(folder: Path) -> DataSet | None:
    """class/NAME.avi beside lists `class_test_split1.txt`, of lines `NAME.avi 2`; 2 is the test set."""
    lists = sorted((*folder.glob("*_test_split1.txt"), *folder.glob("*/*_test_split1.txt")))
    if not lists and any(folder.glob("*/*.avi")):
        lists = sorted(folder.parent.glob("*plits/*_test_split1.txt"))
    if not lists:
        return None
    items = tuple(_listed(lists, lambda name, label: _hmdb_film(folder, name, label)))
    return DataSet("HMDB51", _there("HMDB51", items), "test split 1")


def _hmdb_film(folder: Path, name: str, label: str) -> Item:
    root = next((of for of in (folder, folder / "hmdb51_org", folder / "Videos") if (of / label).is_dir()), folder)
    return _film(root, root / label / name, label)


def _jhmdb(folder: Path) -> DataSet | None:
    """Rename_Images/class/NAME/00001.png, puppet_mask/class/NAME/puppet_mask.mat, splits/class_test_split1.txt."""
    pictures, masks = folder / "Rename_Images", folder / "puppet_mask"
    if not pictures.is_dir():
        return None
    if not masks.is_dir():
        raise UserError(f"JHMDB: {masks} is not there, and says where who acts is")
    lists = sorted((*folder.glob("splits/*_test_split1.txt"), *folder.glob("*_test_split1.txt")))

    def item(name: str, label: str) -> Item:
        within = f"{label}/{name.removesuffix('.avi')}"
        return Item(within, pictures / within, label, mask=masks / within / "puppet_mask.mat")

    if lists:
        return DataSet("JHMDB", _there("JHMDB", tuple(_listed(lists, item))), "test split 1")
    here = tuple(item(of.name, of.parent.name) for of in sorted(pictures.glob("*/*")) if of.is_dir())
    return DataSet("JHMDB", _there("JHMDB", here), "all that is there")


def _ttstroke(folder: Path) -> DataSet | None:
    """As MediaEval gives it, classificationTask/validation/Class/NAME.mp4; or films, and their strokes in NAME.xml."""
    sets = [folder / "classificationTask" / part for part in ("test", "validation", "train")]
    for part in sets:
        here = sorted(of for of in part.glob("*/*") if of.suffix.lower() in FILMS)
        if here:
            return DataSet("TTStroke-21", tuple(_film(part, of, of.parent.name) for of in here), part.name)
    said = sorted(of for of in folder.rglob("*.xml") if b"<video" in _head(of))
    items = tuple(item for of in said for item in _strokes(folder, of))
    return DataSet("TTStroke-21", items, "all strokes") if items else None


def _head(said: Path) -> bytes:
    """How a list begins. UserError."""
    try:
        with said.open("rb") as file:
            return file.read(400)
    except OSError as error:
        raise UserError(f"{said} cannot be read: {error.strerror}") from None


def _strokes(folder: Path, said: Path) -> list[Item]:
    """<video><action begin="120" end="240" move="Serve Forehand Loop"/>...</video>, in frames."""
    name = said.name.removesuffix(".xml")
    near = (said.parent / f"{Path(name).stem}{end}" for end in (*FILMS, *(end.upper() for end in FILMS)))
    film = next((of for of in near if of.is_file()), None)
    if film is None:
        raise UserError(f"TTStroke-21: {said} tells of a film {name!r} that does not lie beside it")
    try:
        actions = ET.fromstring(_text(said))
    except ET.ParseError as error:
        raise UserError(f"TTStroke-21: {said} cannot be read: {error}") from None
    return [
        Item(f"{film.relative_to(folder)}#{of.get('begin')}", film, of.get("move"),
             (_number(said, "begin", of.get("begin")), _number(said, "end", of.get("end"))))
        for of in actions if of.tag == "action"
    ]  # fmt: skip


def _kinetics(folder: Path) -> DataSet | None:
    """val.csv (label, youtube_id, time_start, time_end, split) and val/ID_000010_000020.mp4, in class folders or not.

    Films vanish from where they came from: what is there is taken, if it is anything.
    """
    lists = [f"{where}{part}.csv" for part in ("val", "validate", "test") for where in ("", "annotations/")]
    said = next((folder / of for of in lists if (folder / of).is_file()), None)
    if said is None:
        return None
    rows = list(csv.DictReader(_text(said).splitlines()))
    if not rows or not {"label", "youtube_id", "time_start", "time_end"} <= set(rows[0]):
        return None
    here = {of.stem: of for of in sorted(folder.rglob("*")) if of.suffix.lower() in FILMS}
    items, missing = [], []
    for row in rows:
        begin, end = (_number(said, column, row[column]) for column in ("time_start", "time_end"))
        stem = f"{row['youtube_id']}_{begin:06d}_{end:06d}"
        film = here.get(stem) or here.get(row["youtube_id"])
        if film is not None:
            items.append(_film(folder, film, row["label"]))
        else:
            missing.append(stem)
    if not items:
        raise UserError(f"Kinetics: none of the {len(rows)} films of {said} lies in {folder}, as ID_000010_000020.mp4")
    first = ", ".join(missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    lacks = f", not {first}{more}" if missing else ""
    return DataSet("Kinetics", tuple(items), f"{len(items)} of the {len(rows)} of {said.name}{lacks}")


STRIPS = {"0": "wave one hand", "1": "wave both hands", "3": "jumping jack", "4": "bend"}
"""Folders of Weizmann's strips, and what is done in them."""


def _weizmann(folder: Path) -> DataSet | None:
    """0/00000002.jpg, ...: strips of 64 x 64 frames, as MoCoGAN's authors have them. Of each pair of all but the same
    films, which follow one another, the second is left out."""
    strips = {label: sorted((folder / digit).glob("[0-9]*.jpg")) for digit, label in STRIPS.items()}
    if not all(strips.values()):
        return None
    items = [_film(folder, path, label) for label, paths in strips.items() for path in paths[::2]]
    return DataSet("Weizmann actions", tuple(items), f"{len(items)} films, one of each pair")


def _film(root: Path, path: Path, label: str) -> Item:
    return Item(str(path.relative_to(root)), path, label)


def _listed(lists: Sequence[Path], item: Callable[[str, str], Item]) -> list[Item]:
    """Those of the test set: `class_test_split1.txt` with lines `NAME 2`."""
    found = []
    for of in lists:
        label = of.name.removesuffix("_test_split1.txt")
        for line in _text(of).splitlines():
            name, _, part = line.strip().rpartition(" ")
            if part == "2":
                found.append(item(name.strip(), label))
    return found


def _text(said: Path) -> str:
    """A list of a data set. UserError."""
    try:
        return said.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{said} cannot be read: {error}") from None


def _number(said: Path, name: str, value: str | None) -> int:
    """What a list says of one film. UserError."""
    try:
        return int(float(value or ""))
    except (ValueError, OverflowError):
        raise UserError(f"{said} cannot be read: {name} is {value!r}, which is no number") from None


def _there(name: str, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items, if all they name is there."""
    needed = [path for of in items for path in (of.path, of.mask) if path is not None]
    gone = [path for path in needed if not path.exists()]
    if gone:
        first = ", ".join(map(str, gone[:NAMED]))
        raise UserError(f"{name}: of {len(needed)} files that its list names {len(gone)} are missing, first {first}")
    return items
