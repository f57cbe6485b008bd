"""A steering and a worker of the test's own at the other end of its line."""

from __future__ import annotations

from rtx.config import Worker
from rtx.link.choice import ChoiceAnswer, ChoiceAsk
from rtx.link.sockets import Sockets
from rtx.link.wire import Choice
from rtx.show.steering import Link, Steering, Wish
from tests.waiting import until


class Steered:
    """What was asked is in `taken`; `refusal` is what the worker says to it."""

    def __init__(self, sockets: Sockets, folder: str):
        self.worker = ChoiceAnswer(sockets.answer(f"ipc://{folder}/choice"))
        self.steering = Steering(ChoiceAsk(sockets.ask(f"ipc://{folder}/choice")), Worker(model="figures"))
        self.taken: list[tuple[str, str | None]] = []
        self.refusal = ""

    def take(self, choice: Choice) -> str:
        self.taken.append((choice.explainer, choice.target))
        return self.refusal

    def wish(self, *chain: Link, target: str | None = None) -> None:
        self.steering.ask(Wish(chain, target))
        self.steering.step()

    def answered(self) -> None:
        def ended() -> bool:
            self.worker.serve(self.take)
            self.steering.step()
            return not self.steering.state.asked

        until(ended)
