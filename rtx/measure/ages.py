"""Latency histograms of fixed size: percentiles to 1 %, however long the run."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec

_RATIO = math.log(1.02)
_LEAST_MS = 0.01
_BINS = 1024


class Summary(msgspec.Struct, frozen=True):
    """Milliseconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    n: int


class Ages:
    """Counts of ages in bins 2 % apart, from 0.01 ms to hours."""

    def __init__(self, counts: dict[int, int] | None = None, highest: float = 0.0):
        self.counts: Counter[int] = Counter(counts or {})
        self.highest = highest

    def add(self, age_ms: float) -> None:
        self.counts[_bin(age_ms)] += 1
        self.highest = max(self.highest, age_ms)

    def merge(self, other: Ages) -> None:
        self.counts.update(other.counts)
        self.highest = max(self.highest, other.highest)

    def since(self, before: Ages) -> Ages:
        """What was added after that. The highest one is known to 2 % only."""
        found = Ages(dict(self.counts - before.counts))
        found.highest = min(self.highest, _least(max(found.counts) + 1)) if found.counts else 0.0
        return found

    def bins(self) -> list[tuple[float, int]]:
        """Lower ends in ms and counts, lowest first."""
        return [(round(_least(number), 3), self.counts[number]) for number in sorted(self.counts)]

    def percentile(self, share: float) -> float | None:
        """The age that `share` (0..1) of all do not exceed, to 1 %."""
        wanted, seen = share * self.counts.total(), 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= wanted:
                return min(self.highest, _LEAST_MS * math.exp((number + 0.5) * _RATIO))
        return None

    def summary(self) -> Summary:
        n = self.counts.total()
        if n == 0:
            return Summary(None, None, None, None, 0)
        p50, p95, p99 = (round(self.percentile(share) or 0.0, 2) for share in (0.5, 0.95, 0.99))
        return Summary(p50, p95, p99, round(self.highest, 2), n)

    def plain(self) -> dict[str, Any]:
        """As a message's content; `Ages(**plain)` is the way back."""
        return {"counts": dict(self.counts), "highest": self.highest}


def _least(number: int) -> float:
    """Lower end of a bin."""
    return _LEAST_MS * math.exp(number * _RATIO)


def _bin(age_ms: float) -> int:
    return min(_BINS - 1, max(0, int(math.log(max(age_ms, _LEAST_MS) / _LEAST_MS) / _RATIO)))
