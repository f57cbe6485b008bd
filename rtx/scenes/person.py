"""A person before the camera: joints in space become strokes on the screen, nearest last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import ACTIONS
from rtx.scenes.body import CAPSULES, PARTS, Body, Colour, joints, nearness, outlines
from rtx.scenes.motion import Motion

Outline = NDArray[np.int32]
"""P 2: x, y in 1/16 pixel; convex."""

NUMBERS = {part: i + 1 for i, part in enumerate((*PARTS, "distractor"))}
"""Of the parts in a label picture; the hall is 0."""
PART_NAMES = {number: part for part, number in NUMBERS.items()}

TILT = 0.17
"""Of the camera: how far down the screen a point lies that is one body height nearer."""
Stroke = tuple[Outline, Colour, int]
"""One convex area of one colour, and the number of the part whose shape this is; 0: light upon the stroke before."""

LARGE = 200
"""Pictures of so many pixels in height show more of the light."""


@dataclass(frozen=True)
class View:
    """The camera at times T."""

    height: int
    width: int
    shift: NDArray[np.int64]
    """By which its shaking moves the picture: T 2 (x, y), whole pixels."""
    light: float
    """Where light comes from: left -1 to right 1."""

    @property
    def layers(self) -> tuple[tuple[float, float, float], ...]:
        """Dark side, lit side, and on large pictures a shine: radius, and where it lies (in radii)."""
        lit = ((1.0, 0.0, 0.0), (0.80, 0.15 * self.light, -0.10), (0.40, 0.36 * self.light, -0.22))
        return lit if self.height >= LARGE else lit[:2]

    @property
    def corners(self) -> int:
        """Of each end of a limb."""
        return 6 if self.height >= LARGE else 4


_TONES = (0.66, 0.95, 1.14)
_LARGE = np.array([c.radius > 0.028 and c.dress != "hair" for c in CAPSULES])
"""Large enough for light and shade on a small picture, and for a shadow."""
_NO_BAT = np.array([c.part != "bat" for c in CAPSULES])


def foot(size: float) -> float:
    """How far down the screen a person stands, in picture heights: who is larger is nearer."""
    return 0.605 + 0.44 * size


class Person:
    """A body at its place on the floor."""

    def __init__(self, body: Body, size: float, x: float, height: int, part: str | None = None):
        """`size` of the body and `x` of its place from the middle, in picture heights; `part`, if all of it is one."""
        self.body, self.size, self.x = body, size, x
        self.foot = foot(size)
        self._styles: list[tuple[list[Colour], tuple[int, ...]]] = []
        """For each capsule its layers' colours, and whose shape each is."""
        colours = {dress: [toned(colour, tone) for tone in _TONES] for dress, colour in body.colours.items()}
        for capsule, large in zip(CAPSULES, _LARGE, strict=True):
            drawn = slice(3) if height >= LARGE else slice(2) if large else slice(1, 2)
            self._styles.append((colours[capsule.dress][drawn], (NUMBERS[part or capsule.part], 0, 0)))

    def strokes(self, motion: Motion, view: View) -> tuple[list[list[Stroke]], NDArray[np.int32]]:
        """For each time its strokes, back to front; and the outlines T C P 2 that cast a shadow."""
        points = joints(self.body, motion.angles)
        cos, sin = np.cos(motion.yaw)[:, None], np.sin(motion.yaw)[:, None]
        across = points[:, :, 0] * cos + points[:, :, 2] * sin
        near = points[:, :, 2] * cos - points[:, :, 0] * sin
        scale = self.size * view.height
        screen = np.empty((*across.shape, 2), np.float32)
        screen[..., 0] = (across + motion.x[:, None]) * scale + self.x * view.height + view.width / 2
        screen[..., 1] = (near * TILT - points[:, :, 1]) * scale + self.foot * view.height
        screen += view.shift[:, None]
        drawn = outlines(self.body, screen, scale, np.abs(np.sin(motion.yaw)), view.layers, view.corners)
        order = np.argsort(nearness(near), axis=1, kind="stable")
        capsules, layers = drawn.shape[1:3]
        flat = list(drawn.reshape(-1, *drawn.shape[3:]))
        found = []
        for i, (act, row) in enumerate(zip(motion.acts, order, strict=True)):
            strokes: list[Stroke] = []
            for c in (row if ACTIONS[act.action].holds_bat else row[_NO_BAT[row]]).tolist():
                first = (i * capsules + c) * layers
                strokes += zip(flat[first : first + layers], *self._styles[c], strict=False)
            found.append(strokes)
        return found, drawn[:, _LARGE & _NO_BAT, 0]


def toned(colour: Colour, tone: float) -> Colour:
    """A colour, lighter or darker."""
    b, g, r = (int(min(255, channel * tone)) for channel in colour)
    return b, g, r
