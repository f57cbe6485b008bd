"""A run in the terminal: the live table, what happens in words, and at the end what it came to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from rtx.clock import NS_PER_S, now
from rtx.config import Pipeline
from rtx.report import RunReport, summarise, table
from rtx.show.page.address import url
from rtx.supervise import Supervisor

REDRAW_S = 0.25
PLAIN_S = 5.0
"""Where the output is no terminal, a line so often."""


def watch(
    pipeline: Pipeline, stop: threading.Event, seconds: float | None, console: Console,
    browse: Callable[[str], object] | None = None,
) -> RunReport:  # fmt: skip
    """Run until `stop`, the source's end, or so many seconds."""
    address = url(pipeline.page)
    has_page = "page" in pipeline.show.sinks and "show" in pipeline.link.parts
    supervisor = Supervisor(pipeline)
    try:
        return _watch(supervisor, stop, seconds, console, address if has_page else None, browse)
    finally:
        _tell(supervisor, console)  # Also what led to giving up.


def _watch(
    supervisor: Supervisor, stop: threading.Event, seconds: float | None, console: Console, address: str | None,
    browse: Callable[[str], object] | None,
) -> RunReport:  # fmt: skip
    with supervisor as run, _Screen(console) as screen:
        if address:
            needs = "; it needs its token: `rtx token show FILE`" if run.pipeline.page.token else ""
            console.print(f"page: [bold]{address}[/]{needs}", soft_wrap=True)
        begun, drawn, browsed = now(), 0, not (address and browse)
        while run.step() and not stop.is_set():
            if seconds is not None and now() - begun > seconds * NS_PER_S:
                break
            _tell(run, console)
            if not browsed and any(c.role == "display" and c.status and c.status.running for c in run.children):
                browsed = True
                if browse and address:
                    # Some browsers do not come back until they are closed.
                    threading.Thread(target=browse, args=(address,), daemon=True).start()
            if now() - drawn > screen.every_s * NS_PER_S:
                drawn = now()
                screen.draw(run)
    came_to = summarise(supervisor)  # After the block: the processes' last words are in.
    _tell(supervisor, console)
    console.print(_in_a_line(came_to), soft_wrap=True)
    return came_to


def _tell(run: Supervisor, console: Console) -> None:
    """Print what has happened since the last time."""
    for line in run.messages():
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


class _Screen:
    """A live table in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Live(Table(), console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self.every_s = REDRAW_S if self._live else PLAIN_S

    def __enter__(self) -> _Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def draw(self, run: Supervisor) -> None:
        if self._live:
            seconds = (now() - run.started_at) / NS_PER_S
            self._live.update(table(run, f"rtx, {seconds:.0f} s; Ctrl-C ends"), refresh=True)
        else:
            words = (f"{child.name}: {child.state}" for child in run.children)
            self._console.print(escape("; ".join(words)), soft_wrap=True)


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
