"""The database of events: SQLite with a write-ahead log, so that a killed process never leaves it broken."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from rtx.config import Events
from rtx.errors import UserError

State = Literal["open", "whole", "cut"]
DATABASE = "events.db"
PATIENCE_S = 5.0
"""With others who have it locked."""
PLAIN, OVERLAY, MAPS, PART = "plain.mp4", "overlay.mp4", "maps.npz", "maps.part"

MIGRATIONS = (
    """
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        camera TEXT NOT NULL,
        label TEXT NOT NULL,
        start TEXT NOT NULL,
        seen TEXT NOT NULL,
        peak REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'whole', 'cut')),
        model TEXT NOT NULL,
        explainer TEXT NOT NULL,
        motion_share REAL,
        heat BLOB,
        clip TEXT NOT NULL
    );
    CREATE INDEX event_start ON event (start);
    """,
    "ALTER TABLE event ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE event ADD COLUMN owed INTEGER NOT NULL DEFAULT 0",
)
"""What takes the schema from one version to the next; `PRAGMA user_version` says how many were done."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Times are UTC."""

    id: int
    camera: str
    label: str
    start: datetime
    end: datetime
    """Of an open one, when it was last seen."""
    peak: float
    """The class's highest probability."""
    state: State
    """`cut`: it ended because recording did."""
    model: str
    explainer: str
    motion_share: float | None
    heat: bytes | None
    """The mean heatmap, 56 x 56 bytes, 255 where it was hottest."""
    clip: Path
    """The folder with plain.mp4, overlay.mp4, maps.npz."""
    size: int
    """Bytes of the clip on disk."""

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    def plain(self) -> dict[str, Any]:
        """As JSON, CSV and the page have it: times with their zone."""
        return {
            "id": self.id, "camera": self.camera, "label": self.label, "start": self.start.isoformat(),
            "end": self.end.isoformat(), "seconds": round(self.seconds, 3), "peak": round(self.peak, 4),
            "state": self.state, "model": self.model, "explainer": self.explainer,
            "motion_share": None if self.motion_share is None else round(self.motion_share, 4),
            "clip": str(self.clip), "bytes": self.size,
        }  # fmt: skip


