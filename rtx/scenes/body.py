"""A person's body: from joint angles to joints in space, and to the outlines of its parts on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtx.scenes.actions import INDEX, Floats

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

ARC = 6
_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, ARC, dtype=np.float32)
_ALONG, _ACROSS = np.cos(_ANGLES), np.sin(_ANGLES)


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
    hue, saturation = random.random() * 6, random.uniform(0.05, 0.8)
    value = random.uniform(35, 110) if dark else random.uniform(90, 240)
    ramp = np.clip(np.abs((np.array([hue - 4, hue - 2, hue]) + 3) % 6 - 3) - 1, 0, 1)
    b, g, r = (value * (1 - saturation * ramp)).astype(int)
    return int(b), int(g), int(r)


def joints(body: Body, angles: Floats) -> Floats:
    """Joints in space for joint angles T J (degrees): T P 3.

    In body heights; x to the figure's left, y up from the floor, z forward. The lower foot stands at y = rise.
    """
    a = np.deg2rad(angles)
    girth, legs, arms, shoulders, head = body.build
    p = np.zeros((len(angles), len(_POINTS), 3), np.float32)

    def angle(name: str) -> Floats:
        return np.asarray(a[:, INDEX[name]], np.float32)

    def put(name: str, start: str, direction: Floats, length: float) -> None:
        p[:, _AT[name]] = p[:, _AT[start]] + direction * np.float32(length)

    lean, tilt, twist, neck = angle("lean"), angle("tilt"), angle("twist"), angle("neck")
    up = _direction(tilt, lean + np.pi)  # From straight down, turned upright.
    put("chest", "pelvis", up, 0.27)
    put("neck", "chest", up, 0.075)
    nod = _direction(tilt, lean + neck + np.pi)
    put("face", "neck", nod, 0.052 * head)
    put("hair", "neck", nod, 0.062 * head)
    forward = np.stack([np.sin(twist), np.zeros_like(twist), np.cos(twist)], axis=1)
    p[:, _AT["face"]] += 0.014 * head * forward
    p[:, _AT["hair"]] -= 0.010 * head * forward
    for side, sign in (("left", 1.0), ("right", -1.0)):
        across = np.stack([sign * np.cos(twist), np.zeros_like(twist), -sign * np.sin(twist)], axis=1)
        put(f"{side}_shoulder", "chest", across, 0.112 * shoulders)
        p[:, _AT[f"{side}_shoulder"]] += 0.012 * up
        lift, swing = angle(f"{side}_shoulder_side"), angle(f"{side}_shoulder_front")
        upper = _turned(_direction(sign * lift, swing), twist)
        lift, swing = lift + angle(f"{side}_elbow_side"), swing + angle(f"{side}_elbow_front")
        lower = _turned(_direction(sign * lift, swing), twist)
        put(f"{side}_elbow", f"{side}_shoulder", upper, 0.165 * arms)
        put(f"{side}_wrist", f"{side}_elbow", lower, 0.145 * arms)
        put(f"{side}_hand", f"{side}_wrist", lower, 0.035 * arms)
        put(f"{side}_hip", "pelvis", np.array([[sign, 0, 0]], np.float32), 0.052 * girth)
        out, step = sign * angle(f"{side}_hip_side"), angle(f"{side}_hip_front")
        shin = step - angle(f"{side}_knee")
        put(f"{side}_knee", f"{side}_hip", _direction(out, step), 0.245 * legs)
        put(f"{side}_ankle", f"{side}_knee", _direction(out * 0.8, shin), 0.235 * legs)
        # The sole stays level while the foot stands and follows the shin when it is lifted far behind or ahead.
        put(f"{side}_toe", f"{side}_ankle", _direction(out * 0, shin * 0.6 + np.pi / 2 - 0.25), 0.062)
    p[:, _AT["grip"]] = (p[:, _AT["left_hand"]] + p[:, _AT["right_hand"]]) / 2
    put("tip", "grip", _turned(_direction(0 * twist, np.pi / 2 + angle("bat")), twist), 0.40)
    soles = p[:, [_AT[f"{side}_{joint}"] for side in ("left", "right") for joint in ("ankle", "toe")], 1]
    p[:, :, 1] += (a[:, INDEX["rise"]] * np.float32(180 / np.pi) + 0.028 - soles.min(axis=1))[:, None]
    return p


def _direction(side: Floats, front: Floats) -> Floats:
    """Unit vectors T 3 of limbs that hang down at 0, lifted by `side` along x and by `front` along z."""
    cos = np.cos(side)
    return np.stack([np.sin(side), -cos * np.cos(front), cos * np.sin(front)], axis=1).astype(np.float32)


def _turned(vectors: Floats, angle: Floats) -> Floats:
    """Vectors T 3 turned about the upright axis, z towards x."""
    sin, cos = np.sin(angle), np.cos(angle)
    x, y, z = vectors.T
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1)


def outlines(
    body: Body, points: Floats, scale: float, side_on: Floats, layers: tuple[tuple[float, float, float], ...]
) -> NDArray[np.int32]:
    """Outlines of the capsules for joints on the screen: T C L 2*ARC 2, in 1/16 pixel.

    `points`: T P 2 in pixels; `scale`: pixels in a body height; `side_on`: T, 0 where the figure faces the camera, 1
    where it shows its side (a trunk is not as deep as it is broad). Each layer is the capsule with its radius times a
    factor, moved by (x, y) radii: the lit side of a limb.
    """
    start, end = points[:, _START], points[:, _END]  # T C 2
    radii = np.broadcast_to(_RADII * np.float32(scale), (len(points), *_RADII.shape)).copy()  # T C 2
    radii *= np.float32(0.4 + 0.6 * body.build[0])
    radii[:, _TRUNK] *= (1 - 0.36 * side_on)[:, None, None]
    along = end - start
    length = np.linalg.norm(along, axis=2, keepdims=True)
    upright = np.array([0, 1], np.float32)
    along = np.where(length > 1e-3, along / np.maximum(length, 1e-3), upright)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    round_ = (_FLAT[:, None] * _ALONG)[None, :, :, None]  # 1 C A 1
    shape = round_ * along[:, :, None] + _ACROSS[None, None, :, None] * across[:, :, None]  # T C A 2
    back = -round_ * along[:, :, None] - _ACROSS[None, None, :, None] * across[:, :, None]
    drawn = np.empty((len(points), len(CAPSULES), len(layers), 2 * ARC, 2), np.float32)
    for number, (factor, right, down) in enumerate(layers):
        moved = np.array([right, down], np.float32)
        r_start, r_end = radii[..., 0, None, None], radii[..., 1, None, None]
        drawn[:, :, number, :ARC] = end[:, :, None] + r_end * (factor * shape + moved)
        drawn[:, :, number, ARC:] = start[:, :, None] + r_start * (factor * back + moved)
    return np.round(drawn * 16).astype(np.int32)


def nearness(depth: Floats) -> Floats:
    """How near each capsule is to the camera, T C, for the joints' nearness T P in body heights."""
    return np.asarray((depth[:, _START] + depth[:, _END]) / 2 + _FORWARD, np.float32)
