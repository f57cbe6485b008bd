"""Keeps an engine within the latency budget: which cameras' turn it is, and what the engine gives up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from rtx import config
from rtx.clock import NS_PER_S, now
from rtx.engine.budget import Budget
from rtx.engine.engine import Engine
from rtx.engine.window import Clip
from rtx.process import Report

MOST_STEPS = 50
"""So many of the steps that were taken stand in the report, the last ones."""


class Turn(Protocol):
    """One camera, when it was last looked at."""

    tried_at: int


T = TypeVar("T", bound=Turn)


class Pace(Generic[T]):
    """Told what was explained and when; says who is next. Times are monotonic ns."""

    def __init__(self, engine: Engine, settings: config.Budget, cameras: int, report: Report):
        self._engine, self._settings, self._report = engine, settings, report
        self.cameras = cameras
        """Live ones that take turns."""
        self._started_at = now()
        self._steps: list[str] = []
        self._rest_until = 0
        self.anew()

    def anew(self) -> None:
        """Something else is explained from now on: all of it, until that proves too slow."""
        self._budget = Budget(self._settings, self._engine.rungs)
        self._engine.rung = self._budget.rung
        self._report.facts["degraded"] = ""

    def next(self, due: Sequence[T]) -> list[T]:
        """Of the cameras that have something new, those whose turn it is, the longest untried first."""
        if not self._engine.rung.fewer:
            return list(due)
        if now() < self._rest_until:
            return []
        return sorted(due, key=lambda one: one.tried_at)[: -(-self.cameras // 2)]

    def explained(self, clips: Sequence[Clip], began: int) -> bool:
        """Heatmaps of these clips went out, in a batch that began then. True where the rung has changed."""
        at = now()
        for clip in clips:
            self._budget.explained(clip.camera, clip.t_frames[-1], at, clip.since)
        self._rest_until = 2 * at - began if self.cameras == 1 else 0
        words = self._budget.step(at)
        if words is None:
            return False
        self._engine.rung = self._budget.rung
        self._steps = [*self._steps, f"{(at - self._started_at) / NS_PER_S:.1f} s: {words}"][-MOST_STEPS:]
        self._report.facts.update(degraded=self._engine.rung.words, steps="\n".join(self._steps))
        return True

    def forget(self, camera: str) -> None:
        """This camera was away, or jumped."""
        self._budget.forget(camera)
