"""The offset of another host's clock: never further from the truth than its uncertainty says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.link import offset as offset_module
from rtx.link.offset import ClockAnswer, ClockOffset
from rtx.link.sockets import Sockets
from tests.waiting import until


class Wire:
    """A socket to another host, in simulated time: each question is answered after its delays."""

    def __init__(self, ahead: int, there: int, back: int):
        self.now = 5 * NS_PER_S
        self.ahead, self.there, self.back = ahead, there, back
        """The other clock less ours, and the two ways, in ns."""
        self.silent = False
        self._coming: list[tuple[int, bytes]] = []
        self.asked = 0

    def send(self, question: bytes, flags: int = 0) -> None:
        self.asked += 1
        if not self.silent:
            (at,) = offset_module._ASK.unpack(question)
            told = self.now + self.there + self.ahead
            self._coming.append((self.now + self.there + self.back, offset_module._ANSWER.pack(at, told)))

    def poll(self, timeout: int) -> bool:
        return any(arrives <= self.now for arrives, _ in self._coming)

    def recv(self) -> bytes:
        first = min(self._coming)
        self._coming.remove(first)
        return first[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()


def run(wire: Wire, offset: ClockOffset, seconds: float, monkeypatch: pytest.MonkeyPatch, step_ms: float = 1) -> None:
    monkeypatch.setattr(offset_module, "now", lambda: wire.now)
    for _ in range(int(seconds * 1000 / step_ms)):
        offset.step()
        wire.now += int(step_ms * NS_PER_MS)


def linked(wire: Wire) -> ClockOffset:
    return ClockOffset(wire)  # type: ignore[arg-type]


def test_nothing_is_known_before_the_first_answer(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(0, 0, 0)
    wire.silent = True
    offset = linked(wire)
    run(wire, offset, 1, monkeypatch)
    assert not offset.known


def test_the_first_answer_is_enough(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(1000 * NS_PER_S, NS_PER_MS, NS_PER_MS)
    offset = linked(wire)
    run(wire, offset, 0.01, monkeypatch)
    assert offset.known
    assert abs(offset.offset - wire.ahead) <= offset.uncertainty <= 2 * NS_PER_MS


@given(
    ahead=st.integers(-(10**6) * NS_PER_S, 10**6 * NS_PER_S),
    there=st.integers(0, 200 * NS_PER_MS),
    back=st.integers(0, 200 * NS_PER_MS),
)
def test_the_uncertainty_bounds_the_truth_however_uneven_the_ways(ahead: int, there: int, back: int):
    wire = Wire(ahead, there, back)
    offset = linked(wire)
    with pytest.MonkeyPatch.context() as patch:
        run(wire, offset, 2, patch)
    assert offset.known
    assert abs(offset.offset - ahead) <= offset.uncertainty + 1
    assert offset.uncertainty <= (there + back) / 2 + NS_PER_MS


def test_the_quickest_round_trip_counts(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(7 * NS_PER_S, 0, 0)
    offset, dice = linked(wire), random.Random(1)
    for _ in range(40):
        wire.there, wire.back = (int(dice.expovariate(1 / 20) * NS_PER_MS) for _ in range(2))
        run(wire, offset, 0.5, monkeypatch)
    assert abs(offset.offset - wire.ahead) <= offset.uncertainty < 10 * NS_PER_MS


@pytest.mark.parametrize("leap_s", [3600, -3600, 0.05])
def test_a_leap_of_the_other_clock_is_followed(leap_s: float, monkeypatch: pytest.MonkeyPatch):
    """The other host was started anew."""
    wire = Wire(1000 * NS_PER_S, NS_PER_MS, NS_PER_MS)
    offset = linked(wire)
    run(wire, offset, 20, monkeypatch)
    wire.ahead += int(leap_s * NS_PER_S)
    run(wire, offset, 3, monkeypatch)
    assert abs(offset.offset - wire.ahead) <= offset.uncertainty <= 2 * NS_PER_MS


def test_a_slow_drift_is_followed(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(0, NS_PER_MS, NS_PER_MS)
    offset = linked(wire)
    for _ in range(120):
        wire.ahead += 100_000  # 100 ppm
        run(wire, offset, 1, monkeypatch, step_ms=5)
    assert abs(offset.offset - wire.ahead) < 10 * NS_PER_MS


def test_it_asks_once_a_second(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(0, NS_PER_MS, NS_PER_MS)
    offset = linked(wire)
    run(wire, offset, 1, monkeypatch)
    wire.asked = 0
    run(wire, offset, 10, monkeypatch)
    assert 9 <= wire.asked <= 11


def test_one_answer_that_was_lost_does_not_end_it(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(5 * NS_PER_S, NS_PER_MS, NS_PER_MS)
    wire.silent = True
    offset = linked(wire)
    run(wire, offset, 1, monkeypatch)
    wire.silent = False
    run(wire, offset, 1, monkeypatch)
    assert offset.known


def test_answers_that_nobody_asked_for_are_not_believed(monkeypatch: pytest.MonkeyPatch):
    wire = Wire(5 * NS_PER_S, NS_PER_MS, NS_PER_MS)
    offset = linked(wire)
    run(wire, offset, 1, monkeypatch)
    for lie in (offset_module._ANSWER.pack(1, 1), b"", b"x" * 16, b"x" * 100):
        wire._coming.append((wire.now, lie))
    run(wire, offset, 1, monkeypatch)
    assert abs(offset.offset - wire.ahead) <= offset.uncertainty


def test_two_real_sockets_find_no_offset_on_one_host(tmp_path: Path):
    with Sockets() as sockets:
        answer = ClockAnswer(sockets.answer(f"ipc://{tmp_path}/clock"))
        offset = ClockOffset(sockets.ask(f"ipc://{tmp_path}/clock"), every_s=0.1)

        def asked() -> bool:
            offset.step()
            answer.serve()
            return len(offset._trips) >= 8

        until(asked)
    assert abs(offset.offset) <= offset.uncertainty


def test_nonsense_does_not_stop_the_answering_side(tmp_path: Path):
    with Sockets() as sockets:
        answer = ClockAnswer(sockets.answer(f"ipc://{tmp_path}/clock"))
        asking = sockets.ask(f"ipc://{tmp_path}/clock")
        for nonsense in ([b""], [b"x" * 1000], [b"a", b"b", b"c"]):
            asking.send_multipart(nonsense)
        offset = ClockOffset(asking, every_s=0.1)

        def known() -> bool:
            offset.step()
            answer.serve()
            return offset.known

        until(known)
