"""The body: limbs that keep their length, feet on the floor, joints where plain trigonometry puts them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from rtx.scenes.actions import INDEX, JOINTS, LABELS, Act, Floats
from rtx.scenes.body import CAPSULES, PARTS, Body, joints, outlines

# The order of the joints in space, as `joints` gives them.
POINTS = (
    "pelvis", "chest", "neck", "face", "hair",
    *(f"{side}_{joint}" for side in ("left", "right") for joint in (
        "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe",
    )),
    "grip", "tip",
)  # fmt: skip
SIDES = ("left", "right")
EVEN = Body(np.ones(5, np.float32), {})
"""A body of usual build."""
BONES = [
    ("pelvis", "chest"), ("chest", "neck"), ("grip", "tip"),
    *((f"{side}_{a}", f"{side}_{b}") for side in SIDES for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "toe"),
    )),
]  # fmt: skip
JUMPING = ("jump", "jumping jack")


def at(points: Floats, name: str) -> Floats:
    return points[:, POINTS.index(name)]


def bent(**angles: float) -> Floats:
    """Joints of the usual body where all angles are 0 but these."""
    pose = np.zeros((1, len(JOINTS)), np.float32)
    for name, value in angles.items():
        pose[0, INDEX[name]] = value
    return joints(EVEN, pose)


def moving(action: str, seed: int, seconds: float = 3.0) -> tuple[Act, Body, Floats, Floats]:
    """A person who does this: the act, the body, its angles and its joints over time."""
    random = np.random.default_rng([seed, 99])
    act, body = Act.draw(action, random, float(random.uniform(0.7, 1.5))), Body.draw(random)
    angles = act.angles(np.arange(0, seconds, 0.02))
    return act, body, angles, joints(body, angles)


def test_the_joints_are_where_these_tests_look_for_them():
    assert {name for capsule in CAPSULES for name in (capsule.start, capsule.end)} <= set(POINTS)
    assert joints(EVEN, np.zeros((1, len(JOINTS)), np.float32)).shape == (1, len(POINTS), 3)
    pose = bent()
    for name in ("left_shoulder", "left_hip", "left_toe"):
        assert at(pose, name)[0, 0] > 0, "x goes to the figure's left"
    assert at(pose, "hair")[0, 1] > at(pose, "chest")[0, 1] > at(pose, "left_knee")[0, 1], "y goes up"
    assert at(pose, "left_toe")[0, 2] > at(pose, "left_ankle")[0, 2], "z goes forward"


@pytest.mark.parametrize("action", LABELS)
def test_limbs_keep_their_length_whatever_the_pose(action: str):
    for seed in range(4):
        _, _, _, points = moving(action, seed)
        for start, end in BONES:
            lengths = np.linalg.norm(at(points, end) - at(points, start), axis=1)
            assert lengths.min() > 0.02
            assert np.ptp(lengths) < 1e-4


def test_both_sides_of_a_body_are_equally_long():
    _, _, _, points = moving("punch", 2)
    for start, end in BONES:
        if start.startswith("left_"):
            left, right = (
                np.linalg.norm(at(points, end.replace("left", side)) - at(points, start.replace("left", side)), axis=1)
                for side in SIDES
            )
            np.testing.assert_allclose(left, right, atol=1e-5)


def test_a_standing_body_is_one_body_height_high():
    points = bent()
    top = at(points, "hair")[0, 1] + 0.064 * 1.12
    assert top == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("action", LABELS)
def test_the_lower_sole_stands_on_the_floor_or_as_high_as_the_figure_jumps(action: str):
    radius = {c.end: c.end_radius for c in CAPSULES} | {c.start: c.radius for c in CAPSULES if c.dress == "shoes"}
    for seed in range(4):
        _, _, angles, points = moving(action, seed)
        soles = np.stack(
            [at(points, f"{side}_{j}")[:, 1] - radius[f"{side}_{j}"] for side in SIDES for j in ("ankle", "toe")]
        )
        assert np.abs(soles.min(axis=0) - angles[:, INDEX["rise"]]).max() < 0.005


@pytest.mark.parametrize("action", LABELS)
def test_jumps_leave_the_floor_and_nothing_else_does(action: str):
    for seed in range(4):
        _, _, _, points = moving(action, seed)
        lowest = np.min([at(points, f"{side}_{j}")[:, 1] for side in SIDES for j in ("ankle", "toe")], axis=0)
        assert lowest.min() < 0.04, "everybody comes down again"
        assert (lowest.max() > 0.06) == (action in JUMPING)


@pytest.mark.parametrize("action", ["wave one hand", "wave both hands"])
def test_a_waving_hand_is_higher_than_its_shoulder_and_a_resting_one_lower(action: str):
    for seed in range(10):
        act, _, _, points = moving(action, seed)
        for side in SIDES:
            above = at(points, f"{side}_hand")[:, 1] - at(points, f"{side}_shoulder")[:, 1]
            assert ((above > 0) == (f"{side}_lower_arm" in act.acting)).all()


def test_a_jumping_jack_brings_the_hands_over_the_head():
    _, _, _, points = moving("jumping jack", 1)
    assert (at(points, "left_hand")[:, 1] - at(points, "hair")[:, 1]).max() > 0.05
    assert (at(points, "left_hand")[:, 1] - at(points, "pelvis")[:, 1]).min() < 0.1


def test_a_squat_lowers_the_pelvis_and_a_kick_lifts_a_foot():
    _, _, _, squatting = moving("squat", 1)
    assert np.ptp(at(squatting, "pelvis")[:, 1]) > 0.15
    act, _, _, kicking = moving("kick", 1)
    foot = "left_toe" if act.mirrored else "right_toe"
    assert at(kicking, foot)[:, 1].max() > 0.3
    assert at(kicking, foot)[:, 2].max() > 0.3, "forward"


@pytest.mark.parametrize(
    ("joint", "end", "along"),
    [
        ("left_shoulder_side", "left_hand", (1, 0, 0)),
        ("right_shoulder_side", "right_hand", (-1, 0, 0)),
        ("left_shoulder_front", "left_hand", (0, 0, 1)),
        ("right_shoulder_front", "right_hand", (0, 0, 1)),
        ("left_elbow_front", "left_hand", (0, 0, 1)),
        ("left_elbow_side", "left_hand", (1, 0, 0)),
        ("right_hip_side", "right_ankle", (-1, 0, 0)),
        ("left_hip_front", "left_knee", (0, 0, 1)),
        ("left_knee", "left_ankle", (0, 0, -1)),
        ("bat", "tip", (0, 1, 0)),
    ],
)
def test_each_joint_lifts_to_where_it_says(joint: str, end: str, along: tuple[int, int, int]):
    """By how the end moves against the trunk, when the joint turns by 60 degrees."""
    moved = (at(bent(**{joint: 60.0}), end) - at(bent(**{joint: 60.0}), "pelvis")) - (
        at(bent(), end) - at(bent(), "pelvis")
    )
    assert float(moved[0] @ np.array(along)) > 0.1


def test_a_lean_bends_the_trunk_forward():
    upright, leaning = (at(p, "chest")[0] - at(p, "pelvis")[0] for p in (bent(), bent(lean=50)))
    assert upright[2] == pytest.approx(0, abs=1e-6)
    assert leaning[1] == pytest.approx(0.27 * math.cos(math.radians(50)), abs=1e-4)
    assert leaning[2] == pytest.approx(0.27 * math.sin(math.radians(50)), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_who_bends_or_squats_has_the_head_before_the_hips(seed: int):
    for action in ("bend", "squat"):
        _, _, angles, points = moving(action, seed)
        deep = angles[:, INDEX["lean"]] > 25
        assert deep.any()
        ahead = at(points, "face")[deep, 2] - at(points, "pelvis")[deep, 2]
        assert ahead.min() > 0


def test_a_turned_trunk_takes_its_shoulders_and_arms_along():
    for name in ("shoulder", "elbow", "hand"):
        turned = bent(twist=90)
        straight = bent()
        x, y, z = at(straight, f"left_{name}")[0] - at(straight, "chest")[0]
        there = at(turned, f"left_{name}")[0] - at(turned, "chest")[0]
        assert tuple(there) == pytest.approx((z, y, -x), abs=1e-5), "its left goes back when it turns to its left"
    np.testing.assert_allclose(at(bent(twist=90), "left_hip"), at(bent(), "left_hip"), atol=1e-6)


def turned_about(axis: str, degrees: float, v: tuple[float, float, float]) -> tuple[float, float, float]:
    """A vector turned about an axis by the right-hand rule."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = v
    return {
        "x": (x, c * y - s * z, s * y + c * z), "y": (c * x + s * z, y, c * z - s * x),
        "z": (c * x - s * y, s * x + c * y, z),
    }[axis]  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("action", ["punch", "swing a bat", "jumping jack", "wave one hand"])
