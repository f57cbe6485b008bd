"""A clip that somebody looks at closely: its frames, its whole map, and its pyramid as a tree."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from rtx.config import Camera
from rtx.engine.engine import Engine, Found
from rtx.engine.held import frames_of, held, tree_of
from rtx.engine.stream import Stream
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.worker import Watched
from rtx.engine.worker import _hold as hold
from rtx.errors import UserError
from rtx.explain.pyramid import tree
from rtx.link.frames import Frame
from rtx.link.wire import Held, HeldClip, Hold, pack, unpack_held
from rtx.process import Report
from tests.engine.test_engine import a_clip


def a_found(figures: TorchBackend, explainer: str = "cam", seed: int = 0) -> Found:
    return Engine(figures, explainer, continual=False).find([a_clip(seed=seed)])[0]


def test_frames_are_those_that_the_network_saw(figures: TorchBackend):
    found = a_found(figures)
    clip = held(found)
    assert len(clip.frames) == 16
    for jpeg, seen in zip(clip.frames, found.clip.frames, strict=True):
        shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(shown.astype(int) - seen).mean() < 8
    assert clip.explanation.t_frames == found.clip.t_frames


@pytest.mark.parametrize("explainer", ["cam", "grad_cam", "saliency", "cam | selective(n=1)"])
def test_the_map_is_that_of_all_frames(figures: TorchBackend, explainer: str):
    """Live, one of clip resolution has its newest frame only."""
    found = a_found(figures, explainer)
    whole = held(found).explanation.map.array()
    assert len(whole) == 16
    live = found.explanation.map.array()
    np.testing.assert_allclose(whole[-1], live[-1], rtol=2e-3, atol=2e-3 * np.abs(whole).max())
    small = torch.nn.functional.adaptive_avg_pool2d(found.relevance, whole.shape[1:]).numpy()
    np.testing.assert_allclose(whole, small, rtol=2e-3, atol=2e-3 * np.abs(whole).max())


def test_of_a_stream_the_frames_are_those_that_went_by(figures: TorchBackend):
    engine, card = Engine(figures, "cam"), figures.card
    stream = Stream(card.clip, (0.0, 0.0, 1.0, 1.0), "crop")
    fed = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), np.uint8)
    for seq, pixels in enumerate(fed):
        frame = Frame("c", 0, seq, int(seq * card.clip.stride_ms * 1e6), pixels)
        stream.shrink(frame)
        stream.add(frame)
        clip = stream.clip("c")
        assert clip is not None
        found = engine.find([clip])[0]
    np.testing.assert_array_equal(frames_of(found), fed[-16:])
    assert len(held(found).frames) == len(found.clip.t_frames) == len(held(found).explanation.map.array()) == 16


def test_a_tree_is_the_pyramid_level_by_level(figures: TorchBackend):
    engine = Engine(figures, "cam", continual=False)
    found = engine.find([a_clip()])[0]
    layers = tree_of(engine, found)
    target = engine.labels.index(str(found.explanation.target))
    forward = figures.forward(found.clip.frames[None], [target])
    root = tree(forward, forward.theta, 2)
    assert layers[0].below == -1
    assert layers[0].channels == int(root.channels.sum())
    np.testing.assert_allclose(layers[0].map.array(), root.relevance[0].numpy(), rtol=1e-4, atol=1e-5)
    children = [layer for layer in layers if layer.below == 0]
    assert [of.channels for of in children] == [int(of.channels.sum()) for of in root.below]
    for layer in layers:
        shares = [share for _, share in layer.strongest]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-6
        assert max(layer.map.shape[1:]) <= 28
    assert unpack_held(pack(Held(1, held(found, layers)))).clip == held(found, layers)


def test_a_map_that_is_made_smaller_keeps_its_place(figures: TorchBackend):
    """Cells that are averaged lie in the middle of what they were."""
    engine = Engine(figures, "cam", continual=False)
    found = engine.find([a_clip(size=112)])[0]
    deep = [layer.map for layer in tree_of(engine, found)]
    for layer in deep:
        for axis, size in ((1, 112), (2, 112)):
            last = layer.cells.centre[axis] + (layer.shape[axis] - 1) * layer.cells.stride[axis]
            assert layer.cells.centre[axis] == pytest.approx(size - 1 - last, abs=layer.cells.stride[axis])


def test_a_tree_needs_layers_that_can_be_read(figures: TorchBackend):
    import rtx

    engine = Engine(rtx.load("figures", backend="openvino"), "cam", continual=False)
    with pytest.raises(UserError, match="backend 'openvino' gives features only"):
        tree_of(engine, engine.find([a_clip()])[0])


class Worker:
    """What the worker knows of one camera, and the clips that it keeps for viewers."""

    def __init__(self, figures: TorchBackend):
        self.engine = Engine(figures, "cam", continual=False)
        self.watched = Watched.__new__(Watched)
        self.watched.camera, self.watched.found = Camera(source="synthetic:", name="c"), None
        self.kept: deque[Found] = deque(maxlen=2)

    def explain(self, seed: int) -> Found:
        found = self.engine.find([replace(a_clip(seed=seed), last_seq=100 + seed)])[0]
        self.watched.found = found
        return found

    def asked(self, tree: tuple[int, int] | None = None, camera: str = "c") -> HeldClip | str:
        answer = hold(Hold(5, camera, tree), self.engine, [self.watched], self.kept, Report("worker"))
        assert answer.number == 5
        return answer.clip or answer.refused


def test_a_clip_is_kept_for_its_tree_while_others_come(figures: TorchBackend):
    worker = Worker(figures)
    assert worker.asked() == "no clip of c was explained yet"
    worker.explain(1)
    first = worker.asked()
    worker.explain(2)
    assert isinstance(first, HeldClip)
    again = worker.asked((7, 101))
    assert isinstance(again, HeldClip)
    assert again.frames == first.frames
    assert again.tree
    assert worker.asked((7, 102)) == "this clip is not kept any more; hold another one"
    assert worker.asked(camera="d") == "no clip of d was explained yet"
