"""The database: rows as they were, schemas of old, what is kept, and what a killed writer leaves."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest
from typer.testing import CliRunner

from rtx.cli import app
from rtx.errors import UserError
from rtx.events import rows
from rtx.events.store import DATABASE, MIGRATIONS, Event, Store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def an_event(store: Store, minutes: float = 0, size: int = 1000, camera: str = "hall", label: str = "kick") -> Event:
    start = NOON + timedelta(minutes=minutes)
    event = store.begin(camera, label, start, 0.7, "figures", "cam")
    (event.clip / "plain.mp4").write_bytes(b"0" * size)
    store.end(event.id, start + timedelta(seconds=2), "whole", 0.9, 0.25, b"\1" * 3136)
    return store.event(event.id)


def test_a_row_says_what_happened(tmp_path: Path):
    with Store(tmp_path) as store:
        event = an_event(store)
    assert (event.camera, event.label, event.peak, event.state, event.motion_share) == (
        "hall", "kick", 0.9, "whole", 0.25,
    )  # fmt: skip
    assert (event.start, event.end, event.seconds) == (NOON, NOON + timedelta(seconds=2), 2.0)
    assert event.size == 1000
    assert event.clip == tmp_path / "clips" / "2026-11-22" / "120000-hall-1"
    assert event.heat == b"\1" * 3136


def test_rows_in_python_newest_first_and_chosen(tmp_path: Path):
    with Store(tmp_path) as store:
        for minutes, camera, label in ((0, "hall", "kick"), (5, "court", "kick"), (10, "hall", "punch")):
            an_event(store, minutes, camera=camera, label=label)
    assert [event.label for event in rows(tmp_path)] == ["punch", "kick", "kick"]
    assert [event.camera for event in rows(tmp_path, camera="court")] == ["court"]
    assert [event.label for event in rows(tmp_path, label="punch")] == ["punch"]
    assert len(rows(tmp_path, since=NOON + timedelta(minutes=5))) == 2
    assert len(rows(tmp_path, until=NOON + timedelta(minutes=4))) == 1


def test_times_are_stored_as_utc_whatever_their_zone(tmp_path: Path):
    with Store(tmp_path) as store:
        event = store.begin("hall", "kick", NOON.astimezone(timezone(timedelta(hours=9))), 0.7, "figures", "cam")
        assert event.start == NOON
        assert event.start.utcoffset() == timedelta(0)
    raw = sqlite3.connect(tmp_path / DATABASE).execute("SELECT start FROM event").fetchone()[0]
    assert raw == "2026-11-22T12:00:00.000000+00:00"


def test_where_nothing_was_recorded_that_is_said(tmp_path: Path):
    with pytest.raises(UserError, match=r"no events in .*events\.record=true"):
        rows(tmp_path)


def test_many_may_make_it_at_once(tmp_path: Path):
    """A run asks for it before it starts, and its recorder as it starts."""
    for round_ in range(20):
        together = Barrier(6)

        def open_it(folder: Path = tmp_path / str(round_), together: Barrier = together) -> int:
            together.wait()
            with Store(folder) as store:
                return len(store.events())

        with ThreadPoolExecutor(6) as pool:
            assert [opened.result() for opened in [pool.submit(open_it) for _ in range(6)]] == [0] * 6


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_a_database_of_old_is_brought_up_to_date(tmp_path: Path, version: int):
    old = sqlite3.connect(tmp_path / DATABASE)
    for script in MIGRATIONS[:version]:
        old.executescript(script)
    if version:
        old.execute(
            "INSERT INTO event (camera, label, start, seen, peak, state, model, explainer, clip) VALUES "
            "('hall', 'kick', '2026-11-22T12:00:00+00:00', '2026-11-22T12:00:02+00:00', 0.9, 'whole', 'm', 'e', 'c')"
        )
    old.execute(f"PRAGMA user_version = {version}")
    old.commit()
    old.close()
    with Store(tmp_path) as store:
        found = store.events()
        assert [event.label for event in found] == (["kick"] if version else [])
        an_event(store, 5)
    with Store(tmp_path) as store:
        assert len(store.events()) == len(found) + 1


def test_a_database_of_the_future_is_left_alone(tmp_path: Path):
    Store(tmp_path).close()
    future = sqlite3.connect(tmp_path / DATABASE)
    future.execute("PRAGMA user_version = 99")
    future.close()
    with pytest.raises(UserError, match="newer rtx"):
        Store(tmp_path)


def test_what_is_no_database_is_said(tmp_path: Path):
    (tmp_path / DATABASE).write_bytes(b"hello " * 1000)
    with pytest.raises(UserError, match=r"events\.folder = .*not a database"):
        Store(tmp_path)


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["export", "-"]])
def test_a_damaged_database_is_one_line(tmp_path: Path, command: list[str]):
    with Store(tmp_path) as store:
        an_event(store)
    data = (tmp_path / DATABASE).read_bytes()
    (tmp_path / DATABASE).write_bytes(data[:100] + b"x" * (len(data) - 100))
    said = CliRunner().invoke(app, ["events", *command, "--folder", str(tmp_path)])
    assert isinstance(said.exception, UserError)


def test_an_event_that_cannot_be_is_one_line(tmp_path: Path):
    with Store(tmp_path) as store, pytest.raises(UserError):
        store.event(10**30)


def test_the_old_and_the_too_much_are_forgotten(tmp_path: Path):
    with Store(tmp_path) as store:
        events = [an_event(store, minutes, size=1000) for minutes in range(5)]
        still = store.begin("hall", "kick", NOON - timedelta(days=1), 0.7, "figures", "cam")
        assert store.retain(NOON + timedelta(minutes=0.5), 1e9) == 1
        assert not events[0].clip.exists()
        assert store.retain(NOON - timedelta(days=9), 2500) == 2, "the oldest ones go"
        assert [event.id for event in store.events()] == [events[4].id, events[3].id, still.id]
        assert [event.clip.exists() for event in events] == [False, False, False, True, True]


def test_a_writer_that_is_killed_never_leaves_a_broken_database(tmp_path: Path):
    """Killed while it writes as fast as it can, again and again."""
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC; from rtx.events.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "while True:\n"
        "    of = store.begin('hall', 'kick', datetime.now(UTC), 0.7, 'm', 'e'); print(of.id, flush=True)\n"
        "    store.seen(of.id, datetime.now(UTC), 0.8)\n"
    )
    told = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        for _ in range(50):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with Store(tmp_path) as store:
            assert len(store.events()) >= told, "what was told is there"
            assert all(event.state == "open" for event in store.unfinished())
        checked = sqlite3.connect(tmp_path / DATABASE).execute("PRAGMA integrity_check").fetchone()
        assert checked == ("ok",)
