"""A folder of files, each explained: what was done is kept beside what was written, so that a second run goes on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rtx.errors import UserError

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
RECORD = "explained.jsonl"
"""First the settings, then a line a file."""

State = tuple[int, int] | None
"""What changes when a file does: its size, and when it was written (ns); None of one that is gone."""


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    settings: dict[str, Any]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    file: str
    """From the folder on."""
    of: State
    """As it was when it was explained."""
    error: str | None = None
    """Why it could not be."""
    found: dict[str, Any] = {}
    """As `rtx explain --json` prints it."""


def videos(folder: Path, into: Path) -> list[Path]:
    """Every video in a folder and those in it, by name, but for those in `into`. UserError where there is none."""
    if folder.resolve() == into.resolve():
        raise UserError(f"-o {str(into)!r} is the folder that is explained; name another")
    found = sorted(
        path for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and into.resolve() not in path.resolve().parents
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )  # fmt: skip
    if not found:
        raise UserError(f"no video in {str(folder)!r}: files that end in {', '.join(SUFFIXES)} are looked for")
    return found


def state_of(source: Path) -> State:
    """Of a file, now."""
    try:
        about = source.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


class Record:
    """What has been explained into a folder, with these settings, by one process at a time. UserError."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self._path = folder / RECORD
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UserError(f"another rtx explains into {str(folder)!r}; wait for it, or name another folder") from None
        self._file.seek(0)
        before = self._file.read()
        whole = before[: before.rfind(b"\n") + 1]
        self._done: dict[str, Line] = {}
        if whole:
            self._go_on(folder, whole.splitlines(), settings)
        with self._writing():
            self._file.truncate(len(whole))  # A line that a kill cut off.
        if not whole:
            self.add(_Head(dict(settings)))

    def _go_on(self, folder: Path, lines: list[bytes], settings: Mapping[str, Any]) -> None:
        try:
            theirs = msgspec.json.decode(lines[0], type=_Head).settings
            said = [msgspec.json.decode(line, type=Line) for line in lines[1:]]
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UserError(f"{str(self._path)!r} is no record of `rtx explain`; name another folder") from None
        self._done = {line.file: line for line in said}
        changed = sorted(name for name in {*theirs, *settings} if theirs.get(name) != settings.get(name))
        if changed:
            of = [(name, json.dumps(theirs.get(name)), json.dumps(settings.get(name))) for name in changed]
            told = "; ".join(f"{name} was {was}, is {is_now}" for name, was, is_now in of)
            raise UserError(f"{str(folder)!r} was explained otherwise: {told}; name another folder, or remove it")

    def done(self, name: str, source: Path, outputs: list[Path]) -> Line | None:
        """What was found in a file as it is now, if all that was written of it is there."""
        line = self._done.get(name)
        if line is None or line.error is not None or line.of is None or line.of != state_of(source):
            return None
        return line if all(path.is_file() for path in outputs) else None

    def add(self, line: _Head | Line) -> None:
        """A file is done, or could not be."""
        with self._writing():
            self._file.write(msgspec.json.encode(line) + b"\n")
            os.fsync(self._file.fileno())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"-o {str(self._path.parent)!r} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        self._file.close()
