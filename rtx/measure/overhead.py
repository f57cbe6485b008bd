"""What explaining costs: (classify + explain) / classify, in turns in one process (Fuad et al. 2020, Table II)."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

Work = Callable[[], object]


class Overhead(NamedTuple):
    """Medians of turns; of each turn, beside its own pass, so that what slows the machine slows both."""

    classify_ms: float
    """What a pass takes that only classifies."""
    explain_ms: float
    """What explaining adds to it; below 0 where that is less than what passes differ by."""
    ratio: float
    """Both over the first: 1 is free."""


def overhead(
    classify: Work, explaining: list[Work], turns: int, clock: Callable[[], float] = time.perf_counter
) -> list[Overhead]:
    """Of each work that classifies and explains, too. `clock` tells seconds; works return when all is done."""

    def took(work: Work) -> float:
        began = clock()
        work()
        return (clock() - began) * 1e3

    times = [(took(classify), [took(work) for work in explaining]) for _ in range(turns)]
    return [
        Overhead(
            median(plain for plain, _ in times),
            median(both[i] - plain for plain, both in times),
            median(both[i] / plain for plain, both in times),
        )
        for i in range(len(explaining))
    ]
