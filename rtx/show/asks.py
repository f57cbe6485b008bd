"""What those who watch may ask for, and what they may know of the run."""

from __future__ import annotations

from typing import NamedTuple

from rtx.health import HealthReader
from rtx.show.holding import Holding
from rtx.show.seating import Seating
from rtx.show.steering import Steering


class Asks(NamedTuple):
    """Each may be asked by any thread; `step` belongs to the display's."""

    steering: Steering
    """What is explained."""
    holding: Holding
    """A clip, to be looked at closely."""
    seating: Seating
    """The cameras."""
    health: HealthReader
    """How the run's processes are."""

    def step(self) -> None:
        self.steering.step()
        self.holding.step()
        self.health.step()
        self.seating.step()
