"""A run in the terminal: the live table, what happens in words, and at the end what it came to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from rtx.clock import NS_PER_S, now
from rtx.config import Pipeline
from rtx.redact import redact
from rtx.report import RunReport, summarise, table
from rtx.show.page.address import url
from rtx.supervise import Supervisor

REDRAW_S = 0.25
PLAIN_S = 5.0
"""Where the output is no terminal, a line so often."""


def watch(
    pipeline: Pipeline, stop: threading.Event, seconds: float | None, console: Console,
    browse: Callable[[str], object] | None = None, as_json: bool = False,
) -> RunReport:  # fmt: skip
    """Run until `stop`, the source's end, or so many seconds."""
    has_page = "page" in pipeline.show.sinks and "show" in pipeline.link.parts
    supervisor = Supervisor(pipeline)
    voice: _Voice = _Lines() if as_json else _Words(console)
    try:
        return _watch(supervisor, stop, seconds, voice, url(pipeline.page) if has_page else None, browse)
    finally:
        _tell(supervisor, voice)  # Also what led to giving up.


def _watch(
    supervisor: Supervisor, stop: threading.Event, seconds: float | None, voice: _Voice, address: str | None,
    browse: Callable[[str], object] | None,
) -> RunReport:  # fmt: skip
    with supervisor as run, voice:
        if address:
            voice.page(address, run.pipeline.page.token is not None)
        begun, drawn, browsed = now(), 0, not (address and browse)
        while run.step() and not stop.is_set():
            if seconds is not None and now() - begun > seconds * NS_PER_S:
                break
            _tell(run, voice)
            if not browsed and any(c.role == "display" and c.status and c.status.running for c in run.children):
                browsed = True
                if browse and address:
                    # Some browsers do not come back until they are closed.
                    threading.Thread(target=browse, args=(address,), daemon=True).start()
            if now() - drawn > voice.every_s * NS_PER_S:
                drawn = now()
                voice.states(run)
    came_to = summarise(supervisor)  # After the block: the processes' last words are in.
    _tell(supervisor, voice)
    voice.end(came_to)
    return came_to


def _tell(run: Supervisor, voice: _Voice) -> None:
    """Say what has happened since the last time."""
    for line in run.messages():
        voice.happened(line)


class _Voice(Protocol):
    """How a run speaks while it goes on."""

    every_s: float
    """How often the states are told."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...

    def page(self, address: str, locked: bool) -> None:
        """Where the page is, and whether it needs a token."""

    def happened(self, line: str) -> None:
        """Something that does not happen every day, redacted."""

    def states(self, run: Supervisor) -> None:
        """How the processes are."""

    def end(self, report: RunReport) -> None:
        """What it came to."""


class _Words:
    """For people: a live table in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Live(Table(), console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self.every_s = REDRAW_S if self._live else PLAIN_S

    def __enter__(self) -> _Words:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def page(self, address: str, locked: bool) -> None:
        needs = "; it needs its token: `rtx token show FILE`" if locked else ""
        self._console.print(f"page: [bold]{address}[/]{needs}", soft_wrap=True)

    def happened(self, line: str) -> None:
        self._console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)

    def states(self, run: Supervisor) -> None:
        if self._live:
            seconds = (now() - run.started_at) / NS_PER_S
            self._live.update(table(run, f"rtx, {seconds:.0f} s; Ctrl-C ends"), refresh=True)
        else:
            words = (f"{child.name}: {child.state}" for child in run.children)
            self._console.print(escape("; ".join(words)), soft_wrap=True)

    def end(self, report: RunReport) -> None:
        self._console.print(_in_a_line(report), soft_wrap=True)


class _Lines:
    """For machines: a line of JSON for what happens; a process's state when it changes, without its numbers."""

    every_s = 1.0

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def _say(self, what: str, level: str = "info", **about: object) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"time": at, "level": level, "event": what, **about}), flush=True)

    def page(self, address: str, locked: bool) -> None:
        self._say("page", address=address, needs_token=locked)

    def happened(self, line: str) -> None:
        self._say("happened", "warning", message=line)

    def states(self, run: Supervisor) -> None:
        for child in run.children:
            kind = re.sub(r"\d+", "N", child.state)  # `lost 3 s` and `lost 4 s` are one state.
            if self._told.get(child.name) != kind:
                self._told[child.name] = kind
                self._say("state", process=child.name, state=redact(child.state), restarts=child.restarts)

    def end(self, report: RunReport) -> None:
        self._say("end", report=msgspec.to_builtins(report))


def _in_a_line(report: RunReport) -> str:
    heatmap = report.ages_ms.heatmap
    age = (
        f"heatmap {heatmap.p50:.0f} ms old (p95 {heatmap.p95:.0f})"
        if heatmap.p50 is not None
        else "no heatmap measured"
    )
    restarts = sum(report.restarts.values())
    return (
        f"{report.seconds:.0f} s: {report.captured} frames captured, "
        f"{report.shown} shown ({report.display_fps:.1f}/s), "
        f"{report.explained} explained ({report.explained_per_s:.1f}/s), {age}, "
        f"{report.deadline_misses} deadline misses, {restarts} restarts"
        + (f"; at the end {report.degraded}, to keep within {report.budget_ms:.0f} ms" if report.degraded else "")
    )
