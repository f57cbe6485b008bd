"""Every explainer on I3D with its real weights and on real clips, against loops and other packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import rtx
from benchmarks.peers import torch_cam
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import PAD_VALUE
from rtx.explain.features import ksigma
from rtx.explain.placing import upsample
from rtx.explain.registry import DECLARED, parse
from rtx.explain.run import explain
from rtx.nets.forward import Forward

EVERY = [name for name, of in DECLARED.items() if not of.is_step]
NAMES = ("arm_wrestling.mp4", pytest.param("hitting_baseball.mp4", marks=pytest.mark.thorough))


@pytest.fixture(scope="module", params=NAMES)
def clip(request: pytest.FixtureRequest, clips: Path) -> np.ndarray:
    return rtx.read_clip(clips / request.param, "i3d-k400").clip.frames


def a_pass(i3d: TorchBackend, *clips: np.ndarray) -> Forward:
    return i3d.forward(np.stack(clips), [None] * len(clips))


ALWAYS = ("cam", "ksigma", "grad_cam", "excitation_backprop", "dtd")
"""One of each way of explaining."""


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.thorough) for name in EVERY]
)
def test_each_finds_evidence_where_it_is_done(i3d: TorchBackend, clips: Path, name: str):
    """Two arms wrestle in the middle of the picture: there all that ask for the class at each place must look."""
    forward = a_pass(i3d, rtx.read_clip(clips / "arm_wrestling.mp4", "i3d-k400").clip.frames)
    explained = explain(parse(name), forward)
    relevance = explained.relevance
    assert explained.evidence == [True]
    assert torch.isfinite(relevance).all()
    assert relevance.shape in ((1, 4, 7, 7), (1, 16, 224, 224))
    assert relevance.dtype == torch.float32
    if DECLARED[name].class_blind or name in ("cam3d", "pyramid"):
        return
    positive = upsample(forward, relevance).clamp(min=0)
    share = float(positive[:, :, 40:170, 50:180].sum() / positive.sum())
    assert share > 1.3 * 130 * 130 / 224**2


def test_the_score_is_shared_out_whole(i3d: TorchBackend, clip: np.ndarray):
    forward = a_pass(i3d, clip)
    made = DECLARED["dtd"].function(forward)
    score = float(forward.logits.max())
    assert made.relevance.min() >= 0
    assert float(made.relevance.double().sum()) == pytest.approx(score * (1 - float(made.lost)), rel=1e-5)
    assert float(made.lost) < 0.01


@pytest.mark.thorough
@pytest.mark.parametrize("clip", ["arm_wrestling.mp4"], indirect=True)
def test_cam_contrast_and_excitation_are_their_sums(i3d: TorchBackend, clip: np.ndarray):
    forward = a_pass(i3d, clip)
    a, w = forward.features[0].double().numpy(), i3d.network.weight.double().numpy()
    best, second = forward.logits[0].topk(2).indices.tolist()
    cams = {c: sum(w[c, k] * a[k] for k in range(len(a))) for c in (best, second)}
    np.testing.assert_allclose(DECLARED["cam"].function(forward)[0], cams[best], rtol=1e-3, atol=1e-3)
    contrast = DECLARED["contrast"].function(forward)[0]
    np.testing.assert_allclose(contrast, cams[best] - cams[second], rtol=1e-3, atol=1e-3)

    frames = np.array([1, 2, 2, 1]) / 6 * 4  # How the head weighs them.
    expected = np.zeros(a.shape[1:])
    up = np.maximum(w[best], 0)
    weighted = a * frames[:, None, None]
    for k in range(len(a)):
        if weighted[k].sum() > 0:
            share = up[k] * weighted[k].sum() / sum(up[j] * weighted[j].sum() for j in range(len(a)))
            expected += share * weighted[k] / weighted[k].sum()
    np.testing.assert_allclose(DECLARED["excitation_backprop"].function(forward).relevance[0], expected, rtol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("clip", ["arm_wrestling.mp4"], indirect=True)
@pytest.mark.parametrize(("name", "peer"), [("grad_cam", "GradCAM"), ("layer_cam", "LayerCAM")])
def test_what_other_packages_do_rightly_is_the_same(i3d: TorchBackend, clip: np.ndarray, name: str, peer: str):
    pytest.importorskip("torchcam", reason="pip install --no-deps torchcam==0.5.0")
    forward = a_pass(i3d, clip)
    theirs = torch_cam(i3d.network, "stages.Mixed_5c", peer)(forward.clip.clone(), int(forward.target))
    ours = DECLARED[name].function(forward)
    torch.testing.assert_close(ours, theirs.reshape(ours.shape), rtol=1e-3, atol=1e-3 * float(ours.max()))


@pytest.mark.thorough
@pytest.mark.parametrize("clip", ["arm_wrestling.mp4"], indirect=True)
def test_saliency_is_the_slope_of_the_score(i3d: TorchBackend, clip: np.ndarray):
    """Where the slope is steepest, it is what a small step there makes of the score."""
    forward = a_pass(i3d, clip)
    found = DECLARED["saliency"].function(forward)[0]
    t, y, x = np.unravel_index(int(found.argmax()), found.shape)
    target, step = int(forward.target), 0.002
    slopes = []
    with torch.inference_mode():
        for colour in range(3):
            scores = []
            for sign in (1, -1):
                changed = forward.clip.clone()
                changed[0, colour, t, y, x] += sign * step
                scores.append(float(i3d.network(changed)[0, target]))
            slopes.append(abs(scores[0] - scores[1]) / (2 * step))
    assert max(slopes) == pytest.approx(float(found[t, y, x]), rel=0.05)


@pytest.mark.thorough
def test_a_batch_of_three_is_three_clips(i3d: TorchBackend, clips: Path):
    clip = rtx.read_clip(clips / "arm_wrestling.mp4", "i3d-k400").clip.frames
    three = (clip, clip[:, :, ::-1], clip[::-1])
    together = a_pass(i3d, *three)
    passes = [a_pass(i3d, one) for one in three]
    for name in ("pyramid", "ksigma"):
        maps = DECLARED[name].function(together)
        for i, one in enumerate(passes):
            alone = explain(parse(name), one).relevance[0]
            # Sums are rounded otherwise in a batch, and a cell that lies on a threshold may fall on either side of it.
            assert np.corrcoef(maps[i].flatten(), alone.flatten())[0, 1] > 0.9999, name


def test_of_i3d_one_cell_is_the_strongest_whatever_is_shown(i3d: TorchBackend, clips: Path):
    """TRUTH.md says what follows; a half of what K-sigma finds lies about it."""
    shown = rtx.read_clip(clips / "hitting_baseball.mp4", "i3d-k400").clip.frames
    for frames in (shown, np.full_like(shown, 120)):
        strength = a_pass(i3d, frames).features[0].float().mean(dim=0)
        assert np.unravel_index(int(strength.argmax()), strength.shape) == (3, 1, 6)
        assert strength.max() > 20 * strength.median()
    relevance = DECLARED["ksigma"].function(a_pass(i3d, shown))[0].clamp(min=0)
    about = relevance[2:, :4, 4:]
    assert about.numel() < relevance.numel() / 8
    assert about.sum() / relevance.sum() > 0.4
    weighed = DECLARED["cam"].function(a_pass(i3d, shown))[0].clamp(min=0)
    assert weighed[2:, :4, 4:].sum() / weighed.sum() < 0.15


def test_less_what_rests_that_cell_is_no_longer_on_show(i3d: TorchBackend, clips: Path):
    for file in ("arm_wrestling.mp4", "hitting_baseball.mp4"):
        forward = a_pass(i3d, rtx.read_clip(clips / file, "i3d-k400").clip.frames)
        plain, left = (ksigma(forward, rest=rest)[0] for rest in (False, True))
        about = [float(of[2:, :4, 4:].sum() / of.sum()) for of in (plain, left)]
        assert about[0] > 0.3 > 0.2 > about[1], (file, about)
    grey = a_pass(i3d, np.full((16, 224, 224, 3), PAD_VALUE, np.uint8))
    assert float(ksigma(grey, rest=True).max()) < 0.01 * float(left.max())
