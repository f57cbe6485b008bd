"""A scene: who acts where, in which light, with what else going on; its frames, and the truth about their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import LABELS, Act, Times
from rtx.scenes.body import Body
from rtx.scenes.hall import HORIZON, Pixels, hall
from rtx.scenes.motion import Performance, Programme, one_act
from rtx.scenes.person import LARGE, Outline, Person, Stroke, View, foot
from rtx.scenes.things import Thing

Extra = Literal["none", "ball", "bag", "person"]
EXTRAS: tuple[Extra, ...] = ("none", "ball", "bag", "person")
"""What moves beside the figure and has nothing to do with what it does."""

SHAKE = 0.006
"""Of the camera, in picture heights."""
_NOISE_MEAN, _NOISE_ROOM = 16, 32

_HALLS, _BODIES = 256, 4096
_SPEEDS = (0.65, 1.55)
_SPEED_BANDS, _HELD_OUT_BANDS = 10, (2, 7)


@dataclass(frozen=True)
class Cast:
    """Everything that chance decides about a scene."""

    seed: int
    body: Body
    performance: Performance
    hall: int
    x: float
    """Of the figure's place, from the picture's middle, in picture heights."""
    size: float
    """Of its body, in picture heights."""
    light: float
    """Where light comes from: left -1 to right 1."""
    gain: float
    extra: Extra
    held_out: bool
    """Bodies, hall and place are none that a training scene has."""

    @property
    def centre(self) -> tuple[float, float]:
        """Of the figure in a square picture, x and y, in picture heights."""
        return 0.5 + self.x, foot(self.size) - self.size / 2

    @classmethod
    def draw(cls, seed: int, held_out: bool = False, action: str | None = None, extra: Extra | None = None) -> Cast:
        """One act. Bodies, halls, places and speeds of `held_out` scenes never occur in the others."""
        random = np.random.default_rng([0x5CE4E, int(held_out), seed])
        action = action or LABELS[random.integers(len(LABELS))]
        extra = extra or EXTRAS[random.integers(len(EXTRAS))]
        performance = one_act(action, random, _speed(random, held_out))
        return cls._placed(seed, random, performance, extra, held_out)

    @classmethod
    def live(cls, seed: int) -> Cast:
        """Every action in turn, for ever; body, hall and place are held out."""
        return cls._placed(seed, np.random.default_rng([0x11FE, seed]), Programme(seed), EXTRAS[1 + seed % 3], True)

    @classmethod
    def _placed(
        cls, seed: int, random: np.random.Generator, performance: Performance, extra: Extra, held_out: bool
    ) -> Cast:
        body = _body(random, held_out)
        number = _every_fourth(random, _HALLS, held_out)
        # The floor is a board of 8 x 4 squares (place x size); every fourth is held out.
        square = _every_fourth(random, 32, held_out)
        x = -0.15 + 0.30 * (square // 4 + random.random()) / 8
        size = 0.44 + 0.22 * ((square + square // 4) % 4 + random.random()) / 4
        light, gain = float(random.uniform(-1, 1)), float(random.uniform(0.86, 1.1))
        return cls(seed, body, performance, number, float(x), float(size), light, gain, extra, held_out)


def _body(random: np.random.Generator, held_out: bool) -> Body:
    return Body.draw(np.random.default_rng([0xB0D1, _every_fourth(random, _BODIES, held_out)]))


def _every_fourth(random: np.random.Generator, count: int, held_out: bool) -> int:
    """A number below `count`: every fourth is held out."""
    return 4 * int(random.integers(count // 4)) + (3 if held_out else int(random.integers(3)))


def _speed(random: np.random.Generator, held_out: bool) -> float:
    """A speed about 1, out of bands that are held out, or out of the others."""
    bands = [band for band in range(_SPEED_BANDS) if (band in _HELD_OUT_BANDS) == held_out]
    share = (bands[random.integers(len(bands))] + float(random.random())) / _SPEED_BANDS
    return float(_SPEEDS[0] * (_SPEEDS[1] / _SPEEDS[0]) ** share)


@dataclass(frozen=True)
class Moment:
    """What is to be drawn at one time."""

    strokes: list[Stroke]
    """Back to front."""
    shadow: list[Outline]
    """On the floor, in 1/16 cell of the shadow's grid."""
    shift: tuple[int, int]
    gain: float
    noise_at: tuple[int, int]
    act: Act
    """What the figure is doing."""
    since_s: float
    """Since this time."""


