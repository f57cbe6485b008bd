"""A frame's map is the mean over the clips that held it, against a loop over frames and clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_features import a_forward, random_features

from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip
from rtx.explain.features import cam
from rtx.explain.fuse import fuse
from rtx.explain.placing import upsample
from rtx.explain.registry import parse
from rtx.explain.run import explain
from rtx.explain.steps import Memory
from rtx.geometry import Rect

MS = 1_000_000
FRAMES = 16


def of_clips(starts_ms: list[float], clips: int = 8, beyond: str = "hold", stride_ms: float = 50.0):
    """Clips that begin at these times: the times of their frames, their maps, and the fused map of each."""
    memory = Memory()
    times, maps, fused = [], [], []
    for number, start in enumerate(starts_ms):
        forward = a_forward(random_features(n=1, seed=number))
        memory.times = tuple(round((start + stride_ms * i) * MS) for i in range(FRAMES))
        relevance = cam(forward)
        times.append(np.asarray(memory.times, np.float64))
        maps.append(upsample(forward, relevance)[0].double().numpy())
        made = fuse(forward, relevance, clips=clips, beyond=beyond, memory=[memory])
        assert made.motion_share is None
        fused.append(made.relevance[0].numpy())
    return times, maps, fused


def at(time: float, times: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """The map's frame at a time: linear between two."""
    for i in range(len(times) - 1):
        if times[i] <= time <= times[i + 1]:
            part = (time - times[i]) / (times[i + 1] - times[i])
            return relevance[i] * (1 - part) + relevance[i + 1] * part
    return relevance[-1]


@pytest.mark.parametrize("beyond", ["nothing", "hold"])
@pytest.mark.parametrize("clips", [1, 3, 8])
def test_it_is_the_mean_over_the_clips_that_held_a_frame(beyond: str, clips: int):
    """Clips come as they come: 100, 30, 370 ms and more apart, and two that have no frame in common."""
    times, maps, fused = of_clips([0, 100, 130, 500, 1300, 1310], clips, beyond)
    for newest in range(len(times)):
        past = range(max(0, newest - clips + 1), newest + 1)
        span = times[newest][-1] - times[newest][0]
        for frame, time in enumerate(times[newest]):
            total, weights = 0.0, 0.0
            for j in past:
                if times[j][0] <= time <= times[j][-1]:
                    weight = 1.0
                elif time > times[j][-1] and beyond == "hold":
                    weight = max(0.0, times[j][-1] - times[newest][0]) / span
                else:
                    weight = 0.0
                total, weights = total + weight * at(time, times[j], maps[j]), weights + weight
            np.testing.assert_allclose(fused[newest][frame], total / weights, rtol=1e-3, atol=1e-4)


def test_by_the_letter_the_newest_frame_was_in_one_clip_alone():
    _, maps, fused = of_clips([0, 100, 200], beyond="nothing")
    np.testing.assert_allclose(fused[-1][-1], maps[-1][-1], rtol=1e-4, atol=1e-4)
    _, maps, fused = of_clips([0, 100, 200], beyond="hold")
    assert np.abs(fused[-1][-1] - maps[-1][-1]).max() > 0.1


def test_it_smooths():
    """Of noise, n clips leave about one part in the root of n."""
    _, maps, fused = of_clips([40.0 * i for i in range(12)])
    flicker = [np.diff(np.stack([of[-1] for of in which[4:]]), axis=0).std() for which in (fused, maps)]
    assert flicker[0] < 0.5 * flicker[1]


def test_one_clip_for_itself_stays_as_it_is():
    forward = a_forward(random_features(n=3))
    torch.testing.assert_close(fuse(forward, cam(forward)).relevance, upsample(forward, cam(forward)))


def test_another_picture_or_a_clock_set_back_begins_anew():
    memory = Memory()
    forward = a_forward(random_features(n=1))
    for start in (1000, 1100, 500):
        memory.times = tuple(start * MS + i * 50 * MS for i in range(FRAMES))
        fused = fuse(forward, cam(forward), memory=[memory])
    assert len(memory.maps) == 1
    torch.testing.assert_close(fused.relevance, upsample(forward, cam(forward)))
    smaller = a_forward(random_features(n=1), size=(FRAMES, 24, 24))
    memory.times = tuple(time + 1000 * MS for time in memory.times)
    fuse(smaller, cam(smaller), memory=[memory])
    assert len(memory.maps) == 1


def test_after_the_selective_step_the_motion_share_stays():
    forward = a_forward(random_features(n=1))
    memory = Memory()
    memory.times = tuple(range(FRAMES))
    alone = explain(parse("cam | selective(n=1)"), forward, [Memory()])
    assert explain(parse("cam | selective(n=1) | fuse"), replace(forward), [memory]).motion_share == alone.motion_share


def test_live_each_camera_has_a_past_of_its_own(figures: TorchBackend):
    engine = Engine(figures, "cam | fuse(clips=4)", continual=False)
    memories = [Memory(), Memory()]
    rng = np.random.default_rng(0)
    for start in range(3):
        clips = [
            Clip(
                f"camera {i}", 0, start, start + 15, rng.integers(0, 255, (16, 112, 112, 3), np.uint8),
                tuple((start + n) * 66 * MS for n in range(16)), 112, 112, Rect(0, 0, 112, 112),
            )
            for i in range(2)
        ]  # fmt: skip
        explanations = engine.explain(clips, memories)
    assert [len(of.maps) for of in memories] == [3, 3]
    assert explanations[0].map.data != explanations[1].map.data
