"""Moments out of a film: frames as they come, and of them those nearest to given times."""

from __future__ import annotations

from collections.abc import Sequence

from rtx.show.view import View


class Moments:
    """Of frames as they come, each once an explainer, those nearest to given times."""

    def __init__(self, due: Sequence[int]):
        self.due = due
        self._chosen: list[tuple[View, ...]] = []
        self._last: tuple[View, ...] | None = None

    def add(self, views: tuple[View, ...]) -> None:
        """Times ascend."""
        if self._last is not None:
            middle = (self._last[0].t_capture + views[0].t_capture) / 2
            while len(self._chosen) < len(self.due) and self.due[len(self._chosen)] < middle:
                self._chosen.append(self._last)
        self._last = views

    def close(self) -> list[tuple[View, ...]]:
        """One a time."""
        assert self._last is not None
        self._chosen += [self._last] * (len(self.due) - len(self._chosen))
        return self._chosen
