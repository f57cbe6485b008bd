"""The cameras of the run, as viewers see them and want them: added, paused, removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from rtx.clock import NS_PER_S, now
from rtx.health import HealthReader
from rtx.roster import CameraWish, Numbered, Seat

PATIENCE_S = 5.0


class SeatState(msgspec.Struct, frozen=True):
    """One camera, for a viewer."""

    name: str
    source: str
    """Without passwords."""
    paused: bool
    recording: bool
    trouble: str
    state: str
    """In words, of who reads it; for a camera that never gave a picture."""


class Cameras(msgspec.Struct, frozen=True, tag="cameras"):
    """All of them, and what became of the last wish."""

    seats: tuple[SeatState, ...]
    asked: bool = False
    """A wish is on its way."""
    refused: str = ""
    """Why the last one was not done, or what was asked for together with it."""
    not_recording: str = ""
    """Why nothing is recorded at present, of what should be."""


class Seating:
    """`ask` may be called by any thread; `step` belongs to the display's, `state` is there for all."""

    def __init__(self, line: zmq.Socket[Any] | None, health: HealthReader):
        """`line`: the way to the supervisor; None where nothing can be wished."""
        self._line, self._health = line, health
        self._wishes: deque[CameraWish] = deque(maxlen=16)
        self._number = 0
        self._asked_at: int | None = None
        self._why = ""
        self._together = False
        """When the last wish was answered, another was waiting."""
        self.state: Cameras | None = None
        """None until the supervisor was heard."""
        self.listeners: list[Callable[[], None]] = []
        """Called by the display's thread when `state` has changed."""

    def ask(self, wish: CameraWish) -> None:
        """Have this done, or say why it cannot be; `state` tells what becomes of it."""
        self._wishes.append(wish)

    @property
    def seats(self) -> tuple[Seat, ...] | None:
        """As the supervisor says; None until it was heard."""
        return self._health.seats

    @property
    def not_recording(self) -> str:
        """Why nothing is recorded at present; empty where it is, or nobody wants it."""
        newest = self._health.newest
        for part in newest.parts if newest is not None else ():
            if part.role == "recorder":
                return part.facts.get("trouble", "") if part.running else part.state
        return ""

    def step(self) -> None:
        """Take what the supervisor says, send what was asked for: one after another, so that no refusal is lost."""
        newest = self._health.newest
        if self._asked_at is not None:
            if newest is not None and newest.answered >= self._number:
                self._answered(newest.refused)
            elif now() - self._asked_at > PATIENCE_S * NS_PER_S:
                self._answered(f"no answer from the supervisor within {PATIENCE_S:.0f} s")
        if self._asked_at is None and self._wishes:
            if not self._together:
                self._why = ""
            self._send(self._wishes.popleft())
        self._tell()

    def _answered(self, refused: str) -> None:
        self._asked_at, self._together = None, bool(self._wishes)
        if refused not in self._why:
            self._why = "; ".join(filter(None, (self._why, refused)))

    def _send(self, wish: CameraWish) -> None:
        if self._line is None:
            self._answered("cameras are those that were named where rtx was started")
            return
        # Larger than any that a display before this one had.
        self._number = max(self._number + 1, now())
        try:
            self._line.send(msgspec.msgpack.encode(Numbered(self._number, wish)), zmq.NOBLOCK)
            self._asked_at = now()
        except zmq.Again:
            self._answered("the supervisor takes no wishes at the moment; try again")

    def _tell(self) -> None:
        if self.seats is None:
            return
        newest = self._health.newest
        words = {part.camera: part.state for part in (newest.parts if newest is not None else ()) if part.camera}
        seats = tuple(
            SeatState(name, of.camera.source, of.paused, of.recording, of.trouble, words.get(name, ""))
            for of in self.seats
            for name in (of.camera.name,)
        )
        state = Cameras(seats, self._asked_at is not None, self._why, self.not_recording)
        if state != self.state:
            self.state = state
            for listener in self.listeners:
                listener()
