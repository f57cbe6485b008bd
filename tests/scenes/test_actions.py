"""The actions: cycles of keyframes that close, performances that vary and mirror, programmes without a leap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rtx.scenes.actions import ACTIONS, INDEX, JOINTS, LABELS, REST, Act, Floats, other_side
from rtx.scenes.body import PARTS
from rtx.scenes.motion import CHANGE_S, REACH, OneAct, Programme, one_act

MOVING = [name for name in LABELS if name != "stand"]
FRAME = 1 / 30
SWAYING = ("tilt", "lean")


def exact(action: str, phase: float = 0.0, variant: int = 0, mirrored: bool = False, period_s: float = 1.0) -> Act:
    """The keyframes themselves: nothing is varied, and at time 0 nothing sways."""
    ones, zeros = np.ones(len(JOINTS), np.float32), np.zeros(len(JOINTS), np.float32)
    return Act(action, period_s, phase, variant, mirrored, ones, zeros, (0.0, 0.0))


def drawn(action: str, seed: int, speed: float = 1.0) -> Act:
    return Act.draw(action, np.random.default_rng(seed), speed)


def pose(act: Act, t: float = 0.0) -> Floats:
    return act.angles(np.array([t]))[0]


def times(seconds: float, step: float = FRAME, begin: float = 0.0) -> Floats:
    return np.arange(begin, begin + seconds, step)


def test_there_are_ten_actions_and_standing():
    assert "stand" in LABELS
    assert len(MOVING) >= 10
    assert len(set(LABELS)) == len(LABELS)


@pytest.mark.parametrize("action", LABELS)
def test_keyframes_begin_at_0_ascend_and_stay_below_1(action: str):
    at = [time for time, _ in ACTIONS[action].keys]
    assert at[0] == 0
    assert all(a < b for a, b in itertools.pairwise(at))
    assert at[-1] < 1


@pytest.mark.parametrize("action", LABELS)
def test_keyframes_name_joints_and_parts_that_exist(action: str):
    about = ACTIONS[action]
    named = set(REST).union(*(key for _, key in about.keys), *about.variants)
    assert named <= set(JOINTS)
    assert set(about.acting) <= set(PARTS)
    assert bool(about.acting) == (action != "stand")
    assert about.holds_bat == ("bat" in about.acting)


@pytest.mark.parametrize("action", LABELS)
def test_at_its_time_a_keyframe_is_the_pose(action: str):
    about = ACTIONS[action]
    for (time, key), (number, variant) in itertools.product(about.keys, enumerate(about.variants)):
        said = REST | variant | key
        angles = pose(exact(action, time, number))
        np.testing.assert_allclose(angles, [said.get(joint, 0) for joint in JOINTS], atol=1e-3)


@pytest.mark.parametrize("action", LABELS)
def test_every_cycle_closes(action: str):
    for seed in range(5):
        act = drawn(action, seed)
        t = times(5, 0.043)
        apart = np.abs(act.angles(t + np.float32(act.period_s)) - act.angles(t))
        steady = [INDEX[joint] for joint in JOINTS if joint not in SWAYING]
        assert apart[:, steady].max() < 0.1
        assert apart.max() < 2.5, "no more than a person sways"


@pytest.mark.parametrize("action", LABELS)
def test_no_joint_leaps_within_a_cycle(action: str):
    act = drawn(action, 1)
    steps = np.abs(np.diff(act.angles(times(2 * act.period_s, 0.001)), axis=0))
    assert steps.max() < 2.5


@pytest.mark.parametrize("action", MOVING)
def test_what_acts_moves_and_a_standing_figure_hardly_does(action: str):
    assert np.ptp(drawn(action, 3).angles(times(4)), axis=0).max() > 30
    assert np.ptp(drawn("stand", 3).angles(times(4)), axis=0).max() < 12


@pytest.mark.parametrize("action", LABELS)
def test_a_mirrored_performance_swaps_left_and_right(action: str):
    variants = range(len(ACTIONS[action].variants))
    for phase, variant in itertools.product(np.linspace(0, 0.95, 9), variants):
        plain, mirrored = (pose(exact(action, float(phase), variant, way)) for way in (False, True))
        for joint in JOINTS:
            sign = -1 if joint in ("tilt", "twist") else 1
            assert mirrored[INDEX[other_side(joint)]] == pytest.approx(sign * plain[INDEX[joint]], abs=1e-3)


def test_the_parts_that_act_are_mirrored_with_the_performance():
    assert exact("wave one hand").acting == ("right_upper_arm", "right_lower_arm")
    assert exact("wave one hand", mirrored=True).acting == ("left_upper_arm", "left_lower_arm")
    assert exact("bend", mirrored=True).acting == exact("bend").acting == ("head", "trunk")
    assert set(exact("jumping jack", mirrored=True).acting) == set(exact("jumping jack").acting)


def test_about_half_of_all_performances_are_mirrored():
    mirrored = [drawn("kick", seed).mirrored for seed in range(200)]
    assert 70 < sum(mirrored) < 130


def test_twice_the_speed_is_half_the_period():
    usual, quick = drawn("squat", 5, 1.0), drawn("squat", 5, 2.0)
    assert quick.period_s == pytest.approx(ACTIONS["squat"].period_s / 2)
    t = times(3)
    steady = [INDEX[joint] for joint in JOINTS if joint not in SWAYING]
    np.testing.assert_allclose(quick.angles(t)[:, steady], usual.angles(2 * t)[:, steady], atol=0.1)


@pytest.mark.parametrize("action", MOVING)
def test_two_performances_differ_but_stay_near_the_keyframes(action: str):
    one, other = drawn(action, 1), drawn(action, 2)
    assert np.abs(one.stretch - other.stretch).max() > 0.05
    for act in (one, other):
        same = exact(action, act.phase, act.variant, act.mirrored, act.period_s).angles(times(3))
        limit = 0.18 * np.abs(same) + 7 + 2 * 1.2
        assert (np.abs(act.angles(times(3)) - same) <= limit + 1e-3).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_walk_stays_within_its_reach_and_turns_at_its_ends(seed: int):
    motion = one_act("walk", np.random.default_rng(seed), 1.0).at(times(12))
    assert np.abs(motion.x).max() <= REACH + 1e-3
    assert motion.x.max() > 0.9 * REACH
    assert motion.x.min() < -0.9 * REACH
    assert np.abs(np.diff(motion.x)).max() < 0.05
    assert np.abs(np.diff(motion.yaw)).max() < 0.5
    assert np.sign(motion.yaw).min() == -1
    assert np.sign(motion.yaw).max() == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_walker_looks_where_it_goes(seed: int):
    motion = one_act("walk", np.random.default_rng(seed), 1.0).at(times(8))
    going, looking = np.diff(motion.x), np.sin(motion.yaw[:-1])
    clear = np.abs(looking) > 0.5
    assert clear.mean() > 0.5
    assert (np.sign(going[clear]) == np.sign(looking[clear])).mean() > 0.95


def test_only_a_walk_leaves_its_place():
    for action in MOVING:
        way = np.ptp(one_act(action, np.random.default_rng(1), 1.0).at(times(6)).x)
        assert (way > 0) == (action == "walk")


def test_a_faster_walker_covers_more_ground():
    act = exact("walk", period_s=ACTIONS["walk"].period_s / 2)
    slow = OneAct(exact("walk", period_s=ACTIONS["walk"].period_s), 1.2)
    assert OneAct(act, 1.2).pace == pytest.approx(2 * slow.pace)
    assert slow.pace == pytest.approx(ACTIONS["walk"].speed)


def acts_of(programme: Programme, count: int) -> list[Act]:
    """The first so many acts, one after another."""
    acts = programme.at(times(8 * count, 0.2)).acts
    return [act for i, act in enumerate(acts) if not i or act is not acts[i - 1]][:count]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_programme_shows_every_action_once_before_one_comes_again(seed: int):
    shown = [act.action for act in acts_of(Programme(seed), 3 * len(LABELS))]
    rounds = [shown[i : i + len(LABELS)] for i in range(0, len(shown), len(LABELS))]
    assert all(set(each) == set(LABELS) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1, "in another order each time"


@pytest.mark.parametrize("seed", [0, 7])
def test_a_programme_has_no_leap(seed: int):
    motion = Programme(seed).at(times(60))
    assert np.abs(np.diff(motion.angles, axis=0)).max() < 45, "a quick jump's arms"
    assert np.abs(np.diff(motion.x)).max() < 0.06
    assert np.abs(np.diff(motion.yaw)).max() < 0.5


@pytest.mark.parametrize("seed", [0, 7])
def test_a_programme_passes_from_act_to_act_without_a_leap(seed: int):
    programme = Programme(seed)
    for named in changes(programme, 60):
        for around in (named - CHANGE_S / 2, named, named + CHANGE_S / 2):
            motion = programme.at(times(0.02, 0.001, around - 0.01))
            assert np.abs(np.diff(motion.angles, axis=0)).max() < 2.5
            assert np.abs(np.diff(motion.x)).max() < 0.003
            assert np.abs(np.diff(motion.yaw)).max() < 0.03


def changes(programme: Programme, seconds: float) -> list[float]:
    """When the label changes, to the millisecond."""
    found = []
    grid = times(seconds, 0.1)
    acts = programme.at(grid).acts
    for i, (before, after) in enumerate(itertools.pairwise(acts)):
        if before is not after:
            fine = times(0.102, 0.001, float(grid[i]))
            found.append(float(fine[[act is after for act in programme.at(fine).acts].index(True)]))
    return found


def test_a_programme_changes_its_label_in_the_middle_of_the_change():
    """Half-way, the pose lies as far from what the old act would have been as from what the new one begins with."""
    programme = Programme(3)
    labels_change = changes(programme, 40)
    assert len(labels_change) >= 7
    began = 0.0
    for middle in labels_change:
        begins = middle + CHANGE_S / 2
        (old,), here, (new,) = (
            programme.at(np.array([middle - CHANGE_S / 2])).acts,
            programme.at(np.array([middle])).angles[0],
            programme.at(np.array([begins + 0.01])).acts,
        )
        assert old.action != new.action
        assert np.abs(here - (pose(old, middle - began) + pose(new, middle - begins)) / 2).max() < 3
        began = begins


def test_acts_of_a_programme_last_some_seconds():
    lasting = np.diff(changes(Programme(11), 90))
    assert lasting.min() > 2
    assert lasting.max() < 7


def test_a_programme_is_the_same_in_whatever_order_it_is_asked():
    t = times(40, 0.37)
    forward, backward = Programme(5), Programme(5)
    later = [backward.at(t[i : i + 1]) for i in reversed(range(len(t)))][::-1]
    whole = forward.at(t)
    np.testing.assert_array_equal(whole.angles, np.concatenate([each.angles for each in later]))
    np.testing.assert_array_equal(whole.x, np.concatenate([each.x for each in later]))
    assert [act.action for act in whole.acts] == [each.acts[0].action for each in later]


def test_another_seed_is_another_programme():
    one, other = (Programme(seed).at(times(30, 0.5)) for seed in (1, 2))
    assert np.abs(one.angles - other.angles).max() > 30
