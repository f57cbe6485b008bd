"""A camera followed frame by frame: which frame goes into which state, and that maps equal one pass over the frames."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import rtx
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.engine.engine import Batch, Engine
from rtx.engine.stream import Stream
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import PAD_VALUE, Clip, Window
from rtx.explain.chain import chain_for
from rtx.explain.run import explain
from rtx.link.frames import Frame
from rtx.link.wire import Truth
from rtx.nets import cards
from rtx.nets.causal import Past
from rtx.nets.forward import Forward, Outcome
from rtx.scenes.film import film
from rtx.scenes.scene import Cast

SPEC = cards.Clip(frames=16, stride_ms=66.667, size=16, mean=(0, 0, 0), std=(1, 1, 1))
WHOLE = (0.0, 0.0, 1.0, 1.0)
START = 50 * NS_PER_S


def stream(spec: cards.Clip = SPEC) -> Stream:
    return Stream(spec, WHOLE, "crop")


def frame(t: float, seq: int, epoch: int = 1, truth: Truth | None = None) -> Frame:
    return Frame("hall", epoch, seq, int(START + t), np.full((18, 32, 3), seq % 256, np.uint8), truth)


def feed(to: Stream | Window, each: Frame) -> Clip | None:
    """What the worker does with a frame; the state then remembers it."""
    if not to.wants(each):
        return None
    clip = given(to, each)
    if clip is not None and clip.past is not None:
        clip.past.count += 1
    return clip


def given(to: Stream | Window, each: Frame) -> Clip | None:
    to.shrink(each)
    to.add(each)
    return to.clip("hall")


def run(to: Stream, fps: float, seconds: float, begin: float = 0.0, epoch: int = 1) -> list[Clip]:
    """The clips that came of a camera of that rate."""
    numbers = range(int(seconds * fps))
    clips = [feed(to, frame((begin + i / fps) * NS_PER_S, i, epoch)) for i in numbers]
    return [clip for clip in clips if clip is not None]


def lanes_of(clips: list[Clip]) -> dict[int, list[float]]:
    """By state, the times in ms of the frames that went into it itself."""
    lanes: dict[int, list[float]] = {}
    for clip in clips:
        lanes.setdefault(id(clip.past), []).append(clip.t_frames[-1] / NS_PER_MS)
    return lanes


@pytest.mark.parametrize(
    ("fps", "lanes", "of"),
    [(1, 1, 1), (8, 1, 1), (15, 1, 1), (20, 1, 1), (25, 2, 1), (30, 2, 1), (60, 2, 2), (120, 2, 3)],
)
def test_a_quick_cameras_frames_go_in_turn_into_two_states_near_the_cards_pace(fps: float, lanes: int, of: int):
    clips = run(stream(), fps, max(4, 30 / fps))
    found = lanes_of(clips[20:])
    assert len(found) == lanes
    for times in found.values():
        np.testing.assert_allclose(np.diff(times), lanes * of * 1000 / fps, atol=0.01)
    assert [clip.last_seq % of for clip in clips] == [0] * len(clips)


@pytest.mark.parametrize("fps", [1, 2, 3, 8, 15, 20, 25, 30])
def test_every_frame_is_explained_once_sixteen_were_seen_whatever_the_rate(fps: float):
    clips = run(stream(), fps, 60 / fps)
    assert len(clips) == 60
    first = [clip.whole for clip in clips].index(True)
    assert all(clip.whole for clip in clips[first:])
    assert first == 15, "a second state begins with what the first has seen"


@dataclass
class Load:
    """A camera whose frames come early or late, some not at all, and a worker that takes its time."""

    fps: float
    jitter_ms: float
    work_ms: float
    lost: float = 0.0


@pytest.mark.parametrize(
    "load",
    [
        Load(15, 5, 5), Load(18, 2, 5), Load(18, 5, 5), Load(19, 2, 5), Load(20, 5, 5), Load(22, 5, 5), Load(30, 5, 5),
        Load(30, 5, 60), Load(25, 5, 80), Load(60, 5, 60), Load(30, 2, 5, lost=0.4), Load(30, 5, 33), Load(2, 20, 5),
    ],
    ids=str,
)  # fmt: skip
def test_no_jitter_load_or_loss_makes_a_stream_forget(load: Load):
    """Whatever was taken is explained, once a clip was seen, and by states that live on."""
    random, to, clips = np.random.default_rng(1), stream(), []
    free_at = 0.0
    for number in range(int(60 * load.fps)):
        at = 1000 * number / load.fps
        if clips and free_at < at and (clip := to.clip("hall")):  # It waited while the worker was busy.
            clips.append(clip)
            free_at += load.work_ms * random.uniform(0.85, 1.15)
        if random.random() < load.lost:
            continue
        each = frame((at + random.uniform(-1, 1) * load.jitter_ms) * NS_PER_MS, number)
        if to.wants(each):
            to.shrink(each)
            to.add(each)
        if free_at <= at and (clip := to.clip("hall")):
            clips.append(clip)
            free_at = at + load.work_ms * random.uniform(0.85, 1.15)
    whole = [clip.whole for clip in clips]
    assert len(clips) >= 0.8 * min(40 * load.fps * (1 - load.lost), 60e3 / max(load.work_ms, 1)), "most can be taken"
    assert all(whole[16:])


def test_a_clip_names_the_frames_of_its_own_lane():
    clip = run(stream(), 30, 3)[-1]
    assert clip.last_seq == 89
    assert clip.first_seq == 89 - 2 * 15
    np.testing.assert_allclose(np.diff(clip.t_frames) / NS_PER_MS, 66.667, atol=0.01)
    assert clip.frames.shape == (1, 16, 16, 3)
    assert (clip.frames == 89).all()


def test_a_new_epoch_starts_anew():
    to = stream()
    run(to, 30, 3)
    again = run(to, 30, 0.2, begin=3, epoch=2)
    assert [len(clip.t_frames) for clip in again] == [1, 2, 3, 4, 5, 6]
    assert to.progress() == 6 / 16


def test_a_picture_of_another_size_starts_anew():
    to = stream()
    run(to, 30, 3)
    clip = feed(to, Frame("hall", 1, 90, int(START + 3.0 * NS_PER_S), np.zeros((20, 32, 3), np.uint8), None))
    assert clip is not None
    assert len(clip.t_frames) == 1


def test_a_gap_starts_anew_and_a_lost_frame_does_not():
    to = stream()
    run(to, 30, 3)
    after_one_lost = feed(to, frame(3.034 * NS_PER_S, 91))
    assert after_one_lost is not None
    assert after_one_lost.whole
    after_a_gap = feed(to, frame(3.6 * NS_PER_S, 100))
    assert after_a_gap is not None
    assert not after_a_gap.whole


def test_an_emptied_stream_starts_anew():
    to = stream()
    run(to, 30, 3)
    to.empty()
    assert to.newest() is None
    assert to.progress() == 0
    assert not run(to, 30, 0.1, begin=3)[0].whole


def test_the_newest_frame_wins_and_the_others_are_counted():
    to = stream()
    for i in range(3):
        each = frame(i * NS_PER_S / 30, i)
        assert to.wants(each)
        to.shrink(each)
        to.add(each)
    clip = to.clip("hall")
    assert clip is not None
    assert clip.last_seq == 2
    assert to.overload == 2
    assert to.clip("hall") is None


def test_the_truth_goes_with_its_frame():
    truth = Truth("wave one hand", ("left_upper_arm",), ())
    for to in (stream(), Window(cards.Clip(1, 66.667, 16, (0, 0, 0), (1, 1, 1)), WHOLE, "crop")):
        feed(to, frame(0, 0))
        clip = feed(to, frame(NS_PER_S / 15, 1, truth=truth))
        assert clip is not None
        assert clip.truth == truth


@pytest.mark.parametrize("explainer", [pytest.param("ksigma(k=2)", marks=pytest.mark.thorough), "cam | selective(n=1)"])
def test_maps_classes_and_features_equal_one_pass_over_all_frames_since_the_reset(
    figures: TorchBackend, explainer: str
):
    """One lane that becomes two, dropped frames, a reset in between; at every frame that is explained."""
    engine = Engine(figures, explainer)
    shots = [film(Cast.draw(seed, held_out=True), 90, 30, 112, 112).frames for seed in (3, 4)]
    to = stream(figures.card.clip)
    chain, _ = chain_for(explainer, None, engine.labels)
    fed: dict[Past, list[np.ndarray]] = {}
    told: list[tuple[Past, int, Batch]] = []
    for epoch, number in itertools.product((0, 1), range(90)):
        if number % 11 == 5:
            continue
        each = Frame("hall", epoch, number, int((3 * epoch + number / 30) * NS_PER_S), shots[epoch][number])
        clip = given(to, each)
        assert clip is not None
        assert clip.past is not None
        past = clip.past
        if past not in fed:  # A state that has seen something already began as a copy of another.
            fed[past] = list(fed.values())[-1][: past.count] if past.count else []
        fed[past].append(clip.frames[0])
        batch = engine.run(clip.frames[None], pasts=[past])
        if clip.whole:
            told.append((past, past.count, batch))
    assert len(told) > 110
    assert len(fed) == 4
    whole = {past: _features(figures, np.stack(frames)) for past, frames in fed.items()}
    for past, count, batch in told:
        expected = _forward(figures, whole[past][:, :, count - 16 : count])
        torch.testing.assert_close(batch.forward.features, expected.features, atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.forward.logits, expected.logits, atol=1e-4, rtol=0)
        relevance = explain(chain, expected).relevance
        close = torch.isclose(batch.explained.relevance, relevance, atol=1e-4, rtol=1e-4)
        # A threshold turns a difference in the last digit into a cell marked or not.
        assert close.float().mean() >= (0.999 if "sigma" in explainer or "selective" in explainer else 1.0)


def test_at_rest_a_stream_is_grey_since_long_ago_and_a_clip_since_it_began(figures: TorchBackend):
    """Of grey frames nothing is left, however they are seen; a clip's first frames have seen less than a stream's."""
    grey = np.full((60, 112, 112, 3), PAD_VALUE, np.uint8)
    engine, to = Engine(figures, "ksigma(rest=True)"), stream(figures.card.clip)
    for number, picture in enumerate(grey):
        clip = given(to, Frame("hall", 0, number, int(number / 15 * NS_PER_S), picture))
        assert clip is not None
        batch = engine.run(clip.frames[None], pasts=[clip.past] if clip.past else None)
    torch.testing.assert_close(batch.forward.features, batch.forward.rest, atol=1e-4, rtol=0)
    assert float(batch.explained.relevance.max()) < 1e-3
    alone = figures.forward(grey[None, :16], [None])
    torch.testing.assert_close(alone.features, alone.rest, atol=1e-5, rtol=0)
    assert (alone.rest - batch.forward.rest).abs().max() > 1e-2


@torch.inference_mode()
def _features(backend: TorchBackend, frames: np.ndarray) -> torch.Tensor:
    """The reference: one pass over all frames of a state, with nothing before them."""
    return backend.network.extract(backend.normalise(frames[None]))


@torch.inference_mode()
def _forward(backend: TorchBackend, features: torch.Tensor) -> Forward:
    """Its last 16 feature frames, pooled and explained."""
    logits = backend.network.classify(features)
    return Forward(
        clip=torch.zeros(1, 3, 16, 112, 112), wanted=[None], weight=backend.network.weight,
        pooling=backend.network.pooling(16), cells=backend.network.cells((16, 112, 112)), frames=16,
        done=[Outcome(features, logits)],
    )  # fmt: skip


def test_turned_off_the_same_network_runs_clip_by_clip(figures: TorchBackend):
    engine = Engine(figures, "cam", continual=False)
    assert not engine.follows
    assert Engine(figures, "cam").follows
    window = Window(figures.card.clip, WHOLE, "crop")
    shot = film(Cast.draw(5, held_out=True), 40, 15, 112, 112)
    for number, picture in enumerate(shot.frames):
        clip = feed(window, Frame("hall", 1, number, int(number * NS_PER_S / 15), picture))
    assert clip is not None
    explanation = engine.explain([clip])[0]
    np.testing.assert_allclose(
        explanation.map.array(), rtx.explain(figures, shot.frames[-16:], "cam").relevance, rtol=1e-4, atol=1e-4
    )
