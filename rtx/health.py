"""How the processes of a run are: told by the supervisor once a second, read by whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import zmq

from rtx.clock import NS_PER_S, now
from rtx.link.sockets import Sockets
from rtx.link.wire import Faithfulness
from rtx.roster import Seat

FRESH_S = 5.0
"""After so long without a word from the supervisor nothing is known."""


class Part(msgspec.Struct, frozen=True):
    """One process, over all its lives."""

    name: str
    role: str
    camera: str
    """Of a grabber; empty of others."""
    running: bool
    state: str
    """In words, redacted."""
    restarts: int
    counts: dict[str, int]
    """`NAME`, and `NAME@CAMERA` where a process knows several."""
    drops: dict[str, int]
    ages: dict[str, dict[str, Any]]
    """Histograms (see Ages.plain), named as the counts are."""
    facts: dict[str, str]
    cpu_s: float
    rss_mb: float


class Health(msgspec.Struct, frozen=True):
    """All of them, and the cameras of the run."""

    parts: tuple[Part, ...]
    seats: tuple[Seat, ...] = ()
    answered: int = 0
    """The number of the last wish about cameras that was heard."""
    refused: str = ""
    """Why that was not done."""


def health_address(folder: str) -> str:
    return f"ipc://{folder}/health"


class HealthReader:
    """The newest word of the supervisor. `step` belongs to one thread; `newest` is there for all."""

    def __init__(self, sockets: Sockets, folder: str):
        self._socket = sockets.newest(health_address(folder))
        self._decoder = msgspec.msgpack.Decoder(Health)
        self._heard = 0
        self._newest: Health | None = None

    def step(self) -> None:
        try:
            self._newest = self._decoder.decode(self._socket.recv(zmq.NOBLOCK))
            self._heard = now()
        except zmq.Again:
            return

    @property
    def seats(self) -> tuple[Seat, ...] | None:
        """The cameras of the run; None while nothing is known."""
        return None if self._newest is None else self._newest.seats

    @property
    def newest(self) -> Health | None:
        """None while nothing is known."""
        return self._newest if now() - self._heard < FRESH_S * NS_PER_S else None


def faithfulness_of(facts: Mapping[str, str]) -> dict[str, Faithfulness]:
    """By camera, what a worker's facts say of it."""
    found = {}
    for name, said in facts.items():
        kind, at, camera = name.partition("@")
        if at and kind == "faithfulness":
            whole, hottest, elsewhere, clips, cost = said.split()
            found[camera] = Faithfulness(float(whole), float(hottest), float(elsewhere), int(clips), float(cost))
    return found
