"""The training hall: floor, walls, lines, equipment and light, drawn once for each place."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.scenes.body import Colour

Pixels = NDArray[np.uint8]

HORIZON = 0.60
"""Where floor and wall meet, as a share of the picture's height."""


KEPT = 256
"""Halls up to this height are kept once they are drawn, that many: a training draws each again and again."""


def hall(number: int, height: int, width: int, margin: int) -> Pixels:
    """Hall `number` without people, `margin` pixels larger on each side: uint8, H + 2 margin, W + 2 margin, 3, BGR."""
    return (_kept if height <= KEPT else _drawn)(number, height, width, margin)


def _drawn(number: int, height: int, width: int, margin: int) -> Pixels:
    random = np.random.default_rng([0x4A11, number])
    canvas = _Canvas(height, width, margin)
    wall, floor = _WALLS[random.integers(len(_WALLS))], _FLOORS[random.integers(len(_FLOORS))]
    _wall(canvas, random, wall)
    _floor(canvas, random, floor)
    for piece in random.permutation(len(_EQUIPMENT))[: random.integers(2, 5)]:
        _EQUIPMENT[piece](canvas, random)
    _light(canvas, random)
    canvas.picture.flags.writeable = False
    return canvas.picture


_kept = lru_cache(maxsize=KEPT)(_drawn)

_WALLS: tuple[Colour, ...] = (
    (208, 214, 220), (196, 206, 200), (216, 206, 196), (186, 196, 210), (170, 178, 184), (150, 158, 150),
    (204, 200, 180),
)  # fmt: skip
_FLOORS: tuple[Colour, ...] = (
    (104, 150, 196), (120, 160, 200), (86, 126, 170), (140, 118, 84), (104, 124, 92), (96, 92, 150), (128, 128, 132),
)  # fmt: skip


class _Canvas:
    """Draws in units of the picture's height, x from its middle, y from its top; to 1/16 pixel."""

    def __init__(self, height: int, width: int, margin: int):
        self.height, self.margin = height, margin
        self.picture: Pixels = np.empty((height + 2 * margin, width + 2 * margin, 3), np.uint8)
        self.middle = width / 2 + margin
        self.left, self.right = -self.middle / height, self.middle / height

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.middle + x * self.height, self.margin + y * self.height

    def area(self, corners: list[tuple[float, float]], colour: Colour) -> None:
        points = np.round(np.array([self.at(*corner) for corner in corners]) * 16).astype(np.int32)
        cv2.fillConvexPoly(self.picture, points, colour, cv2.LINE_AA, 4)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        self.area([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, wide: float, colour: Colour) -> None:
        dx, dy = x1 - x0, y1 - y0
        length = max(1e-6, float(np.hypot(dx, dy)))
        nx, ny = -dy / length * wide / 2, dx / length * wide / 2
        self.area([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)], colour)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        self.area(list(zip(x + rx * np.cos(turn), y + ry * np.sin(turn), strict=True)), colour)


def _shade(colour: Colour, factor: float) -> Colour:
    b, g, r = (int(min(255.0, channel * factor)) for channel in colour)
    return b, g, r


def _wall(canvas: _Canvas, random: np.random.Generator, colour: Colour) -> None:
    top = -canvas.margin / canvas.height
    canvas.box(canvas.left, top, canvas.right, HORIZON, colour)
    if random.random() < 0.75:  # Windows high up, with the sky behind.
        low, high = 0.07, random.uniform(0.20, 0.27)
        wide, gap = random.uniform(0.22, 0.38), random.uniform(0.05, 0.16)
        x = canvas.left + random.uniform(-wide, 0)
        sky = _shade((246, 236, 222), random.uniform(0.86, 1.03))
        while x < canvas.right:
            canvas.box(x - 0.008, low - 0.008, x + wide + 0.008, high + 0.014, _shade(colour, 0.74))
            canvas.box(x, low, x + wide, high, sky)
            canvas.box(x, low, x + wide, low + (high - low) * 0.35, _shade(sky, 1.06))
            for bar in (1 / 3, 2 / 3):
                canvas.box(x + wide * bar - 0.003, low, x + wide * bar + 0.003, high, _shade(colour, 0.8))
            x += wide + gap
    band = _shade(colour, random.uniform(0.72, 0.9))
    stripe = _ACCENTS[random.integers(len(_ACCENTS))]
    edge = random.uniform(0.36, 0.44)
    canvas.box(canvas.left, edge, canvas.right, HORIZON, band)
    canvas.box(canvas.left, edge, canvas.right, edge + 0.012, _shade(stripe, 0.95))
    step = random.uniform(0.2, 0.5)
    for x in np.arange(canvas.left - random.uniform(0, step), canvas.right, step):
        canvas.line(float(x), edge + 0.012, float(x), HORIZON, 0.003, _shade(band, 0.88))
    canvas.box(canvas.left, HORIZON - 0.014, canvas.right, HORIZON, _shade(colour, 0.55))


