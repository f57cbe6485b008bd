"""What is explained at present, and what viewers ask for instead. Whoever asked last has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

from rtx.clock import NS_PER_MS
from rtx.config import Worker
from rtx.errors import UserError
from rtx.explain.chain import chain_for
from rtx.explain.registry import assemble, parse
from rtx.link.choice import ChoiceAsk
from rtx.nets import cards
from rtx.show.view import View


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One link of a chain: an explainer or a step, and its parameters (those left out are as declared)."""

    name: str
    parameters: dict[str, str | int | float | bool | None] = {}


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="explain"):
    """What a viewer wants to be explained."""

    chain: Annotated[tuple[Link, ...], Meta(max_length=8)]
    target: Annotated[str, Meta(max_length=200)] | None = None
    """The class; None: the likeliest."""


class Explaining(msgspec.Struct, frozen=True, tag="explaining"):
    """What is explained, or, while `asked`, what is to be."""

    chain: tuple[Link, ...]
    target: str | None
    asked: bool = False
    """The worker was asked for it and has not answered yet."""
    refused: str = ""
    """Why what was asked for last is not explained."""
    wishes: int = 0
    """Heard so far: whoever had one can tell that it was."""


class Steering:
    """`ask` may be called by any thread; `step` belongs to the display's, `state` is there for all."""

    def __init__(self, line: ChoiceAsk | None, worker: Worker):
        """`line`: the way to the worker; None where none is heard here."""
        self._line = line
        self._wishes: deque[Wish | str] = deque(maxlen=1)
        self._asked: tuple[str, str | None] | None = None
        self._explained: tuple[str, str | None] = (worker.explainer, worker.target)
        self._heard = 0
        self._refused = ""
        self._shown: dict[str, int] = {}
        self._since: dict[str, int] = {}
        """Of each camera, the newest frame when the worker took a choice: later ones are explained so."""
        self.labels = _labels(worker)
        self.state = Explaining(_links(worker.explainer), worker.target)
        self.listeners: list[Callable[[], None]] = []
        """Called by the display's thread when `state` has changed."""

    def ask(self, wish: Wish | str) -> None:
        """Have this explained from now on, or say why it is no wish; `state` tells what becomes of it."""
        self._wishes.append(wish)

    def step(self, view: View | None = None) -> None:
        """Send what was asked for, take what was answered, and what a view says of what is explained."""
        if self._wishes:
            self._heard += 1
            wish = self._wishes.popleft()
            self._refused = wish if isinstance(wish, str) else self._send(wish)
        if self._line is not None:
            self._line.step()
            self._take(self._line)
        if view is not None:
            self._see(view)
        self._tell()

    def _take(self, line: ChoiceAsk) -> None:
        if self._asked is None or line.state == "open":
            return
        self._refused = line.why
        if line.state == "taken":
            self._explained, self._since = self._asked, dict(self._shown)
        if line.state != "late":
            self._asked = None

    def _send(self, wish: Wish) -> str:
        """Why it cannot be; empty where the worker is asked."""
        if self._line is None:
            return "no worker is heard on this host, so that nothing can be chosen here"
        try:
            text = str(assemble([(link.name, link.parameters) for link in wish.chain]))
            chain_for(text, wish.target, self.labels)
        except UserError as error:
            return str(error)
        self._asked = text, wish.target
        self._line.ask(*self._asked)
        return ""

    def _see(self, view: View) -> None:
        self._shown[view.camera] = view.t_capture
        if view.misalignment_ms is None:
            return
        if view.t_capture - view.misalignment_ms * NS_PER_MS > self._since.get(view.camera, 0):
            self._explained = view.explainer, view.asked

    def _tell(self) -> None:
        open_ = self._line is not None and self._line.state == "open"
        text, target = self._asked if self._asked is not None and open_ else self._explained
        try:
            chain = _links(text)
        except UserError as error:
            chain, self._refused = self.state.chain, f"the worker explains by what is not known on this host: {error}"
        state = Explaining(chain, target, open_, self._refused, self._heard)
        if state != self.state:
            self.state = state
            for listener in self.listeners:
                listener()


@lru_cache(maxsize=64)
def _links(text: str) -> tuple[Link, ...]:
    chain = parse(text)
    return tuple(Link(call.declaration.name, call.parameters) for call in chain.calls)


def _labels(worker: Worker) -> tuple[str, ...]:
    """The model's classes; none where it is not at hand, as on another host."""
    try:
        return cards.card(worker.model, worker.layer).labels
    except UserError:
        return ()
