"""What the fault tests share: a run under a supervisor in this process, looked at while it goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rtx.config import of_sources
from rtx.report import RunReport, summarise
from rtx.supervise import Child, Supervisor
from tests.waiting import until

T = TypeVar("T")


class Watched:
    """A supervisor and the questions that tests ask of it. It steps while we wait."""

    def __init__(self, supervisor: Supervisor):
        self.supervisor = supervisor
        self.going_on = True
        self.said: list[str] = []

    def __getitem__(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def until(self, condition: Callable[[], T], seconds: float = 30) -> T:
        def stepped() -> T:
            self.going_on = self.going_on and self.supervisor.step(0.05)
            self.said += self.supervisor.messages()
            return condition()

        stepped.__qualname__ = condition.__qualname__
        return until(stepped, seconds, every_s=0)

    def count(self, name: str, what: str) -> int:
        """Of this life of the process."""
        status = self[name].status
        return status.counts.get(what, 0) if status else 0

    def more(self, name: str, what: str, n: int = 1, seconds: float = 30) -> None:
        """Wait until the process, as it lives now, has counted so many more."""
        pid, had = self[name].pid, self.count(name, what)

        def counted() -> bool:
            assert self[name].pid == pid, f"{name} was restarted meanwhile: {self.said}"
            return self.count(name, what) >= had + n

        self.until(counted, seconds)

    def heatmaps(self) -> int:
        """Heatmaps that reached the display, in all its lives."""
        return self["display"].ages("heatmap").summary().n

    def flows(self, seconds: float = 40) -> None:
        """Wait until the worker explains and the display shows heatmaps younger than the wait."""
        self.more("worker", "explained", 2, seconds)
        had = self.heatmaps()
        self.until(lambda: self.heatmaps() > had, seconds)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process of the run; its pid."""
        pid = self[name].pid
        os.kill(pid, number)
        return pid

    def restarted(self, name: str, pid: int, seconds: float = 20) -> None:
        """Wait until another process has taken the place of `pid`, and says how it is."""
        self.until(lambda: self[name].pid != pid and self[name].status is not None, seconds)

    @property
    def report(self) -> RunReport:
        return summarise(self.supervisor)


@contextmanager
def watched(*sources: str, changes: tuple[str, ...] = ()) -> Iterator[Watched]:
    """A run over these sources that shows nothing, unless the changes say otherwise."""
    pipeline = of_sources(list(sources), ['show.sinks=["none"]', *changes])
    with Supervisor(pipeline) as supervisor:
        yield Watched(supervisor)
