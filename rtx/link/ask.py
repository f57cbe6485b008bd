"""What the display asks of the worker, and its answers. Of each asker the newest question counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import zmq

from rtx.link.wire import BadMessage, Chosen, Held, pack

Question = TypeVar("Question")


class Answers(Generic[Question]):
    """The worker's side."""

    def __init__(self, socket: zmq.Socket[bytes], unpack: Callable[[bytes], Question]):
        self._socket, self._unpack = socket, unpack
        self.malformed = 0

    def answer(self, with_: Callable[[Question], Chosen | Held]) -> None:
        """Answer each asker's newest question of those that wait."""
        newest: dict[bytes, Question] = {}
        while self._socket.poll(0):
            who, *rest = self._socket.recv_multipart()
            try:
                newest[who] = self._unpack(b"".join(rest))
            except BadMessage:
                self.malformed += 1
        for who, question in newest.items():
            self._socket.send_multipart([who, pack(with_(question))], zmq.NOBLOCK)


Reply = TypeVar("Reply", Chosen, Held)


def replies(socket: zmq.Socket[Any], unpack: Callable[[bytes], Reply]) -> tuple[list[Reply], int]:
    """On the display's side: the answers that wait, and how many of them cannot be read."""
    taken: list[Reply] = []
    malformed = 0
    while socket.poll(0):
        try:
            taken.append(unpack(socket.recv()))
        except BadMessage:
            malformed += 1
    return taken, malformed
