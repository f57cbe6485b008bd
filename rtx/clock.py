"""The one clock: monotonic nanoseconds. Every age in rtx is a difference of two readings of it."""

from __future__ import annotations

import time

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def now() -> int:
    """Monotonic time in ns. Comparable between the processes of one host, not between hosts (see link.offset)."""
    return time.monotonic_ns()


def ms(ns: float) -> float:
    """Nanoseconds as milliseconds."""
    return ns / NS_PER_MS