class Scene:
    """A cast before a camera of height x width.

    The same cast, size and times draw the same: bit for bit on one machine; on machines whose last digits differ, the
    outlines within 1/16 pixel, to which they are rounded. Rarely, where a sum lies between two whole numbers, a frame
    may there be shaken by another pixel, or take its noise from elsewhere.
    """

    def __init__(self, cast: Cast, height: int, width: int):
        self.cast, self.height, self.width = cast, height, width
        random = np.random.default_rng([0x7A1E, cast.seed])
        self._margin = max(2, round(1.5 * SHAKE * height))
        self._hall = hall(cast.hall, height, width, self._margin)
        self._noise = _noise(height, width, int(random.integers(2, 6)))
        self._phases = random.random(6)
        self._floor = round(HORIZON * height)
        self._cell = max(2, height // 180)
        self._grid = np.zeros((-(-(height - self._floor) // self._cell), -(-width // self._cell)), np.uint8)
        self._figure = Person(cast.body, cast.size, cast.x, height)
        self._thing = Thing.draw(cast.extra, random) if cast.extra in ("ball", "bag") else None
        self._bystander = self._bystanding = None
        if cast.extra == "person":
            body = _body(random, cast.held_out)
            aside = float(random.choice([-1, 1]) * random.uniform(0.22, 0.36))
            size, x = float(random.uniform(0.24, 0.32)), cast.x * 0.3 + aside
            self._bystander = Person(body, size, x, height, "distractor")
            does = ("stand", "walk")[random.integers(2)]
            self._bystanding = one_act(does, random, float(random.uniform(0.8, 1.2)))

    def moments(self, times: Times) -> list[Moment]:
        """What is to be drawn at times T (s)."""
        motion = self.cast.performance.at(times)
        view = View(self.height, self.width, self._shake(times), self.cast.light)
        figure, shadows = self._figure.strokes(motion, view)
        shadows = self._on_floor(shadows, self._figure.foot, view.shift)
        behind: list[list[Stroke]] = [[] for _ in times]
        before = behind
        shadows_of_thing: list[list[Outline]] = [[] for _ in times]
        if self._bystander is not None and self._bystanding is not None:
            behind, more = self._bystander.strokes(self._bystanding.at(times), view)
            shadows = np.concatenate([self._on_floor(more, self._bystander.foot, view.shift), shadows], axis=1)
        if self._thing is not None:
            thing = self._thing.strokes(times, view)
            behind, before = (behind, thing) if self._thing.stands_before else (thing, before)
            if self._thing.floor is not None:
                more = np.stack([of[0][0] for of in thing])[:, None]
                shadows_of_thing = [list(of) for of in self._on_floor(more, self._thing.floor, view.shift)]
        moments = []
        for i, t in enumerate(times):
            shift = (int(view.shift[i, 0]), int(view.shift[i, 1]))
            strokes, shadow = behind[i] + figure[i] + before[i], [*shadows[i], *shadows_of_thing[i]]
            gain = self.cast.gain * (1 + 0.05 * np.sin(2 * np.pi * (t / 6.3 + self._phases[4])))
            tick = round(float(t) * 1000)
            noise_at = (tick * 7919 % _NOISE_ROOM, tick * 104729 // 7 % _NOISE_ROOM)
            moments.append(
                Moment(strokes, shadow, shift, float(gain), noise_at, motion.acts[i], float(motion.since[i]))
            )
        return moments

    def paint(self, picture: Pixels, moment: Moment) -> None:
        """Draw a moment: uint8 H W 3, BGR."""
        x, y = self._margin - moment.shift[0], self._margin - moment.shift[1]
        np.copyto(picture, self._hall[y : y + self.height, x : x + self.width])
        self._paint_shadow(picture[self._floor :], moment.shadow)
        # Edges within a small figure need not be smooth.
        fill, within = cv2.fillConvexPoly, cv2.LINE_AA if self.height >= LARGE else cv2.LINE_8
        for outline, colour, number in moment.strokes:
            fill(picture, outline, colour, cv2.LINE_AA if number else within, 4)
        dy, dx = moment.noise_at
        noise = self._noise[dy : dy + self.height, dx : dx + self.width]
        cv2.addWeighted(picture, moment.gain, noise, 1, -_NOISE_MEAN, dst=picture)

    def _paint_shadow(self, floor: Pixels, shadow: list[Outline]) -> None:
        self._grid[:] = 255
        for outline in shadow:
            cv2.fillConvexPoly(self._grid, outline, 150, cv2.LINE_8, 4)
        soft = cv2.blur(self._grid, (5, 5))
        grown = cv2.resize(soft, (soft.shape[1] * self._cell, soft.shape[0] * self._cell))
        part = cv2.cvtColor(grown[: floor.shape[0], : floor.shape[1]], cv2.COLOR_GRAY2BGR)
        cv2.multiply(floor, part, dst=floor, scale=1 / 255)

    def _on_floor(self, outlines: NDArray[np.int32], foot: float, shift: NDArray[np.int64]) -> NDArray[np.int32]:
        """Outlines T C P 2 as their shadows lie on the floor behind what stands at `foot`, in the shadow's grid."""
        up = 16 * (foot * self.height + shift[:, 1, None, None]) - outlines[..., 1]
        drawn = np.empty(outlines.shape, np.float32)
        drawn[..., 0] = outlines[..., 0] - np.float32(0.5 * self.cast.light) * up
        drawn[..., 1] = outlines[..., 1] + np.float32(1 - 0.13) * up - 16 * self._floor
        drawn /= self._cell
        return drawn.astype(np.int32)

    def _shake(self, times: Times) -> NDArray[np.int64]:
        """A hand that holds the camera: T 2 whole pixels."""
        p = self._phases
        x = np.sin(2 * np.pi * (times / 2.7 + p[0])) + 0.5 * np.sin(2 * np.pi * (times / 0.9 + p[1]))
        y = np.sin(2 * np.pi * (times / 3.3 + p[2])) + 0.5 * np.sin(2 * np.pi * (times / 1.1 + p[3]))
        return np.round(np.stack([x, y], axis=1) * SHAKE * self.height / 1.5).astype(np.int64)


def label_picture(strokes: list[Stroke], out: NDArray[np.uint8]) -> None:
    """Whose each pixel is, into uint8 H W: 0 the hall, else `NUMBERS` of the part that lies in front."""
    out[:] = 0
    fill, sharp = cv2.fillConvexPoly, cv2.LINE_8
    for outline, _, number in strokes:
        if number:
            fill(out, outline, number, sharp, 4)


@lru_cache(maxsize=8)
def _noise(height: int, width: int, strength: int) -> Pixels:
    """Sensor noise about its mean, larger than the picture, so that each frame can take another part of it."""
    shape = (height + _NOISE_ROOM, width + _NOISE_ROOM, 3)
    drawn = np.random.default_rng([0x9015E, height, width, strength]).normal(_NOISE_MEAN, strength, shape)
    return drawn.clip(0, 255).astype(np.uint8)
