"""Who does what when: one act for a clip, or a programme of acts for a camera that never ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from rtx.scenes.actions import ACTIONS, LABELS, Act, Floats, Times

REACH = 0.42
"""How far a walk goes to either side, in body heights."""
TURN = 0.16
"""Body heights before the end at which a walker begins to turn."""
ACT_S = 5.0
"""How long an act of a programme lasts."""
CHANGE_S = 0.4
"""From one act into the next."""


class Motion(NamedTuple):
    """A person at times T."""

    angles: Floats
    """Joint angles: T J, degrees."""
    x: Floats
    """Aside from its place: T, body heights."""
    yaw: Floats
    """Turned to its left from facing the camera: T, radians."""
    acts: tuple[Act, ...]
    """What it does, frame by frame."""
    since: Times
    """When it began to: T."""


class Performance(Protocol):
    """Something that a person does."""

    def at(self, times: Times) -> Motion:
        """The person at times T (s)."""


@dataclass(frozen=True)
class OneAct:
    """The same act all along."""

    act: Act
    yaw: float
    """Radians."""
    walked: float = 0.0
    """Where on its way a walk begins, in body heights."""

    def at(self, times: Times) -> Motion:
        x, facing = self._way(times)
        yaw = facing * np.float32(self.yaw)
        return Motion(self.act.angles(times), x, yaw, (self.act,) * len(times), np.zeros(len(times)))

    @property
    def pace(self) -> float:
        """Over the floor, in body heights a second."""
        about = ACTIONS[self.act.action]
        return about.speed * about.period_s / self.act.period_s

    def _way(self, times: Times) -> tuple[Floats, Floats]:
        """To and fro between the ends of a walk: place, and direction -1..1, which passes through 0 in the turn."""
        if self.pace == 0:
            return np.zeros(len(times), np.float32), np.ones(len(times), np.float32)
        round_trip = np.mod(times * self.pace + self.walked, 4 * REACH)
        to = np.abs(np.mod(round_trip + REACH, 4 * REACH) - 2 * REACH)  # 2R..0..2R, REACH at the start
        x = np.sign(self.yaw) * (REACH - to)  # Who is turned to the left of the camera goes there first.
        rising = np.where((round_trip < REACH) | (round_trip > 3 * REACH), 1, -1)
        near_end = np.clip((REACH - np.abs(x)) / TURN, 0, 1)
        return x.astype(np.float32), (rising * near_end).astype(np.float32)


class Programme:
    """Acts one after another, `ACT_S` each, all from one seed: the live hall, which never ends."""

    def __init__(self, seed: int, speed: tuple[float, float] = (0.85, 1.15)):
        self._seed, self._speed = seed, speed
        self._act = lru_cache(maxsize=64)(self._drawn)

    def at(self, times: Times) -> Motion:
        motions = [self._one(float(t)) for t in times]
        angles, x, yaw, acts, since = zip(*motions, strict=True)
        return Motion(
            np.concatenate(angles), np.concatenate(x), np.concatenate(yaw), tuple(act for of in acts for act in of),
            np.concatenate(since),
        )  # fmt: skip

    def _one(self, t: float) -> Motion:
        number = int(t // ACT_S)
        motion = self._act(number).at(np.array([t - number * ACT_S]))
        end = (number + 1) * ACT_S
        left = end - t
        began = max(0.0, end - ACT_S - CHANGE_S / 2)
        if left >= CHANGE_S:
            return motion._replace(since=np.array([began]))
        # Into the first moment of what comes, eased.
        share = np.float32(1 - left / CHANGE_S)
        share = share * share * (3 - 2 * share)
        coming = self._act(number + 1).at(np.array([-left]))
        angles, x, yaw = (a * (1 - share) + b * share for a, b in zip(motion[:3], coming[:3], strict=True))
        changed = left <= CHANGE_S / 2
        acts, since = (coming.acts, end - CHANGE_S / 2) if changed else (motion.acts, began)
        return Motion(angles, x, yaw, acts, np.array([since]))

    def _drawn(self, number: int) -> OneAct:
        """Act `number`: every action comes once before one comes again."""
        random = np.random.default_rng([0xAC7, self._seed, number])
        order = np.random.default_rng([0x0DE5, self._seed, number // len(LABELS)]).permutation(len(LABELS))
        action = LABELS[order[number % len(LABELS)]]
        speed = float(random.uniform(*self._speed))
        usual = ACTIONS[action].speed
        if not usual:
            return one_act(action, random, speed)
        # A walk ends where it began.
        trips = round(ACT_S * usual * speed / (4 * REACH))
        walk = one_act(action, random, trips * 4 * REACH / (ACT_S * usual))
        return OneAct(walk.act, walk.yaw)


def one_act(action: str, random: np.random.Generator, speed: float) -> OneAct:
    """An action as one person does it this time, seen from a random side."""
    least, most = np.deg2rad(ACTIONS[action].yaw)
    yaw = float(random.choice([-1, 1]) * random.uniform(least, most))
    return OneAct(Act.draw(action, random, speed), yaw, float(random.uniform(0, 4 * REACH)))
