"""A folder of files, each explained: what was done is kept beside what was written, so that a second run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rtx.errors import UserError

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
RECORD = "explained.jsonl"
"""First the settings, then a line a file."""


def videos(folder: Path) -> list[Path]:
    """Every video in a folder and those in it, by name. UserError where there is none."""
    found = sorted(
        path for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )  # fmt: skip
    if not found:
        raise UserError(f"no video in {str(folder)!r}: files that end in {', '.join(SUFFIXES)} are looked for")
    return found


class Record:
    """What has been explained into a folder, with these settings. Others need another folder. UserError."""

    def __init__(self, folder: Path, settings: Mapping[str, object]):
        self._path = folder / RECORD
        self._done: dict[str, dict[str, object]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
        except OSError as error:
            raise UserError(f"-o {str(folder)!r} cannot be written: {error.strerror}; name a folder") from None
        self._file.seek(0)
        before = self._file.read()
        whole = before[: before.rfind(b"\n") + 1]
        self._file.truncate(len(whole))  # A line that a kill cut off.
        if not whole:
            self._add({"settings": settings})
            return
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()]
            self._done = {line["file"]: line for line in lines if line.get("error") is None}
            theirs = first["settings"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{str(self._path)!r} is no record of `rtx explain`; name another folder") from None
        changed = sorted(name for name in {*theirs, *settings} if theirs.get(name) != settings.get(name))
        if changed:
            of = [(name, json.dumps(theirs.get(name)), json.dumps(settings.get(name))) for name in changed]
            said = "; ".join(f"{name} was {was}, is {is_now}" for name, was, is_now in of)
            raise UserError(f"{str(folder)!r} was explained otherwise: {said}; name another folder, or remove it")

    def done(self, name: str, source: Path, outputs: list[Path]) -> dict[str, object] | None:
        """What was found in a file as it is now, if all that was written of it is there."""
        line = self._done.get(name)
        if line is None or line["of"] != _state(source) or not all(path.is_file() for path in outputs):
            return None
        return line

    def add(self, name: str, source: Path, found: Mapping[str, object]) -> None:
        """A file is done; `found` has an `error` where it could not be."""
        self._add({"file": name, "of": _state(source), **found})

    def _add(self, line: Mapping[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _state(source: Path) -> list[int]:
    """What changes when a file does: its size and when it was written."""
    about = source.stat()
    return [about.st_size, about.st_mtime_ns]
