"""When an action begins and ends: its class over a threshold for long enough, with hysteresis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rtx.clock import NS_PER_S
from rtx.config import Events
from rtx.link.wire import TopClass


@dataclass
class Episode:
    """One class of one camera that is, or may become, an event. Times in ns, as they come in."""

    label: str
    start: int
    """When it first was over the threshold."""
    seen: int
    """When it last was over what it is released at."""
    peak: float
    open: bool = False
    """It has lasted long enough."""


@dataclass(frozen=True)
class Change:
    """An event begins, or ends."""

    what: str
    """`begins` or `ends`."""
    episode: Episode


class Detector:
    """Of one camera. `step` is told each explained clip; a class that is not named has no probability."""

    def __init__(self, settings: Events):
        self._settings = settings
        self._episodes: dict[str, Episode] = {}

    @property
    def open(self) -> list[Episode]:
        return [episode for episode in self._episodes.values() if episode.open]

    def step(self, at: int, top: Iterable[TopClass]) -> list[Change]:
        """What begins and ends with a clip whose newest frame is of `at`."""
        settings, changes = self._settings, list[Change]()
        p = {of.label: of.p for of in top if not settings.classes or of.label in settings.classes}
        for label, share in p.items():
            episode = self._episodes.get(label)
            if episode is None and share >= settings.threshold:
                episode = self._episodes[label] = Episode(label, at, at, share)
            if episode is None:
                continue
            if share >= (settings.release if episode.open else settings.threshold):
                episode.seen, episode.peak = at, max(episode.peak, share)
                if not episode.open and at - episode.start >= settings.on_s * NS_PER_S:
                    episode.open = True
                    changes.append(Change("begins", episode))
        for label, episode in list(self._episodes.items()):
            patience = settings.off_s * NS_PER_S if episode.open else 0
            gone = episode.seen < at and at - episode.seen >= patience
            if gone or at - episode.start >= settings.longest_s * NS_PER_S:
                del self._episodes[label]
                if episode.open:
                    changes.append(Change("ends", episode))
        return changes

    def end(self) -> list[Change]:
        """The camera is gone, or jumped: what was open ends where it was last seen."""
        ended = [Change("ends", episode) for episode in self.open]
        self._episodes.clear()
        return ended
