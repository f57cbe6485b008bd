"""Two hosts, two clocks: their offset and its uncertainty, measured per link by round trips."""

from __future__ import annotations

import struct
from collections import deque

import zmq

from rtx.clock import now

_ASK = struct.Struct("<q")
_ANSWER = struct.Struct("<qq")
_LEAP = 5_000_000


class ClockAnswer:
    """The writer's side: tells its time to whoever asks."""

    def __init__(self, socket: zmq.Socket[bytes]):
        self.socket = socket

    def serve(self) -> None:
        """Answer all questions that wait."""
        while self.socket.poll(0):
            who, *rest = self.socket.recv_multipart()
            if len(rest) == 1 and len(rest[0]) == _ASK.size:
                asked = _ASK.unpack(rest[0])[0]
                self.socket.send_multipart([who, _ANSWER.pack(asked, now())], zmq.NOBLOCK)


class ClockOffset:
    """The reader's side: `offset` = the writer's clock - ours, in ns, from the quickest of the last round trips.

    The truth lies within `uncertainty` ns of it: half that round trip, however uneven the two ways are.
    """

    def __init__(self, socket: zmq.Socket[bytes], every_s: float = 1.0, keep: int = 16):
        self.socket = socket
        self._every = int(every_s * 1e9)
        self._asked = 0
        self._open: deque[int] = deque(maxlen=64)
        """Questions not answered yet. On a slow way several are under way at once."""
        self._trips: deque[tuple[int, int]] = deque(maxlen=keep)

    @property
    def known(self) -> bool:
        return bool(self._trips)

    @property
    def offset(self) -> int:
        return min(self._trips)[1] if self._trips else 0

    @property
    def uncertainty(self) -> int:
        return min(self._trips)[0] // 2 if self._trips else 0

    def step(self) -> None:
        """Take the answers that wait, ask again when it is time. Quick at first, until some trips are known."""
        while self.socket.poll(0):
            answer = self.socket.recv()
            arrived = now()
            if len(answer) == _ANSWER.size:
                asked, told = _ANSWER.unpack(answer)
                if asked in self._open:
                    self._open.remove(asked)
                    self._learn(arrived - asked, told - (asked + arrived) // 2)
        every = self._every if len(self._trips) >= 4 else self._every // 10
        if now() - self._asked >= every:
            self._asked = now()
            try:
                self.socket.send(_ASK.pack(self._asked), zmq.NOBLOCK)
            except zmq.Again:
                return
            self._open.append(self._asked)

    def _learn(self, trip: int, offset: int) -> None:
        if self._trips and abs(offset - self.offset) > trip // 2 + self.uncertainty + _LEAP:
            self._trips.clear()  # Another host answers by now, or its clock was started anew.
        self._trips.append((trip, offset))
