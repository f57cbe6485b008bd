"""What is known of each clip, kept as soon as it is known: a run that was broken off goes on."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any, Generic, Protocol, Self, TypeVar

import msgspec

from rtx.errors import UserError


class Told(Protocol):
    """What every row says."""

    @property
    def name(self) -> str: ...

    @property
    def why(self) -> str: ...


Kept = TypeVar("Kept", bound=Told)


class Rows(Generic[Kept]):
    """Rows in a file beside the report that they are for: its settings, then a line a clip; one run at a time.

    Without a report, in memory. UserError.
    """

    def __init__(self, report: Path | None, settings: dict[str, Any], kind: type[Kept]):
        self.known: list[Kept] = []
        self._settings = msgspec.json.encode(settings) + b"\n"
        self._file: IO[bytes] | None = None
        if report is None:
            return
        self._part = report.with_name(f".{report.name}.part")
        try:
            self._file = self._part.open("a+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            before = self._file.read()
        except BlockingIOError:
            raise UserError(
                f"another rtx measures for {str(report)!r}; wait for it, or name another --report"
            ) from None
        except OSError as error:
            raise UserError(f"cannot write {str(self._part)!r}: {error.strerror}") from None
        # What comes after the last line's end was broken off while it was written.
        head, *rows = before.split(b"\n")[:-1] or [b""]
        try:
            if rows and msgspec.json.decode(head) != msgspec.json.decode(self._settings):
                raise UserError(
                    f"{str(self._part)!r} is what a run of other settings left when it was broken off; "
                    "remove it, or name another --report"
                )
            self.known = [msgspec.json.decode(row, type=kind) for row in rows]
        except msgspec.DecodeError as error:
            raise UserError(
                f"{str(self._part)!r}, what a broken off run left, cannot be read: {error}; remove it"
            ) from None
        self._file.truncate(sum(len(line) + 1 for line in (head, *rows)) if rows else 0)

    @property
    def names(self) -> set[str]:
        """Clips that need not be measured again."""
        return {row.name for row in self.known}

    @property
    def unread(self) -> list[Kept]:
        """Clips that could not be read."""
        return [row for row in self.known if row.why]

    def add(self, row: Kept) -> None:
        """Of one more clip. UserError where it cannot be written."""
        line = msgspec.json.encode(row) + b"\n"
        if self._file is not None:
            try:
                self._file.write(line if self.known else self._settings + line)
            except OSError as error:
                raise UserError(f"cannot write {str(self._part)!r}: {error.strerror}") from None
        self.known.append(row)

    def done(self) -> None:
        """All is in the report."""
        self.known.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what is known to a run that goes on; nothing, where nothing is."""
        if self._file is not None:
            if not self.known:
                self._part.unlink(missing_ok=True)
            self._file.close()