def test_an_arm_is_where_plain_trigonometry_puts_it(action: str, side: str):
    """From the shoulder on, one turn after the other: out to the side, then forward, then with the trunk."""
    _, body, angles, points = moving(action, 6)
    sign = 1 if side == "left" else -1
    for row, where in list(zip(angles, points, strict=True))[::15]:
        value = {name: float(row[INDEX[name]]) for name in JOINTS}
        lift, swing, here = 0.0, 0.0, tuple(map(float, where[POINTS.index(f"{side}_shoulder")]))
        for joint, ends in (("shoulder", {"elbow": 0.165}), ("elbow", {"wrist": 0.145, "hand": 0.035})):
            lift += value[f"{side}_{joint}_side"]
            swing += value[f"{side}_{joint}_front"]
            along = turned_about("z", sign * lift, (0, -1, 0))
            along = turned_about("x", -swing, along)
            along = turned_about("y", value["twist"], along)
            for end, length in ends.items():
                reach = length * float(body.build[2])
                here = tuple(a + reach * b for a, b in zip(here, along, strict=True))
                assert here == pytest.approx(tuple(where[POINTS.index(f"{side}_{end}")]), abs=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_a_leg_is_where_plain_trigonometry_puts_it(side: str):
    """The thigh out to the side, then forward; the shin the knee's angle behind it, and a little less to the side."""
    _, body, angles, points = moving("kick", 4)
    sign = 1 if side == "left" else -1
    for row, where in list(zip(angles, points, strict=True))[::15]:
        out, step, knee = (float(row[INDEX[f"{side}_{name}"]]) for name in ("hip_side", "hip_front", "knee"))
        here = tuple(map(float, where[POINTS.index(f"{side}_hip")]))
        for end, length, lift, swing in (("knee", 0.245, out, step), ("ankle", 0.235, 0.8 * out, step - knee)):
            along = turned_about("x", -swing, turned_about("z", sign * lift, (0, -1, 0)))
            here = tuple(a + length * float(body.build[1]) * b for a, b in zip(here, along, strict=True))
            assert here == pytest.approx(tuple(where[POINTS.index(f"{side}_{end}")]), abs=1e-4)


def test_a_bat_is_held_where_both_hands_meet():
    _, _, _, points = moving("swing a bat", 2)
    np.testing.assert_allclose(at(points, "grip"), (at(points, "left_hand") + at(points, "right_hand")) / 2, atol=1e-6)
    assert np.linalg.norm(at(points, "left_hand") - at(points, "right_hand"), axis=1).max() < 0.25


def test_bodies_differ_and_each_is_its_own_seeds():
    drawn = [Body.draw(np.random.default_rng(seed)) for seed in range(40)]
    assert len({each.build.tobytes() for each in drawn}) == 40
    assert len({each.colours["shirt"] for each in drawn}) > 30
    again = Body.draw(np.random.default_rng(7))
    assert again.colours == drawn[7].colours
    np.testing.assert_array_equal(again.build, drawn[7].build)
    for each in drawn:
        assert {capsule.dress for capsule in CAPSULES} <= set(each.colours)
        assert all(0 <= channel <= 255 for colour in each.colours.values() for channel in colour)


def test_every_part_has_an_outline():
    assert {capsule.part for capsule in CAPSULES} == set(PARTS)


def test_a_long_capsule_is_two_circles_and_what_lies_between():
    """Against every pixel's distance from the axis, with the radius that goes evenly from one end to the other."""
    number = next(i for i, c in enumerate(CAPSULES) if c.part == "left_upper_leg")
    points = np.zeros((1, len(POINTS), 2), np.float32)
    points[0, POINTS.index("left_hip")], points[0, POINTS.index("left_knee")] = (60, 40), (110, 150)
    outline = outlines(EVEN, points, 400.0, np.zeros(1, np.float32), ((1.0, 0.0, 0.0),), 6)[0, number, 0]
    drawn = np.zeros((200, 200), np.uint8)
    cv2.fillConvexPoly(drawn, outline, 1, cv2.LINE_8, 4)
    start, end = np.array([60.0, 40]), np.array([110.0, 150])
    ys, xs = np.mgrid[:200, :200]
    share = (((xs - 60) * 50 + (ys - 40) * 110) / (50**2 + 110**2)).clip(0, 1)
    nearest = start + share[..., None] * (end - start)
    radius = 400 * (CAPSULES[number].radius * (1 - share) + CAPSULES[number].end_radius * share)
    beyond = np.hypot(xs - nearest[..., 0], ys - nearest[..., 1]) - radius
    assert drawn[beyond < -2].all()
    assert not drawn[beyond > 1.5].any()


@pytest.mark.parametrize("action", LABELS)
def test_hips_stay_over_the_feet(action: str):
    for seed in range(3):
        _, _, _, points = moving(action, seed)
        feet = np.mean([at(points, f"{side}_ankle") for side in SIDES], axis=0)
        assert np.abs(at(points, "pelvis")[:, 0] - feet[:, 0]).max() < 0.2
        assert (at(points, "pelvis")[:, 1] > feet[:, 1] + 0.1).all()
