"""A person's body: from joint angles to joints in space, and to the outlines of its parts on the screen."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import INDEX, Floats, other_side

Colour = tuple[int, int, int]
"""Blue, green, red."""

PARTS = (
    "head", "trunk", "left_upper_arm", "left_lower_arm", "right_upper_arm", "right_lower_arm",
    "left_upper_leg", "left_lower_leg", "right_upper_leg", "right_lower_leg", "bat",
)  # fmt: skip
"""The parts of a person that have a mask of their own; what it holds counts as a part."""

_POINTS = (
    "pelvis", "chest", "neck", "face", "hair",
    *(f"{side}_{joint}" for side in ("left", "right") for joint in (
        "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe",
    )),
    "grip", "tip",
)  # fmt: skip
_AT = {name: i for i, name in enumerate(_POINTS)}
_BOTH = {name: [_AT[f"left_{name}"], _AT[f"right_{name}"]] for name in (
    "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe",
)}  # fmt: skip
_INDICES = {name.removeprefix("left_"): [INDEX[name], INDEX[other_side(name)]] for name in INDEX if "left_" in name}
_LEFT_RIGHT = np.array([1, -1], np.float32)


class Capsule(NamedTuple):
    """Two circles and what lies between them: a limb on the screen."""

    part: str
    start: str
    end: str
    radius: float
    """At its start, as a share of the body's height."""
    end_radius: float
    flat: float
    """How round its ends are: 1 half circles, 0 cut straight."""
    dress: str
    """What it wears."""


