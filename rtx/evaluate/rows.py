"""What is known of each clip, kept as soon as it is known: a run that was broken off goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from rtx.errors import UserError

Kept = TypeVar("Kept", bound=msgspec.Struct)


class Rows(Generic[Kept]):
    """Rows in a file beside the report that they are for: its settings, then a line a clip. Without one, in memory."""

    def __init__(self, report: Path | None, settings: dict[str, Any], kind: type[Kept]):
        self.known: list[Kept] = []
        self._settings = msgspec.json.encode(settings) + b"\n"
        self._part = None if report is None else report.with_name(f".{report.name}.part")
        if self._part is None or not self._part.exists():
            return
        try:
            # What comes after the last line's end was broken off while it was written.
            head, *rows = self._part.read_bytes().split(b"\n")[:-1] or [b""]
            if not rows:
                return
            if msgspec.json.decode(head) != msgspec.json.decode(self._settings):
                raise UserError(
                    f"{str(self._part)!r} is what a run of other settings left when it was broken off; "
                    "remove it, or name another --report"
                )
            self.known = [msgspec.json.decode(row, type=kind) for row in rows]
        except msgspec.DecodeError as error:
            raise UserError(
                f"{str(self._part)!r}, what a broken off run left, cannot be read: {error}; remove it"
            ) from None
        self._write(self._settings + b"".join(row + b"\n" for row in rows), "wb")

    def add(self, row: Kept) -> None:
        """Of one more clip. UserError where it cannot be written."""
        line = msgspec.json.encode(row) + b"\n"
        self._write(line if self.known else self._settings + line, "ab" if self.known else "wb")
        self.known.append(row)

    def done(self) -> None:
        """All is in the report."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def _write(self, data: bytes, mode: str) -> None:
        if self._part is None:
            return
        try:
            with self._part.open(mode) as file:
                file.write(data)
        except OSError as error:
            raise UserError(f"cannot write {str(self._part)!r}: {error.strerror}") from None
