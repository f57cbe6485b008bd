"""What a viewer wants to be explained: asked by the display, answered by the worker. The newest choice counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import zmq

from rtx.clock import NS_PER_S, now
from rtx.link.ask import Answers, replies
from rtx.link.wire import Choice, Chosen, pack, unpack_choice, unpack_chosen

PATIENCE_S = 30.0
"""A worker tries a choice with one pass, which takes seconds on a slow machine; after so long it is not there."""


class ChoiceAnswer(Answers[Choice]):
    """The worker's side."""

    def __init__(self, socket: zmq.Socket[bytes]):
        super().__init__(socket, unpack_choice)

    def serve(self, take: Callable[[Choice], str]) -> None:
        """Let `take` have the newest choice; what it gives is why not, or empty."""
        self.answer(lambda choice: Chosen(choice.number, take(choice)[:2000]))


class ChoiceAsk:
    """The display's side. One choice counts at a time, the newest."""

    def __init__(self, socket: zmq.Socket[bytes]):
        self._socket = socket
        self._number = 0
        self._asked_at = 0
        self.state: Literal["none", "open", "late", "taken", "refused"] = "none"
        """Of the newest choice. One that is late may still be answered."""
        self.why = ""
        """It was refused, or is late."""
        self.malformed = 0

    def ask(self, explainer: str, target: str | None) -> None:
        self._number += 1
        self._asked_at, self.state, self.why = now(), "open", ""
        try:
            self._socket.send(pack(Choice(self._number, explainer, target)), zmq.NOBLOCK)
        except zmq.Again:
            self.state, self.why = "refused", "the worker takes no choice at the moment; try again"

    def step(self) -> None:
        """Take the answers that wait."""
        taken, malformed = replies(self._socket, unpack_chosen)
        self.malformed += malformed
        for answer in taken:
            if self.state in ("open", "late") and answer.number == self._number:
                self.state, self.why = ("refused" if answer.refused else "taken"), answer.refused
        if self.state == "open" and now() - self._asked_at > PATIENCE_S * NS_PER_S:
            self.state = "late"
            self.why = f"no answer from the worker within {PATIENCE_S:.0f} s: it may still be loading, or be gone"
