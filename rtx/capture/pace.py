"""Keeping a source's own pace against the monotonic clock."""

from __future__ import annotations

import threading

from rtx.clock import NS_PER_S, now


def wait_until(due: int, stop: threading.Event) -> bool:
    """Wait for the monotonic time `due` (ns). False where `stop` was set instead."""
    return not stop.wait(max(0, due - now()) / NS_PER_S)
