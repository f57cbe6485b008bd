"""What steps after an explainer are given and give back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Stepped(NamedTuple):
    """What a step made of a map."""

    relevance: Tensor
    """N T H W."""
    motion_share: Tensor | None = None
    """N: of all positive relevance, how much a step that selects has kept; NaN where there is none."""


class Memory:
    """What steps remember of one camera's last clips."""

    def __init__(self) -> None:
        self.times: tuple[int, ...] = ()
        """Capture times of the present clip's frames in ns."""
        self.deviations: deque[float] = deque()
        self.maps: deque[tuple[tuple[int, ...], Tensor]] = deque()
        """Times of clips' frames and their maps T H W."""