_ACCENTS: tuple[Colour, ...] = (
    (176, 90, 40),
    (60, 70, 190),
    (70, 150, 90),
    (40, 150, 220),
    (120, 70, 120),
    (90, 90, 90),
)


def _floor(canvas: _Canvas, random: np.random.Generator, colour: Colour) -> None:
    bottom = 1 + canvas.margin / canvas.height
    bands = 24
    for i in range(bands):  # Lighter towards the wall, where the windows are.
        y0, y1 = (HORIZON + (bottom - HORIZON) * j / bands for j in (i, i + 1))
        canvas.box(canvas.left, y0, canvas.right, y1 + 0.002, _shade(colour, 1.08 - 0.24 * i / bands))
    if random.random() < 0.7:  # Planks run towards a point far behind the wall.
        spread = random.uniform(0.05, 0.09)
        for i in range(-40, 41):
            canvas.line(i * spread * 0.45, HORIZON, i * spread * 1.9, bottom, 0.0022, _shade(colour, 0.86))
    else:
        for i in range(-9, 10):
            canvas.line(i * 0.22, HORIZON, i * 0.55, bottom, 0.003, _shade(colour, 0.8))
        for y in (0.64, 0.70, 0.79, 0.92):
            canvas.line(canvas.left, y, canvas.right, y, 0.003, _shade(colour, 0.8))
    paint = [(236, 240, 240), *_ACCENTS][random.integers(3)]
    y = random.uniform(0.66, 0.74)
    canvas.line(canvas.left, y, canvas.right, y + random.uniform(-0.01, 0.01), 0.008, paint)
    slope = random.uniform(-0.9, 0.9)
    x = random.uniform(-0.7, 0.7)
    canvas.line(x, HORIZON, x + slope, bottom, 0.012, paint)


def _wall_bars(canvas: _Canvas, random: np.random.Generator) -> None:
    x, wood = _beside(random), (98, 148, 196)
    for i in range(int(random.integers(1, 4))):
        left = x + i * 0.19
        for y in np.linspace(0.17, HORIZON - 0.03, 13):
            canvas.line(left, float(y), left + 0.18, float(y), 0.010, _shade(wood, 0.82))
            canvas.line(left, float(y) - 0.003, left + 0.18, float(y) - 0.003, 0.004, _shade(wood, 1.12))
        for post in (left, left + 0.18):
            canvas.box(post - 0.008, 0.14, post + 0.008, HORIZON, wood)


def _bench(canvas: _Canvas, random: np.random.Generator) -> None:
    x, wide, wood = _beside(random), random.uniform(0.3, 0.5), (90, 140, 190)
    canvas.disc(x + wide / 2, HORIZON + 0.034, wide * 0.56, 0.012, (60, 64, 70))
    for leg in (x + 0.03, x + wide - 0.04):
        canvas.box(leg, HORIZON - 0.03, leg + 0.014, HORIZON + 0.034, _shade(wood, 0.6))
    canvas.box(x, HORIZON - 0.048, x + wide, HORIZON - 0.026, wood)
    canvas.box(x, HORIZON - 0.048, x + wide, HORIZON - 0.042, _shade(wood, 1.2))


def _mats(canvas: _Canvas, random: np.random.Generator) -> None:
    x, wide = _beside(random), random.uniform(0.24, 0.36)
    colour = _ACCENTS[random.integers(len(_ACCENTS))]
    for i in range(int(random.integers(2, 6))):
        y = HORIZON + 0.04 - i * 0.036
        canvas.box(x, y - 0.034, x + wide, y, _shade(colour, 0.85 + 0.08 * (i % 2)))
        canvas.box(x, y - 0.034, x + wide, y - 0.029, _shade(colour, 1.25))


