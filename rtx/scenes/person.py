"""A person before the camera: joints in space become strokes on the screen, nearest last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
LARGE = 200
"""Pictures of so many pixels in height show more of the light."""


class Stroke(NamedTuple):
    """One convex area of one colour."""

    outline: Outline
    colour: Colour
    number: int
    """Of the part whose shape this is; 0 for light upon the stroke before."""


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


_TONES = (0.66, 0.95, 1.14)
_LARGE = np.array([c.radius > 0.0265 and c.dress != "hair" for c in CAPSULES])
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
        self._styles: list[list[tuple[int, Colour, int]]] = []
        """For each capsule its layers' numbers and colours, and the part's number."""
        for capsule, large in zip(CAPSULES, _LARGE, strict=True):
            tones = _TONES if height >= LARGE else _TONES[:2] if large else _TONES[1:2]
            number = NUMBERS[part or capsule.part]
            dress = body.colours[capsule.dress]
            self._styles.append([(i, toned(dress, tone), 0 if i else number) for i, tone in enumerate(tones)])

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
        drawn = outlines(self.body, screen, scale, np.abs(np.sin(motion.yaw)), view.layers)
        order = np.argsort(nearness(near), axis=1, kind="stable")
        flat = list(drawn.reshape(-1, *drawn.shape[3:]))
        capsules, layers = drawn.shape[1:3]
        found = []
        for i, act in enumerate(motion.acts):
            row = order[i] if ACTIONS[act.action].holds_bat else order[i][_NO_BAT[order[i]]]
            at = [(c, (i * capsules + c) * layers) for c in row.tolist()]
            found.append([
                Stroke(flat[first + layer], colour, number)
                for c, first in at for layer, colour, number in self._styles[c]
            ])  # fmt: skip
        return found, drawn[:, _LARGE & _NO_BAT, 0]


def toned(colour: Colour, tone: float) -> Colour:
    """A colour, lighter or darker."""
    b, g, r = (int(min(255, channel * tone)) for channel in colour)
    return b, g, r