def default_folder() -> Path:
    """`$XDG_DATA_HOME/rtx/events`, else `~/.local/share/rtx/events`."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "rtx" / "events"


def folder_of(settings: Events) -> Path:
    """Where events are, as set or by default."""
    return Path(settings.folder).expanduser() if settings.folder else default_folder()


class NothingRecorded(UserError):
    """There is no database."""


class Store:
    """The events of one folder. One process writes, any number may read meanwhile."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / DATABASE, isolation_level=None, timeout=PATIENCE_S)
            self._use_log()
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._migrate()
        except (OSError, sqlite3.DatabaseError) as error:
            raise UserError(f"events.folder = {str(folder)!r}: {error}; name a folder that can be written") from None

    def _use_log(self) -> None:
        """SQLite does not wait for others who do the same at this moment, so that it is tried again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @classmethod
    def reading(cls, folder: Path) -> Store:
        """To read what another process may be writing. UserError where nothing was ever recorded."""
        if not (folder / DATABASE).is_file():
            raise NothingRecorded(f"no events in {str(folder)!r}; record some with --set events.record=true")
        store = cls.__new__(cls)
        store.folder = folder
        try:
            uri = f"{(folder / DATABASE).absolute().as_uri()}?mode=ro"
            store._database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=PATIENCE_S)
            version = store._version()
        except sqlite3.DatabaseError as error:
            raise UserError(f"the events in {str(folder)!r} cannot be read: {error}") from None
        if version == len(MIGRATIONS):
            return store
        store.close()
        return cls(folder)  # Brings it up to date, or says that it is of a newer rtx.

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        done = self._version()
        if done > len(MIGRATIONS):
            raise UserError(
                f"events.folder = {str(self.folder)!r} was written by a newer rtx (schema {done}, this one knows "
                f"{len(MIGRATIONS)}); update rtx"
            )
        if done == len(MIGRATIONS):
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have done some of it before this one had the lock.
            for script in MIGRATIONS[self._version() :]:
                for statement in script.split(";"):
                    self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def begin(self, camera: str, label: str, start: datetime, peak: float, model: str, explainer: str) -> Event:
        """A new event that is open, and the folder for its clip."""
        day = start.astimezone(UTC)
        cursor = self._database.execute(
            "INSERT INTO event (camera, label, start, seen, peak, state, model, explainer, clip) "
            "VALUES (?, ?, ?, ?, ?, 'open', ?, ?, '')",
            (camera, label, _text(start), _text(start), peak, model, explainer),
        )
        number = int(cursor.lastrowid or 0)
        clip = Path("clips") / f"{day:%Y-%m-%d}" / f"{day:%H%M%S}-{camera}-{number}"
        self._database.execute("UPDATE event SET clip = ? WHERE id = ?", (str(clip), number))
        (self.folder / clip).mkdir(mode=0o700, parents=True)
        return self.event(number)

    def seen(self, number: int, at: datetime, peak: float) -> None:
        """It goes on."""
        self._database.execute("UPDATE event SET seen = ?, peak = ? WHERE id = ?", (_text(at), peak, number))

    def end(
        self, number: int, at: datetime, state: State, peak: float, motion_share: float | None, heat: bytes | None,
        owed: bool = False,
    ) -> None:  # fmt: skip
        """It is over, and its clip is written. `owed`: others have still to be told."""
        clip = self.event(number).clip
        self._database.execute(
            "UPDATE event SET seen = ?, state = ?, peak = ?, motion_share = ?, heat = ?, bytes = ?, owed = ? "
            "WHERE id = ?",
            (_text(at), state, peak, motion_share, heat, size_of(clip), owed, number),
        )

    def told(self, number: int) -> None:
        """Others know of it."""
        self._database.execute("UPDATE event SET owed = 0 WHERE id = ?", (number,))

    def owed(self) -> list[Event]:
        """Events that others have still to be told, oldest first."""
        return self._select("WHERE owed AND state != 'open' ORDER BY id")

    def grown(self, event: Event) -> None:
        """Something was added to its clip."""
        self._database.execute("UPDATE event SET bytes = ? WHERE id = ?", (size_of(event.clip), event.id))

    def unfinished(self) -> list[Event]:
        """Events that a process which was killed has left open."""
        return self._select("WHERE state = 'open'")

    def event(self, number: int) -> Event:
        """UserError where there is none."""
        found = self._select("WHERE id = ?", number)
        if not found:
            raise UserError(f"no event {number}; see `rtx events list`")
        return found[0]

    def events(
        self, camera: str | None = None, label: str | None = None, since: datetime | None = None,
        until: datetime | None = None, most: int = -1,
    ) -> list[Event]:  # fmt: skip
        """Newest first."""
        wanted = {
            "camera = ?": camera, "label = ?": label, "start >= ?": since and _text(since),
            "start <= ?": until and _text(until),
        }  # fmt: skip
        given = {test: value for test, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        return self._select(f"{where} ORDER BY start DESC, id DESC LIMIT ?", *given.values(), most)

    def _select(self, rest: str, *values: Any) -> list[Event]:
        try:
            return self._rows(rest, values)
        except (sqlite3.DatabaseError, OverflowError) as error:
            raise UserError(f"the events in {str(self.folder)!r} cannot be read: {error}") from None

    def _rows(self, rest: str, values: tuple[Any, ...]) -> list[Event]:
        names = "id, camera, label, start, seen, peak, state, model, explainer, motion_share, heat, clip, bytes"
        return [
            Event(
                id=row[0], camera=row[1], label=row[2], start=datetime.fromisoformat(row[3]),
                end=datetime.fromisoformat(row[4]), peak=row[5], state=row[6], model=row[7], explainer=row[8],
                motion_share=row[9], heat=row[10], clip=self.folder / row[11], size=row[12],
            )
            for row in self._database.execute(f"SELECT {names} FROM event {rest}", values)
        ]  # fmt: skip

    def forget(self, event: Event) -> None:
        """Its clip first: what cannot be deleted stays known, and is tried again. OSError."""
        if event.clip != self.folder and event.clip.exists():
            shutil.rmtree(event.clip)
        self._database.execute("DELETE FROM event WHERE id = ?", (event.id,))

    def retain(self, oldest: datetime, most_bytes: float) -> int:
        """Forget what began before `oldest`, and the oldest ones while all take more than `most_bytes`; how many."""
        kept, forgotten = 0, 0
        for event in self.events():
            kept += event.size
            if event.state != "open" and (event.start < oldest or kept > most_bytes):
                self.forget(event)
                forgotten += 1
        return forgotten

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()


def size_of(clip: Path) -> int:
    """Bytes of the files in a clip's folder."""
    return sum(path.stat().st_size for path in clip.iterdir() if path.is_file()) if clip.is_dir() else 0


def _text(at: datetime) -> str:
    """UTC to the microsecond, so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