def _box(canvas: _Canvas, random: np.random.Generator) -> None:
    x, side = _beside(random), random.uniform(0.11, 0.17)
    wood = (110, 156, 198)
    top, low = HORIZON + 0.05 - side, HORIZON + 0.05
    canvas.area(
        [(x, top), (x + side, top), (x + side * 1.2, top - 0.03), (x + side * 0.2, top - 0.03)], _shade(wood, 1.14)
    )
    canvas.area(
        [(x + side, top), (x + side * 1.2, top - 0.03), (x + side * 1.2, low - 0.03), (x + side, low)],
        _shade(wood, 0.66),
    )
    canvas.box(x, top, x + side, low, _shade(wood, 0.92))
    canvas.disc(x + side / 2, top + side * 0.4, side * 0.16, side * 0.06, _shade(wood, 0.45))


def _rack(canvas: _Canvas, random: np.random.Generator) -> None:
    x = _beside(random)
    for shelf in range(2):
        y = HORIZON + 0.01 - shelf * 0.085
        canvas.box(x, y, x + 0.34, y + 0.012, (64, 62, 60))
        for i in range(5):
            ball = _ACCENTS[random.integers(len(_ACCENTS))]
            canvas.disc(x + 0.036 + i * 0.066, y - 0.028, 0.028, 0.028, _shade(ball, 0.85))
            canvas.disc(x + 0.030 + i * 0.066, y - 0.035, 0.014, 0.013, _shade(ball, 1.35))
    for post in (x, x + 0.34):
        canvas.box(post - 0.007, HORIZON - 0.13, post + 0.007, HORIZON + 0.04, (54, 52, 50))


def _mirror(canvas: _Canvas, random: np.random.Generator) -> None:
    x, wide = _beside(random), random.uniform(0.3, 0.6)
    glass = (206, 204, 196)
    canvas.box(x - 0.008, 0.292, x + wide + 0.008, HORIZON - 0.012, (120, 120, 120))
    canvas.box(x, 0.30, x + wide, HORIZON - 0.02, glass)
    canvas.area(
        [
            (x + wide * 0.15, 0.30),
            (x + wide * 0.4, 0.30),
            (x + wide * 0.2, HORIZON - 0.02),
            (x, HORIZON - 0.02),
            (x, 0.45),
        ],
        _shade(glass, 1.09),
    )


def _banner(canvas: _Canvas, random: np.random.Generator) -> None:
    x, colour = random.uniform(-0.8, 0.6), _ACCENTS[random.integers(len(_ACCENTS))]
    canvas.box(x, 0.285, x + 0.26, 0.35, _shade(colour, 1.1))
    canvas.box(x + 0.02, 0.307, x + 0.24, 0.314, (235, 235, 235))
    canvas.box(x + 0.02, 0.324, x + 0.18, 0.331, (235, 235, 235))


def _beside(random: np.random.Generator) -> float:
    """A place along the wall, seldom in the middle."""
    return float(random.choice([-1, 1]) * random.uniform(0.12, 0.85) - 0.12)


_EQUIPMENT = (_wall_bars, _bench, _mats, _box, _rack, _mirror, _banner)


def _light(canvas: _Canvas, random: np.random.Generator) -> None:
    """Lamps above, darker corners, in place."""
    height, width = canvas.picture.shape[:2]
    # On a coarse grid, enlarged: light has no edges.
    ys, xs = np.mgrid[0:1:18j, -1:1:32j]
    x = random.uniform(-0.5, 0.5)
    lamp = np.exp(-((xs - x) ** 2 / 0.5 + (ys + 0.05) ** 2 / 0.55))
    pool = np.exp(-((xs - x * 0.4) ** 2 / 0.35 + (ys - 0.86) ** 2 / 0.05))
    corner = 1 - 0.20 * xs**2 - 0.12 * ys
    light = ((0.78 + 0.22 * lamp + 0.10 * pool) * corner * random.uniform(0.86, 1.08)).astype(np.float32)
    grown = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    warm = random.uniform(-0.05, 0.05)
    tint = np.array([1 - warm, 1, 1 + warm], np.float32)
    canvas.picture[:] = np.clip(canvas.picture * (grown[..., None] * tint), 0, 255).astype(np.uint8)
