"""The latency budget: how old the worker lets heatmaps get, and what it gives up, step by step, to keep within it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from rtx import config
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.explain.registry import Chain, assemble
from rtx.nets.cards import Card

DISPLAY_MS, DISPLAY = 33.0, 0.05
"""Of the budget this, or this share, whichever is more, is the display's: it shows a heatmap with the next frame."""
ROOM = 0.8
"""The worker climbs where the heatmap would then be no older than this share of what it aims at."""
SETTLE_S, SETTLE_N = 2.0, 8
"""A rung is judged after so long and so many explanations on it."""
HOPELESS, HOPELESS_N = 2.0, 2
"""Or after so many, where each is older than so many times what is aimed at: there, seconds pass between two."""
JUDGED_S = 20.0
"""By what happened in so long; late time counts as a share of at least that, so that a hiccup is none of its matter."""
HOLD_S, LONGEST_HOLD_S = 5.0, 300.0
"""A rung is held for so long before climbing; twice as long after each climb that had to be taken back."""
SOON_S = 120.0
"""A climb that was taken back so soon was a mistake."""
PROBES = 12
"""After so many holds it climbs whatever the last step down had gained: what it gained then need not be so any more."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder."""

    words: str = ""
    """What is given up, for people; nothing on the first."""
    fewer: bool = False
    """Half of the cameras at a time; with one camera, a rest after each explanation, as long as that took."""
    size: int | None = None
    """Pixels that the network sees, instead of the card's."""
    chain: Chain | None = None
    """What explains, instead of what was asked for."""


def ladder(card: Card, chain: Chain, follows: bool, linear: bool) -> tuple[Rung, ...]:
    """What can be given up, the least first. `linear`: the network's head is such that CAM works.

    Fewer explanations a second; then a smaller input, where the card knows of one (a network that is followed frame by
    frame remembers what it saw at its size); then an explainer that needs no pass of its own.
    """
    rungs = [Rung(), Rung("fewer explanations a second", fewer=True)]
    for size in () if follows else card.smaller:
        rungs.append(Rung(f"{size} instead of {card.clip.size} pixels", size=size))
    if chain.reads != "features":
        cheap = "cam" if linear else "ksigma"
        call = assemble([(cheap, {})]).calls[0]
        last = rungs[-1]
        words = f"{cheap} instead of {chain.name}"
        together = f"{last.words}, {words}" if last.size else words
        rungs.append(replace(last, words=together, fewer=False, chain=Chain((call, *chain.calls[1:]))))
    return tuple(rungs)


@dataclass(frozen=True)
class _Told:
    """One explanation: how old the last heatmap had become when it came, and for how long that one was too old."""

    at: int
    age: int
    lasted: int
    late: int


class Budget:
    """Where on the ladder the worker stands. Times are monotonic ns of this host.

    Down, where heatmaps were too old for more than the allowed share of the time. Up, where the age measured here times
    what the step down had gained leaves room; so that a load which stays does not make it go up and down. And up now
    and then to see, ever more seldom while that is of no use.
    """

    def __init__(self, settings: config.Budget, rungs: tuple[Rung, ...]):
        budget_ms = settings.heatmap_age_ms
        self._aim = int(max(budget_ms / 2, budget_ms - max(DISPLAY_MS, DISPLAY * budget_ms)) * NS_PER_MS)
        self._allowed = settings.deadline_misses
        self._rungs = rungs
        self._at = 0
        self._since: int | None = None
        self._told: deque[_Told] = deque(maxlen=20_000)
        self._last: dict[str, tuple[int, int]] = {}
        self._before: list[float] = [0.0] * len(rungs)
        """Of each rung, the age on it when it was left downwards."""
        self._gain: list[float | None] = [None] * len(rungs)
        """Of each rung, that age over the first one on the rung below."""
        self._hold_s = HOLD_S
        self._climbed_at: int | None = None

    @property
    def rung(self) -> Rung:
        return self._rungs[self._at]

    def explained(self, camera: str, newest: int, at: int, since: int) -> None:
        """A heatmap of a clip whose newest frame is of `newest` went out at `at`.

        `since`: capture time of the first frame that the last heatmap's clip had not seen. Time in which there was none
        is no delay of the worker's.
        """
        if camera in self._last:
            last_newest, last_at = self._last[camera]
            idle = max(0, since - last_at)
            age, lasted = at - last_newest - idle, at - last_at - idle
            self._told.append(_Told(at, age, lasted, min(lasted, max(0, age - self._aim))))
        self._last[camera] = newest, at
        if self._since is None:
            self._since = at

    def forget(self, camera: str) -> None:
        """The camera was away, or jumped: what comes does not follow on what was."""
        self._last.pop(camera, None)

    def step(self, at: int) -> str | None:
        """Go down or up where it is time to: in words, what is done from now on; None where all stays."""
        while self._told and at - self._told[0].at > JUDGED_S * NS_PER_S:
            self._told.popleft()
        if self._since is None or at - self._since < SETTLE_S * NS_PER_S or not self._settled:
            return None
        age = _p95([told.age for told in self._told])
        if self._at and self._gain[self._at - 1] is None:
            self._gain[self._at - 1] = self._before[self._at - 1] / age
        lasted = max(sum(told.lasted for told in self._told), int(JUDGED_S * NS_PER_S))
        late = sum(told.late for told in self._told) / lasted
        if late > self._allowed:
            return self._down(at, age) if self._at + 1 < len(self._rungs) else None
        held = (at - self._since) / NS_PER_S
        if self._at and held >= self._hold_s:
            to = self._highest(age)
            if to == self._at and held >= PROBES * self._hold_s:
                to = self._at - 1
            if to < self._at:
                return self._up(to, at)
        return None

    @property
    def _settled(self) -> bool:
        hopeless = len(self._told) >= HOPELESS_N and all(told.age > HOPELESS * self._aim for told in self._told)
        return hopeless or len(self._told) >= SETTLE_N

    def _highest(self, age: float) -> int:
        """The first rung on which the age that is now so high would leave room, as far as is known."""
        found = self._at
        for above in reversed(range(self._at)):
            gain = self._gain[above]
            if gain is None:
                break
            age *= gain
            if age <= ROOM * self._aim:  # One between may be worse than those around it: a rest, that is of no use.
                found = above
        return found

    def _down(self, at: int, age: float) -> str:
        soon = self._climbed_at is not None and at - self._climbed_at < max(SOON_S, 4 * self._hold_s) * NS_PER_S
        if soon:
            self._hold_s = min(LONGEST_HOLD_S, 2 * self._hold_s)
        elif self._since is not None and at - self._since > LONGEST_HOLD_S * NS_PER_S:
            self._hold_s = HOLD_S  # That was long enough ago to be another matter.
        self._climbed_at = None
        self._before[self._at], self._gain[self._at] = age, None
        self._go(self._at + 1, at)
        return f"over its budget: {self.rung.words}"

    def _up(self, to: int, at: int) -> str:
        self._climbed_at = at
        self._go(to, at)
        return f"within its budget: {self.rung.words or 'as asked for'}"

    def _go(self, to: int, at: int) -> None:
        self._at, self._since = to, at
        self._told.clear()
        self._last.clear()


def _p95(ages: list[int]) -> float:
    return sorted(ages)[int(0.95 * (len(ages) - 1))]
