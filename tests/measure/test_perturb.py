"""Insertion, deletion and cascading randomisation: on a score that is known, and on the hall's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import rtx
from rtx.engine.torch_backend import TorchBackend
from rtx.explain.chain import chain_for
from rtx.explain.placing import upsample
from rtx.explain.run import explain
from rtx.measure.perturb import BASELINES, SIGMA, blurred, cascade, deletion, frozen, insertion, mean
from rtx.measure.similarity import rank_correlation

SHAPE = (2, 3, 4, 6, 8)


@pytest.fixture
def clip() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))


@pytest.fixture
def weight() -> Tensor:
    """What counts in the score: some voxels more than others."""
    return torch.from_numpy(np.random.default_rng(1).random(SHAPE[2:]).astype(np.float32))


def slow_curve(score, begin: Tensor, end: Tensor, relevance: Tensor, steps: int) -> list[float]:
    """One clip: voxel by voxel, the most relevant first."""
    order = sorted(np.ndindex(*relevance.shape), key=lambda at: -float(relevance[at]))
    scores = []
    for step in range(steps + 1):
        changed = begin.clone()
        for t, y, x in order[: round(len(order) * step / steps)]:
            changed[:, t, y, x] = end[:, t, y, x]
        scores.append(float(score(changed[None])[0]))
    return scores


@pytest.mark.parametrize("baseline", BASELINES)
def test_curves_as_they_are_defined(clip: Tensor, weight: Tensor, baseline: str):
    def score(of: Tensor) -> Tensor:
        return torch.tanh((of * weight).mean(dim=(1, 2, 3, 4)))

    other = BASELINES[baseline](clip)
    relevance = torch.from_numpy(np.random.default_rng(2).normal(size=(2, *SHAPE[2:])))
    for measure, begin, end in ((deletion, clip, other), (insertion, other, clip)):
        curve = measure(score, clip, relevance, other, steps=7)
        for i in range(2):
            expected = slow_curve(score, begin[i], end[i], relevance[i], 7)
            np.testing.assert_allclose(curve.scores[i], expected, atol=1e-6)
            assert float(curve.area[i]) == pytest.approx(np.trapezoid(expected, dx=1 / 7), abs=1e-6)


def test_the_map_that_knows_the_score_is_best_and_its_opposite_worst(weight: Tensor):
    """Of a score that counts bright voxels by weight, over a black baseline."""
    clip = torch.ones(SHAPE)
    black = torch.zeros(SHAPE)

    def score(of: Tensor) -> Tensor:
        return (of * weight).mean(dim=(1, 2, 3, 4)) / weight.mean()

    known = weight.expand(2, *SHAPE[2:])
    chance = torch.from_numpy(np.random.default_rng(3).random((2, *SHAPE[2:])))
    removed = [float(deletion(score, clip, of, black).area[0]) for of in (known, chance, -known)]
    put_in = [float(insertion(score, clip, of, black).area[0]) for of in (known, chance, -known)]
    assert removed == sorted(removed)
    assert put_in == sorted(put_in, reverse=True)
    assert removed[1] == pytest.approx(0.5, abs=0.05)
    assert removed[0] + put_in[0] == pytest.approx(1.0, abs=0.05)
    first, last = deletion(score, clip, known, black).scores[0][[0, -1]].tolist()
    assert (first, last) == (pytest.approx(1.0), pytest.approx(0.0))


def test_what_is_equally_relevant_goes_by_lot():
    """Else a map of one voxel would be as good as one of the whole first half, or as bad."""
    clip, black = torch.ones(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)
    single = torch.zeros(1, 8, 8, 8)
    single[0, 4, 4, 4] = 1
    halves = (slice(None, 4), slice(4, None))
    areas = [float(deletion(lambda of, half=half: of[:, :, half].mean(dim=(1, 2, 3, 4)), clip, single, black).area[0])
             for half in halves]  # fmt: skip
    assert areas == pytest.approx([0.5, 0.5], abs=0.03)


def test_the_baselines(clip: Tensor):
    still = frozen(clip)
    assert all((still[:, :, t] == clip[:, :, 2]).all() for t in range(SHAPE[2]))
    assert (mean(clip).std(dim=(2, 3, 4)) == 0).all()
    torch.testing.assert_close(mean(clip).mean(dim=(2, 3, 4)), clip.mean(dim=(2, 3, 4)))
    larger = torch.from_numpy(np.random.default_rng(4).normal(size=(1, 3, 2, 40, 60)))
    expected = ndimage.gaussian_filter(
        larger.numpy(), SIGMA * 40, axes=(3, 4), mode="nearest", radius=int(3 * SIGMA * 40) + 1
    )
    np.testing.assert_allclose(blurred(larger), expected, atol=1e-9)


def test_layers_are_drawn_anew_from_the_last_one_on_and_the_network_stays():
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6))
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    seen = []
    for name, drawn in cascade(network, ["0", "2"]):
        changed = {key for key, weight in drawn.named_parameters() if not torch.equal(weight, before[key])}
        seen.append((name, changed))
        for key, weight in drawn.named_parameters():
            torch.testing.assert_close(weight.flatten().sort()[0], before[key].flatten().sort()[0])
    assert seen == [("2", {"2.weight", "2.bias"}), ("0", {"0.weight", "0.bias", "2.weight", "2.bias"})]
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())
    again = [copy.state_dict()["2.weight"] for _, copy in cascade(network, ["2"])]
    assert torch.equal(again[0], next(iter(cascade(network, ["2"])))[1].state_dict()["2.weight"]), "the seed says how"


@pytest.mark.thorough
def test_cam_of_the_halls_network_is_more_faithful_than_chance(figures: TorchBackend):
    """Deleted where it is hot, the action's score falls sooner than where it is not."""
    frames = np.stack([rtx.read_clip(f"scene:hall?seed={seed}", figures, 6.0).clip.frames for seed in range(3, 6)])
    forward = figures.forward(frames, [None] * len(frames))
    chain, _ = chain_for("cam", None, figures.labels)
    relevance = upsample(forward, explain(chain, forward).relevance)
    targets = forward.target

    def score(clips: Tensor) -> Tensor:
        with torch.no_grad():
            return forward.whole.run(clips)[1].softmax(dim=1).gather(1, targets[:, None])[:, 0]

    baseline = blurred(forward.clip)
    chance = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(0))
    maps = relevance, -relevance, chance
    hot, cold, by_chance = (deletion(score, forward.clip, of, baseline, 5).area for of in maps)
    assert hot.mean() < cold.mean() - 0.1
    soon, late = (insertion(score, forward.clip, of, baseline, 5).area for of in maps[:2])
    assert soon.mean() > late.mean() + 0.1
    assert (hot < by_chance).double().mean() >= 0.5
    assert rank_correlation(relevance, relevance).min() > 0.999
