"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 30.0, every_s: float = 0.02) -> T:
    """What `condition` gives as soon as it is true. AssertionError once the seconds are over."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}")
        time.sleep(every_s)