def _limbs(side: str) -> tuple[Capsule, ...]:
    return (
        Capsule(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", 0.036, 0.028, 1, "sleeve"),
        Capsule(f"{side}_lower_arm", f"{side}_elbow", f"{side}_wrist", 0.027, 0.019, 1, "skin"),
        Capsule(f"{side}_lower_arm", f"{side}_wrist", f"{side}_hand", 0.022, 0.021, 1, "skin"),
        Capsule(f"{side}_upper_leg", f"{side}_hip", f"{side}_knee", 0.058, 0.040, 1, "trousers"),
        Capsule(f"{side}_lower_leg", f"{side}_knee", f"{side}_ankle", 0.040, 0.026, 1, "hose"),
        Capsule(f"{side}_lower_leg", f"{side}_ankle", f"{side}_toe", 0.030, 0.024, 1, "shoes"),
    )


CAPSULES = (
    Capsule("trunk", "chest", "neck", 0.036, 0.030, 1, "skin"),
    Capsule("trunk", "chest", "pelvis", 0.112, 0.086, 0.45, "shirt"),
    Capsule("head", "hair", "hair", 0.064, 0.064, 1.12, "hair"),
    Capsule("head", "face", "face", 0.052, 0.052, 1.2, "skin"),
    *_limbs("left"),
    *_limbs("right"),
    Capsule("bat", "grip", "tip", 0.011, 0.024, 1, "wood"),
)
_START = np.array([_AT[c.start] for c in CAPSULES])
_END = np.array([_AT[c.end] for c in CAPSULES])
_RADII = np.array([(c.radius, c.end_radius) for c in CAPSULES], np.float32)
_FLAT = np.array([c.flat for c in CAPSULES], np.float32)
_TRUNK = [i for i, c in enumerate(CAPSULES) if c.dress == "shirt"]
# Nearer to the camera by so much than its middle says, so that hair lies behind a face and a hand before its wrist.
_FORWARD = np.array([{"hair": -0.01, "shirt": 0.0}.get(c.dress, 0.012) for c in CAPSULES], np.float32)


@cache
def _arcs(corners: int) -> NDArray[np.complex64]:
    """The half circle at each capsule's end, for one that points along x: C A, in radii."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, corners)
    return (_FLAT[:, None] * np.cos(angles) + 1j * np.sin(angles)).astype(np.complex64)


@dataclass(frozen=True)
class Body:
    """Proportions and clothes of one person."""

    build: Floats
    """Factors, about 1: girth, legs, arms, shoulders, head."""
    colours: dict[str, Colour]

    @classmethod
    def draw(cls, random: np.random.Generator) -> Body:
        """A random person."""
        build = random.normal(1, (0.13, 0.03, 0.035, 0.08, 0.05)).clip(0.78, 1.28).astype(np.float32)
        skin = _SKIN[random.integers(len(_SKIN))]
        shirt, trousers = _cloth(random), _cloth(random, dark=bool(random.random() < 0.6))
        long_sleeves, shorts = random.random() < 0.4, random.random() < 0.4
        colours = {
            "skin": skin, "hair": _HAIR[random.integers(len(_HAIR))], "shirt": shirt, "trousers": trousers,
            "sleeve": shirt if long_sleeves or random.random() < 0.8 else skin, "hose": skin if shorts else trousers,
            "shoes": _SHOES[random.integers(len(_SHOES))], "wood": (92, 152, 205),
        }  # fmt: skip
        return cls(build, colours)


_SKIN: tuple[Colour, ...] = (
    (168, 196, 236),
    (140, 172, 222),
    (112, 148, 202),
    (84, 118, 172),
    (58, 84, 128),
    (44, 62, 98),
)
_HAIR: tuple[Colour, ...] = ((28, 26, 30), (36, 48, 72), (52, 84, 124), (110, 160, 200), (120, 120, 124), (34, 40, 96))
_SHOES: tuple[Colour, ...] = ((235, 235, 235), (40, 40, 44), (50, 60, 190), (170, 110, 40), (90, 190, 120))


def _cloth(random: np.random.Generator, dark: bool = False) -> Colour:
    """A colour of cloth: any hue, seldom glaring."""
    hue, saturation = random.random(), random.uniform(0.05, 0.8)
    value = random.uniform(35, 110) if dark else random.uniform(90, 240)
    r, g, b = hsv_to_rgb(hue, saturation, value)
    return int(b), int(g), int(r)


def joints(body: Body, angles: Floats) -> Floats:
    """Joints in space for joint angles T J (degrees): T P 3.

    In body heights; x to the figure's left, y up from the floor, z forward. The lower foot stands at y = rise.
    """
    a = np.deg2rad(angles)
    girth, legs, arms, shoulders, head = body.build
    p = np.zeros((len(angles), len(_POINTS), 3), np.float32)

    def angle(name: str) -> Floats:
        return a[:, INDEX[name]]

    def put(name: str, start: str, direction: Floats, length: float) -> None:
        p[:, _AT[name]] = p[:, _AT[start]] + direction * np.float32(length)

    lean, tilt, twist, neck = angle("lean"), angle("tilt"), angle("twist"), angle("neck")
    up = _direction(tilt, np.pi - lean)  # From straight down, turned upright.
    put("chest", "pelvis", up, 0.27)
    put("neck", "chest", up, 0.075)
    nod = _direction(tilt, np.pi - lean - neck)
    put("face", "neck", nod, 0.052 * head)
    put("hair", "neck", nod, 0.062 * head)
    forward = np.stack([np.sin(twist), np.zeros_like(twist), np.cos(twist)], axis=1)
    p[:, _AT["face"]] += 0.014 * head * forward
    p[:, _AT["hair"]] -= 0.010 * head * forward

    # Both sides at once: T S.
    def angles_of(name: str) -> Floats:
        return a[:, _INDICES[name]]

    def put_both(name: str, start: Floats, direction: Floats, length: float) -> Floats:
        p[:, _BOTH[name]] = end = start + direction * np.float32(length)
        return end

    turned = twist[:, None]
    across = _LEFT_RIGHT[:, None] * np.stack([np.cos(twist), np.zeros_like(twist), -np.sin(twist)], axis=1)[:, None]
    shoulder = put_both("shoulder", p[:, None, _AT["chest"]] + 0.012 * up[:, None], across, 0.112 * shoulders)
    lift, swing = angles_of("shoulder_side"), angles_of("shoulder_front")
    elbow = put_both("elbow", shoulder, _turned(_direction(_LEFT_RIGHT * lift, swing), turned), 0.165 * arms)
    lift, swing = lift + angles_of("elbow_side"), swing + angles_of("elbow_front")
    lower = _turned(_direction(_LEFT_RIGHT * lift, swing), turned)
    wrist = put_both("wrist", elbow, lower, 0.145 * arms)
    hand = put_both("hand", wrist, lower, 0.035 * arms)
    sideways = _LEFT_RIGHT[:, None] * np.array([1, 0, 0], np.float32)
    hip = put_both("hip", p[:, None, _AT["pelvis"]], sideways, 0.052 * girth)
    out, step = _LEFT_RIGHT * angles_of("hip_side"), angles_of("hip_front")
    shin = step - angles_of("knee")
    knee = put_both("knee", hip, _direction(out, step), 0.245 * legs)
    ankle = put_both("ankle", knee, _direction(out * 0.8, shin), 0.235 * legs)
    # The sole stays level while the foot stands and follows the shin when it is lifted far behind or ahead.
    toe = put_both("toe", ankle, _direction(out * 0, shin * 0.6 + np.pi / 2 - 0.25), 0.062)
    p[:, _AT["grip"]] = hand.mean(axis=1)
    put("tip", "grip", _turned(_direction(0 * twist, np.pi / 2 + angle("bat")), twist), 0.40)
    lowest = np.minimum(ankle[..., 1], toe[..., 1]).min(axis=1)
    p[:, :, 1] += (angles[:, INDEX["rise"]] + 0.028 - lowest)[:, None]
    return p


def _direction(side: Floats, front: Floats) -> Floats:
    """Unit vectors ... 3 of limbs that hang down at 0, lifted by `side` along x and by `front` along z."""
    cos = np.cos(side)
    vectors = np.empty((*side.shape, 3), np.float32)
    vectors[..., 0], vectors[..., 1], vectors[..., 2] = np.sin(side), -cos * np.cos(front), cos * np.sin(front)
    return vectors


def _turned(vectors: Floats, angle: Floats) -> Floats:
    """Vectors ... 3 turned about the upright axis, z towards x."""
    sin, cos = np.sin(angle), np.cos(angle)
    x, z = vectors[..., 0], vectors[..., 2]
    turned = vectors.copy()
    turned[..., 0], turned[..., 2] = cos * x + sin * z, cos * z - sin * x
    return turned


def outlines(
    body: Body,
    points: Floats,
    scale: float,
    side_on: Floats,
    layers: tuple[tuple[float, float, float], ...],
    corners: int,
) -> NDArray[np.int32]:
    """Outlines of the capsules for joints on the screen: T C L P 2, in 1/16 pixel.

    `points`: T P 2 in pixels; `scale`: pixels in a body height; `side_on`: T, 0 where the figure faces the camera, 1
    where it shows its side (a trunk is not as deep as it is broad). Each layer is the capsule with its radius times a
    factor, moved by (x, y) radii: the lit side of a limb. Each of its two ends has so many `corners`.
    """
    # Points of the screen as complex numbers, x + iy: turning is multiplying.
    at = np.ascontiguousarray(points, np.float32).view(np.complex64)[..., 0]
    start, end = at[:, _START], at[:, _END]  # T C
    radii = np.broadcast_to(_RADII * np.float32(scale * (0.4 + 0.6 * body.build[0])), (len(at), *_RADII.shape)).copy()
    radii[:, _TRUNK] *= (1 - 0.36 * side_on)[:, None, None]
    along = end - start
    length = np.abs(along)
    # Seen end on, only the larger end is left: the hull of both stays convex.
    radii = np.maximum(radii, radii.max(axis=2, keepdims=True) - np.float32(0.3) * length[..., None])
    along = np.where(length > 1e-3, along / np.maximum(length, 1e-3), np.complex64(1j))
    arc = along[..., None] * _arcs(corners)  # T C A
    drawn = np.empty((len(at), len(CAPSULES), len(layers), 2 * corners), np.complex64)
    r_start, r_end = radii[..., :1], radii[..., 1:]
    for number, (factor, right, down) in enumerate(layers):
        # Light keeps within an end that is cut straight.
        moved = np.minimum(_FLAT, 1)[:, None] * np.complex64(complex(right, down))
        shape = np.float32(factor) * arc
        drawn[:, :, number, :corners] = end[..., None] + r_end * (moved + shape)
        drawn[:, :, number, corners:] = start[..., None] + r_start * (moved - shape)
    return np.asarray(np.rint(drawn.view(np.float32).reshape(*drawn.shape, 2) * np.float32(16)), np.int32)


def nearness(depth: Floats) -> Floats:
    """How near each capsule is to the camera, T C, for the joints' nearness T P in body heights."""
    return np.asarray((depth[:, _START] + depth[:, _END]) / 2 + _FORWARD, np.float32)
