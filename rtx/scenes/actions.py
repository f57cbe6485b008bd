"""What the figure can do: keyframed joint angles, and which limbs make the action."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Times = NDArray[np.float64]
"""In seconds: T."""

JOINTS = (
    "lean", "tilt", "twist", "neck", "rise", "bat",
    *(f"{side}_{joint}" for side in ("left", "right") for joint in (
        "shoulder_side", "shoulder_front", "elbow_side", "elbow_front", "hip_side", "hip_front", "knee",
    )),
)  # fmt: skip
"""Angles in degrees; `rise` is the feet's height over the floor, as a share of the body's height.

`lean` bends the trunk forward, `tilt` to the side, `twist` turns shoulders against hips. Limbs hang down at 0;
`side` lifts away from the body, `front` forward; elbows add to the shoulder's angles. `bat` lifts the bat forward.
"""
INDEX = {name: i for i, name in enumerate(JOINTS)}

REST = {
    "left_shoulder_side": 9, "right_shoulder_side": 9, "left_elbow_front": 12, "right_elbow_front": 12,
    "left_hip_side": 4, "right_hip_side": 4, "left_hip_front": 2, "right_hip_front": 2, "left_knee": 4, "right_knee": 4,
}  # fmt: skip
"""Standing at ease; what a keyframe does not name is as here."""


def other_side(name: str) -> str:
    """The part or joint of the other side of the body."""
    for here, there in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name


_MIRROR = np.array([INDEX[other_side(name)] for name in JOINTS])
_MIRROR_SIGN = np.array([-1 if name in ("tilt", "twist") else 1 for name in JOINTS], np.float32)

ARMS = ("left_upper_arm", "left_lower_arm", "right_upper_arm", "right_lower_arm")
LEGS = ("left_upper_leg", "left_lower_leg", "right_upper_leg", "right_lower_leg")
TRUNK = ("head", "trunk")

Key = tuple[float, dict[str, float]]
"""When in the cycle, 0..1, and the angles then."""


@dataclass(frozen=True)
class Action:
    """One class of the network: its cycle as keyframes, the parts that make it, how it stands and goes."""

    acting: tuple[str, ...]
    """Parts that make the action; none for standing."""
    period_s: float
    """Of one cycle, at usual speed."""
    keys: tuple[Key, ...]
    variants: tuple[dict[str, float], ...] = ({},)
    """Angles held all along; each performance takes one."""
    yaw: tuple[float, float] = (0, 40)
    """How far the figure is turned away from the camera, in degrees: least and most, to either side."""
    speed: float = 0.0
    """Over the floor, in body heights a second."""
    holds_bat: bool = False


def _both(**angles: float) -> dict[str, float]:
    return {f"{side}_{name}": value for name, value in angles.items() for side in ("left", "right")}


def _right(**angles: float) -> dict[str, float]:
    return {f"right_{name}": value for name, value in angles.items()}


def _left(**angles: float) -> dict[str, float]:
    return {f"left_{name}": value for name, value in angles.items()}


_GUARD = _both(shoulder_side=14, shoulder_front=28, elbow_front=105)
_STANCE = _left(hip_front=20, knee=18) | _right(hip_front=-12, knee=14) | _both(hip_side=7)
_CROUCH = _both(hip_front=58, knee=88) | {"lean": 32}
_GRIP = _left(shoulder_side=-16, shoulder_front=62, elbow_front=16) | _right(
    shoulder_side=-16, shoulder_front=62, elbow_front=16
)

ACTIONS: dict[str, Action] = {
    "stand": Action(
        acting=(), period_s=3.2, yaw=(0, 60),
        keys=((0.0, {"tilt": -1.5, "neck": -3}), (0.5, {"tilt": 1.5, "neck": 3})),
        variants=(
            {}, {},
            _both(shoulder_side=42, elbow_side=-75),
            _both(shoulder_side=8, shoulder_front=32, elbow_side=-48, elbow_front=60),
            _right(shoulder_side=10, shoulder_front=45, elbow_front=95),
            _left(shoulder_side=95, elbow_side=20),
            _both(shoulder_side=-6, shoulder_front=-18, elbow_front=0),
        ),
    ),
    "wave one hand": Action(
        acting=("right_upper_arm", "right_lower_arm"), period_s=0.75,
        keys=((0.0, _right(shoulder_side=112, elbow_side=32)), (0.5, _right(shoulder_side=120, elbow_side=92))),
    ),
    "wave both hands": Action(
        acting=ARMS, period_s=0.85,
        keys=((0.0, _both(shoulder_side=108, elbow_side=28)), (0.5, _both(shoulder_side=122, elbow_side=88))),
    ),
    "jumping jack": Action(
        acting=(*ARMS, *LEGS), period_s=1.0,
        keys=(
            (0.0, _both(shoulder_side=10, elbow_side=4, hip_side=2)),
            (0.25, _both(shoulder_side=88, elbow_side=6, hip_side=13) | {"rise": 0.06}),
            (0.5, _both(shoulder_side=162, elbow_side=8, hip_side=23)),
            (0.75, _both(shoulder_side=88, elbow_side=6, hip_side=13) | {"rise": 0.06}),
        ),
    ),
    "bend": Action(
        acting=TRUNK, period_s=2.2, yaw=(15, 80),
        keys=(
            (0.0, {}), (0.15, {}),
            (0.5, {"lean": 92, "neck": 15} | _both(shoulder_front=12, hip_front=-6, knee=6)),
            (0.65, {"lean": 92, "neck": 15} | _both(shoulder_front=12, hip_front=-6, knee=6)),
        ),
    ),
    "squat": Action(
        acting=LEGS, period_s=1.9, yaw=(0, 75),
        keys=(
            (0.0, _both(shoulder_front=20)),
            (0.5, {"lean": 34} | _both(hip_front=98, knee=112, hip_side=14, shoulder_front=82, elbow_front=8)),
        ),
    ),
    "punch": Action(
        acting=("right_upper_arm", "right_lower_arm"), period_s=0.8, yaw=(20, 75),
        keys=(
            (0.0, _GUARD | {"twist": -14}), (0.2, _GUARD | {"twist": -18}),
            (0.45, _GUARD | _right(shoulder_side=6, shoulder_front=88, elbow_front=2) | {"twist": 26, "lean": 8}),
            (0.7, _GUARD | {"twist": -8}),
        ),
        variants=(_STANCE,),
    ),
    "kick": Action(
        acting=("right_upper_leg", "right_lower_leg"), period_s=1.25, yaw=(15, 80),
        keys=(
            (0.0, _STANCE), (0.15, _STANCE),
            (0.35, _STANCE | _right(hip_front=74, knee=88) | {"lean": -8}),
            (0.52, _STANCE | _right(hip_front=92, knee=6) | {"lean": -20}),
            (0.72, _STANCE | _right(hip_front=60, knee=84) | {"lean": -6}),
        ),
        variants=(_GUARD,),
    ),
    "walk": Action(
        acting=LEGS, period_s=1.1, yaw=(55, 95), speed=0.62,
        keys=(
            (0.0, _left(hip_front=28, knee=6, shoulder_front=-24) | _right(hip_front=-24, knee=14, shoulder_front=24)),
            (0.25, _left(hip_front=4, knee=4) | _right(hip_front=12, knee=56)),
            (0.5, _right(hip_front=28, knee=6, shoulder_front=-24) | _left(hip_front=-24, knee=14, shoulder_front=24)),
            (0.75, _right(hip_front=4, knee=4) | _left(hip_front=12, knee=56)),
        ),
    ),
    "jump": Action(
        acting=LEGS, period_s=1.35, yaw=(0, 70),
        keys=(
            (0.0, {}),
            (0.3, _CROUCH | _both(shoulder_front=-38, elbow_front=20)),
            (0.5, {"rise": 0.2} | _both(shoulder_front=120, elbow_front=20, hip_front=2, knee=8)),
            (0.6, {"rise": 0.25} | _both(shoulder_front=130, elbow_front=20, hip_front=16, knee=34)),
            (0.78, _both(hip_front=40, knee=62, shoulder_front=40) | {"lean": 20}),
        ),
    ),
    "swing a bat": Action(
        acting=(*ARMS, "bat"), period_s=1.35, yaw=(0, 65), holds_bat=True,
        keys=(
            (0.0, _GRIP | {"twist": 68, "bat": 62}), (0.25, _GRIP | {"twist": 84, "bat": 76, "lean": 4}),
            (0.45, _GRIP | {"twist": 0, "bat": 4, "lean": 10}), (0.6, _GRIP | {"twist": -82, "bat": 22}),
            (0.75, _GRIP | {"twist": -70, "bat": 50}),
        ),
        variants=(_both(hip_side=11, knee=22, hip_front=12),),
    ),
}  # fmt: skip

LABELS = tuple(ACTIONS)


@dataclass(frozen=True)
class Act:
    """One performance of an action: the same keyframes, as this person does them this time."""

    action: str
    period_s: float
    phase: float
    """Where in the cycle it begins, 0..1."""
    variant: int
    mirrored: bool
    """Left does what the keyframes say of right."""
    stretch: Floats = field(repr=False)
    """How far each joint goes, about 1: J."""
    offset: Floats = field(repr=False)
    """Degrees by which each joint is held otherwise: J."""
    sway: tuple[float, float]
    """Phases of breathing and of shifting weight."""

    @classmethod
    def draw(cls, action: str, random: np.random.Generator, speed: float) -> Act:
        """A performance at `speed` (1: usual) with natural variation."""
        about = ACTIONS[action]
        stretch = random.normal(1, 0.07, len(JOINTS)).clip(0.82, 1.18).astype(np.float32)
        offset = random.normal(0, 3.0, len(JOINTS)).clip(-7, 7).astype(np.float32)
        offset[[INDEX["rise"], INDEX["bat"]]] = 0
        return cls(
            action, about.period_s / speed, float(random.random()), int(random.integers(len(about.variants))),
            bool(random.random() < 0.5), stretch, offset, (float(random.random()), float(random.random())),
        )  # fmt: skip

    @property
    def acting(self) -> tuple[str, ...]:
        """The parts that make the action, as this performance does it."""
        return tuple(other_side(part) if self.mirrored else part for part in ACTIONS[self.action].acting)

    def angles(self, t: Times) -> Floats:
        """Joint angles T J at times T (s), in degrees."""
        times, poses = _TABLES[self.action][self.variant]
        at = np.mod(t / self.period_s + self.phase, 1.0).astype(np.float32)
        after = np.searchsorted(times, at, side="right").clip(1, len(times) - 1)
        share = (at - times[after - 1]) / (times[after] - times[after - 1])
        eased = (share * share * (3 - 2 * share))[:, None]
        pose = poses[after - 1] * (1 - eased) + poses[after] * eased
        if self.mirrored:
            pose = pose[:, _MIRROR] * _MIRROR_SIGN
        pose = pose * self.stretch + self.offset
        pose[:, INDEX["tilt"]] += 1.2 * np.sin(2 * np.pi * (t / 3.1 + self.sway[0]))
        pose[:, INDEX["lean"]] += 1.0 * np.sin(2 * np.pi * (t / 2.3 + self.sway[1]))
        pose[:, INDEX["rise"]] = np.maximum(pose[:, INDEX["rise"]], 0)
        return np.asarray(pose, np.float32)


def _table(action: Action, variant: dict[str, float]) -> tuple[Floats, Floats]:
    """Times K + 1 and poses K + 1 J of a cycle that closes."""
    poses = np.zeros((len(action.keys) + 1, len(JOINTS)), np.float32)
    for row, (_, key) in zip(poses, action.keys, strict=False):
        for name, value in (REST | variant | key).items():
            row[INDEX[name]] = value
    poses[-1] = poses[0]
    return np.asarray([*(time for time, _ in action.keys), 1.0], np.float32), poses


_TABLES = {name: [_table(action, variant) for variant in action.variants] for name, action in ACTIONS.items()}
