"""What every source of frames can do, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rtx.link.wire import Truth

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""A picture: uint8, H W 3, BGR, 0..255."""

Canvas = Callable[[int, int], NDArray[np.uint8]]
"""`canvas(height, width)` is the array to draw the next frame into: uint8 H W 3 BGR, often shared memory."""


class SourceLost(Exception):
    """The source gives no frames now; opening it again later may help. The text holds no password."""


class Stamp(NamedTuple):
    """When a frame was taken."""

    t_capture: int
    """Monotonic ns."""
    jump: bool = False
    """The source's own time leapt: what came before does not continue here."""
    truth: Truth | None = None
    """What is to be seen, where the frame was drawn."""


class Source(Protocol):
    """A camera, stream, file or pattern. Used by one thread; `close` may be called twice."""

    live: bool
    """True where the world goes on without us, so that a frame not taken is gone."""

    def open(self) -> None:
        """Begin (or begin again). Raises SourceLost, or UserError where trying again cannot help."""

    def read(self, canvas: Canvas) -> Stamp | None:
        """Wait for the next frame and draw it. None at the end. Raises SourceLost."""

    def close(self) -> None:
        """Let go of the device, stream or file."""
