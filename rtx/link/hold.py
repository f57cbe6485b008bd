"""A clip that viewers look at closely: asked for by the display, given by the worker, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import zmq

from rtx.clock import NS_PER_S, now
from rtx.link.ask import Answers, replies
from rtx.link.wire import HeldClip, Hold, pack, unpack_held, unpack_hold

PATIENCE_S = 30.0
"""A tree takes a pass, on a slow machine seconds; after so long no answer is waited for."""

Deliver = Callable[[HeldClip | str], None]
"""Told the clip, or why there is none."""


class HoldAnswer(Answers[Hold]):
    """The worker's side."""

    def __init__(self, socket: zmq.Socket[bytes]):
        super().__init__(socket, unpack_hold)


@dataclass
class _Wish:
    camera: str
    tree: tuple[int, int] | None
    deliver: Deliver


class HoldAsk:
    """The display's side. One question is under way at a time; of each viewer the newest wish waits."""

    def __init__(self, socket: zmq.Socket[bytes]):
        self._socket = socket
        self._waiting: dict[Hashable, _Wish] = {}
        self._under_way: _Wish | None = None
        self._number = 0
        self._asked_at = 0
        self.malformed = 0

    def ask(self, viewer: Hashable, camera: str, tree: tuple[int, int] | None, deliver: Deliver) -> None:
        """`deliver` is called in `step`."""
        self._waiting[viewer] = _Wish(camera, tree, deliver)

    def step(self) -> None:
        """Hand out the answer that has come, ask what waits longest."""
        taken, malformed = replies(self._socket, unpack_held)
        self.malformed += malformed
        for held in taken:
            if held.number == self._number:
                self._end(held.clip if held.clip is not None else held.refused)
        if self._under_way is not None and now() - self._asked_at > PATIENCE_S * NS_PER_S:
            self._end(f"no answer from the worker within {PATIENCE_S:.0f} s: it may still be loading, or be gone")
        if self._under_way is None and self._waiting:
            self._send(self._waiting.pop(next(iter(self._waiting))))

    def _send(self, wish: _Wish) -> None:
        self._number += 1
        self._asked_at, self._under_way = now(), wish
        try:
            self._socket.send(pack(Hold(self._number, wish.camera, wish.tree)), zmq.NOBLOCK)
        except zmq.Again:
            self._end("the worker takes no questions at the moment; try again")

    def _end(self, answer: HeldClip | str) -> None:
        wish, self._under_way = self._under_way, None
        if wish is not None:
            wish.deliver(answer)
