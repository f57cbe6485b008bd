"""A camera followed frame by frame: which frame goes into which state, and that maps equal one pass over the frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import rtx
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.engine.engine import Engine
from rtx.engine.stream import LANES, Stream
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip, Window
from rtx.explain.chain import chain_for
from rtx.explain.run import explain
from rtx.link.frames import Frame
from rtx.link.wire import Truth
from rtx.nets import cards
from rtx.nets.causal import Past
from rtx.nets.forward import Forward
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
    to.shrink(each)
    to.add(each)
    clip = to.clip("hall")
    if clip is not None and clip.past is not None:
        clip.past.count += 1
    return clip


def run(to: Stream, fps: float, seconds: float, begin: float = 0.0, epoch: int = 1) -> list[Clip]:
    """The clips that came of a camera of that rate."""
    numbers = range(int(seconds * fps))
    clips = [feed(to, frame((begin + i / fps) * NS_PER_S, i, epoch)) for i in numbers]
    return [clip for clip in clips if clip is not None]


@pytest.mark.parametrize(
    ("fps", "lanes", "of"), [(8, 1, 1), (15, 1, 1), (25, 2, 1), (30, 2, 1), (60, 2, 2), (120, 2, 4)]
)
def test_a_quick_cameras_frames_go_in_turn_into_lanes_that_keep_the_cards_pace(fps: float, lanes: int, of: int):
    clips = run(stream(), fps, 4)
    pasts = {id(clip.past) for clip in clips}
    assert len(pasts) == lanes <= LANES
    assert len(clips) >= 4 * fps / of * 0.74, "of a camera up to 30 a second, every frame is used"
    for past in pasts:
        times = [clip.t_frames[-1] for clip in clips if id(clip.past) == past]
        gaps = np.diff(times) / NS_PER_MS
        assert gaps.min() >= 0.7 * 66.667
        assert gaps.max() <= max(1000 / fps, 1.5 * 66.667) + 1


def test_every_frame_of_thirty_a_second_is_explained_once_the_lanes_are_full():
    clips = run(stream(), 30, 4)
    whole = [clip for clip in clips if clip.whole]
    assert [clip.last_seq for clip in whole] == list(range(30, 120))


def test_nothing_is_said_before_sixteen_frames_were_seen():
    clips = run(stream(), 30, 2)
    assert [clip.whole for clip in clips] == [i >= 30 for i in range(60)]
    assert all(len(clip.t_frames) == 16 for clip in clips if clip.whole)


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
    assert [len(clip.t_frames) for clip in again] == [1, 1, 2, 2, 3, 3]
    assert to.progress() == 3 / 16


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


@pytest.fixture(scope="module")
def figures() -> TorchBackend:
    return rtx.load("figures", device="cpu", threads=1)


@pytest.mark.parametrize("explainer", ["cam", "ksigma(k=2)", "contrast", "cam | selective(n=1)"])
def test_maps_classes_and_features_equal_one_pass_over_all_frames_since_the_reset(
    figures: TorchBackend, explainer: str
):
    """Two lanes, dropped frames, a reset in between; at every frame that is explained."""
    engine = Engine(figures, explainer)
    shots = [film(Cast.draw(seed, held_out=True), 90, 30, 112, 112).frames for seed in (3, 4)]
    to = stream(figures.card.clip)
    lanes: dict[Past, list[np.ndarray]] = {}
    chain, _ = chain_for(explainer, None, engine.labels)
    compared = 0
    for epoch, (number, picture) in itertools.product((0, 1), enumerate(shots[0])):
        if number % 11 == 5:
            continue
        picture = shots[epoch][number]
        each = Frame("hall", epoch, number, int((3 * epoch + number / 30) * NS_PER_S), picture)
        assert to.wants(each)
        to.shrink(each)
        to.add(each)
        clip = to.clip("hall")
        assert clip is not None
        assert clip.past is not None
        fed = lanes.setdefault(clip.past, [])
        fed.append(clip.frames[0])
        batch = engine.run(clip.frames[None], pasts=[clip.past])
        if not clip.whole or number % 7:
            continue
        compared += 1
        expected = _one_pass(figures, np.stack(fed))
        torch.testing.assert_close(batch.forward.features, expected.features, atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.forward.logits, expected.logits, atol=1e-4, rtol=0)
        relevance = explain(chain, expected).relevance
        close = torch.isclose(batch.explained.relevance, relevance, atol=1e-4, rtol=1e-4)
        # A threshold turns a difference in the last digit into a cell marked or not.
        assert close.float().mean() >= (0.999 if "sigma" in explainer or "selective" in explainer else 1.0)
    assert compared > 10


def _one_pass(backend: TorchBackend, frames: np.ndarray) -> Forward:
    """The reference: all frames with nothing before them, pooled and explained over the last 16."""
    with torch.inference_mode():
        features = backend.network.extract(backend.normalise(frames[None]))[:, :, -16:]
        logits = backend.network.classify(features)
    return Forward(
        clip=torch.zeros(1, 3, 16, 112, 112), features=features, logits=logits, weight=backend.network.weight,
        pooling=backend.network.pooling(16), target=logits.argmax(1),
        cells=backend.network.cells((16, 112, 112)), frames=16,
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
