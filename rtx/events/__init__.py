"""What happened while nobody looked: actions that lasted, with their clips and maps. `rows` reads them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rtx.events.store import Event, Store, default_folder

__all__ = ["Event", "rows"]


def rows(
    folder: str | Path | None = None, *, camera: str | None = None, label: str | None = None,
    since: datetime | None = None, until: datetime | None = None,
) -> list[Event]:  # fmt: skip
    """The events in a folder (`[events] folder`; without it, the usual one), newest first. UserError.

    `since` and `until` bound their beginning; a time without a zone is local.
    """
    with Store.reading(Path(folder) if folder is not None else default_folder()) as store:
        return store.events(camera, label, since, until)
