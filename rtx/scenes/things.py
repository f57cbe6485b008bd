"""Things that move in the hall and have nothing to do with the action: a ball, a punching bag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import Times
from rtx.scenes.body import Colour
from rtx.scenes.person import NUMBERS, Stroke, View, toned

Places = NDArray[np.float64]

_THING = NUMBERS["distractor"]
_TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_ROUND = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
_COLOURS: tuple[Colour, ...] = (
    (40, 120, 235),
    (60, 60, 200),
    (200, 120, 50),
    (90, 170, 90),
    (70, 70, 76),
    (200, 200, 205),
)


@dataclass(frozen=True)
class Thing:
    """A bouncing ball or a swinging bag, in picture heights."""

    kind: Literal["ball", "bag"]
    x: float
    size: float
    period_s: float
    phase: float
    colour: Colour

    @classmethod
    def draw(cls, kind: Literal["ball", "bag"], random: np.random.Generator) -> Thing:
        x = float(random.choice([-1, 1]) * random.uniform(0.2, 0.38))
        size = float(random.uniform(0.026, 0.042) if kind == "ball" else random.uniform(0.042, 0.058))
        period = float(random.uniform(0.55, 0.95) if kind == "ball" else random.uniform(1.3, 2.0))
        return cls(kind, x, size, period, float(random.random()), _COLOURS[random.integers(len(_COLOURS))])

    @property
    def stands_before(self) -> bool:
        """In front of the figure."""
        return self.kind == "ball"

    @property
    def floor(self) -> float | None:
        """Where its shadow lies, in picture heights; None for what hangs too high."""
        return 0.86 if self.kind == "ball" else None

    def strokes(self, times: Times, view: View) -> list[list[Stroke]]:
        """The thing at times T (s)."""
        at = times / self.period_s + self.phase
        outlines, tones, numbers = self._ball(at) if self.kind == "ball" else self._bag(at)
        colours = [toned(self.colour, tone) for tone in tones]
        drawn = []
        for outline in outlines:  # T P 2, in picture heights
            pixels = outline * view.height + np.array([view.width / 2, 0]) + view.shift[:, None]
            drawn.append(list(np.round(pixels * 16).astype(np.int32)))
        return [list(zip(of, colours, numbers, strict=True)) for of in zip(*drawn, strict=True)]

    def _ball(self, at: Times) -> tuple[list[Places], tuple[float, ...], tuple[int, ...]]:
        """Outlines, their tones, and whose shape each is."""
        hop = at % 1.0
        x = self.x + 0.06 * np.sin(2 * np.pi * at / 7)
        y = 0.86 - self.size - 0.26 * 4 * hop * (1 - hop)
        centre = np.stack([x, y], axis=1)[:, None]
        lit, shine = np.array([-0.15, -0.16]) * self.size, np.array([-0.32, -0.36]) * self.size
        return [centre + self.size * _ROUND, centre + lit + 0.8 * self.size * _ROUND,
                centre + shine + 0.32 * self.size * _ROUND], (0.62, 1.0, 1.3), (_THING, 0, 0)  # fmt: skip

    def _bag(self, at: Times) -> tuple[list[Places], tuple[float, ...], tuple[int, ...]]:
        swing = 0.22 * np.sin(2 * np.pi * at)
        down = np.stack([np.sin(swing), np.cos(swing)], axis=1)[:, None]
        out = np.stack([np.cos(swing), -np.sin(swing)], axis=1)[:, None]
        hook, r = np.array([self.x, -0.04]), self.size
        along, across = _SACK[:, :1], _SACK[:, 1:]
        dark = hook + (0.32 + along * r) * down + across * r * out
        lit = hook + (0.33 + along * r * 0.96) * down + (across * 0.7 - 0.15) * r * out
        rope = hook + np.array([[0], [0], [0.32], [0.32]]) * down + np.array([[-1], [1], [1], [-1]]) * 0.003 * out
        return [rope, dark, lit], (0.4, 0.62, 1.0), (_THING, _THING, 0)


_SACK = np.array([
    (0, -0.6), (0, 0.6), (0.25, 0.9), (0.6, 1), (5.4, 1), (5.8, 0.8), (6, 0.4), (6, -0.4), (5.8, -0.8), (5.4, -1),
    (0.6, -1), (0.25, -0.9),
])  # fmt: skip
"""Its outline along and across, in half widths."""
