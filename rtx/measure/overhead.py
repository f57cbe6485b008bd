"""What explaining costs: (classify + explain) / classify, in turns in one process (Fuad et al. 2020, Table II)."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

Classify = Callable[[], object]
Explain = Callable[[], float]
"""Classifies and explains, too; returns how many ms that took once the scores were there."""


class Overhead(NamedTuple):
    """Medians of pairs of passes, one that only classifies and one that explains: what slows the machine slows both."""

    classify_ms: float
    """What a pass takes that only classifies."""
    differs_ms: float
    """By how much such passes differ: half of the way from the quickest to the slowest."""
    more_ms: float
    """What the other takes more; below 0 where that is less than what passes differ by."""
    apart_ms: float
    """What was timed apart, once the scores were there."""

    @property
    def explain_ms(self) -> float:
        """What explaining adds: `more_ms` or, where that is less than what passes differ by, `apart_ms`."""
        return self.more_ms if self.more_ms > self.differs_ms else self.apart_ms

    @property
    def ratio(self) -> float:
        """Both over the pass that only classifies: 1 is free."""
        return 1 + self.explain_ms / self.classify_ms


def overhead(
    classify: Classify, explaining: list[Explain], turns: int, clock: Callable[[], float] = time.perf_counter
) -> list[Overhead]:
    """Of each work that explains, in turns with one that only classifies. `clock` tells seconds; works return when all
    is done."""
    found = []
    for explain in explaining:
        plain, more, apart = [], [], []
        for _ in range(turns):
            began = clock()
            classify()
            between = clock()
            apart.append(explain())
            plain.append((between - began) * 1e3)
            more.append((clock() - between) * 1e3 - plain[-1])
        found.append(Overhead(median(plain), (max(plain) - min(plain)) / 2, median(more), median(apart)))
    return found
