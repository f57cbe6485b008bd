"""A choice on its way from the display to the worker and back: the newest counts, and no one waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtx.clock import NS_PER_S
from rtx.link import choice as choice_module
from rtx.link.choice import PATIENCE_S, ChoiceAnswer, ChoiceAsk
from rtx.link.sockets import Sockets, endpoint, new_keys, private_folder, read_keys
from rtx.link.wire import Choice, Chosen, pack
from tests.live.runs import free_port
from tests.waiting import until


class Ends:
    """Both ends of a line, and what the worker was given."""

    def __init__(self, sockets: Sockets, address: str):
        self.address = address
        self.sockets = sockets
        self.worker = ChoiceAnswer(sockets.answer(self.address))
        self.socket = sockets.ask(self.address)
        self.display = ChoiceAsk(self.socket)
        self.taken: list[Choice] = []
        self.refusal = ""

    def take(self, choice: Choice) -> str:
        self.taken.append(choice)
        return self.refusal

    def answered(self, display: ChoiceAsk | None = None) -> None:
        asking = display or self.display

        def ended() -> bool:
            self.worker.serve(self.take)
            asking.step()
            return asking.state != "open"

        until(ended)


@pytest.fixture(params=["one host", "two hosts"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    apart = request.param == "two hosts"
    if apart:
        new_keys(tmp_path / "keys")
    with private_folder() as folder, Sockets(read_keys(str(tmp_path / "keys")) if apart else None) as sockets:
        base = f"tcp://127.0.0.1:{free_port()}" if apart else "ipc"
        yield Ends(sockets, endpoint(base, folder, "choice", 0))


def test_a_choice_reaches_the_worker_and_its_answer_the_display(ends: Ends):
    ends.display.ask("ksigma(k=2) | selective", None)
    assert ends.display.state == "open"
    ends.answered()
    assert ends.display.state == "taken"
    assert [(of.explainer, of.target) for of in ends.taken] == [("ksigma(k=2) | selective", None)]


def test_why_a_choice_was_refused_is_told(ends: Ends):
    ends.refusal = "cam and contrast need a head of pooling and one linear layer"
    ends.display.ask("cam", "squat")
    ends.answered()
    assert (ends.display.state, ends.display.why) == ("refused", ends.refusal)


def test_of_several_choices_only_the_newest_is_tried(ends: Ends):
    for k in range(50):
        ends.display.ask(f"ksigma(k={k / 10})", None)
    until(lambda: ends.worker._socket.poll(100))
    ends.answered()
    assert ends.taken[-1].explainer == "ksigma(k=4.9)"
    assert len(ends.taken) < 50


def test_each_of_two_displays_hears_of_its_own_choice(ends: Ends):
    other = ChoiceAsk(ends.sockets.ask(ends.address))
    ends.display.ask("cam", None)
    ends.answered()
    ends.refusal = "no"
    other.ask("dtd", None)
    ends.answered(other)
    assert (ends.display.state, other.state) == ("taken", "refused")


def test_a_worker_that_does_not_answer_is_not_waited_for_for_ever(ends: Ends, monkeypatch: pytest.MonkeyPatch):
    ends.display.ask("cam", None)
    later = choice_module.now() + int((PATIENCE_S + 1) * NS_PER_S)
    monkeypatch.setattr(choice_module, "now", lambda: later)
    ends.display.step()
    assert ends.display.state == "late"
    assert "no answer from the worker within 30 s" in ends.display.why
    until(lambda: ends.worker.serve(ends.take) or ends.taken)
    until(lambda: ends.display.step() or ends.display.state == "taken")
    assert ends.display.why == "", "it was loading, and has taken it in the end"


def test_an_answer_to_an_earlier_choice_says_nothing_of_the_present_one(ends: Ends):
    ends.display.ask("cam", None)
    who = until(lambda: ends.worker._socket.poll(0) and ends.worker._socket.recv_multipart()[0])
    ends.display.ask("dtd", None)
    ends.worker._socket.send_multipart([who, pack(Chosen(1, "too late"))])
    until(lambda: ends.socket.poll(0))
    ends.display.step()
    assert ends.display.state == "open"


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 100, pack(Chosen(1)), b"x" * 5000])
def test_garbage_is_counted_and_dropped(ends: Ends, garbage: bytes):
    ends.socket.send(garbage)

    def counted() -> int:
        ends.worker.serve(ends.take)
        return ends.worker.malformed

    assert until(counted) == 1
    assert ends.taken == []


def test_the_line_has_the_port_after_those_of_the_cameras():
    taken = {endpoint("tcp://h:5800", "", kind, index) for kind in ("maps", "maps-clock") for index in range(3)}
    assert endpoint("tcp://h:5800", "", "choice", 3) == "tcp://h:5806"
    assert endpoint("tcp://h:5800", "", "choice", 3) not in taken
