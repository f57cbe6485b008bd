"""Measures against Quantus (Hedström et al. 2023), where that measures the same: pictures, one frame at a time."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtx.measure.localisation import widened
from rtx.measure.perturb import deletion
from rtx.measure.places import place

FRAMES, SIZE = 5, 28


@pytest.fixture
def quantus(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # Where zennit is installed, Quantus imports it, and that imports torchvision, which is not here.
    monkeypatch.setitem(sys.modules, "zennit", None)
    return pytest.importorskip("quantus")


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((FRAMES, SIZE, SIZE)).astype(np.float32) ** 8


@pytest.fixture
def region() -> np.ndarray:
    mask = np.zeros((FRAMES, SIZE, SIZE), bool)
    for number, frame in enumerate(mask):
        frame[4 : 16 + number, 3 : 20 - number] = True
    return mask


def asked(metric, maps: np.ndarray, region: np.ndarray) -> list[float]:
    """A frame is one of its samples."""
    said = metric(
        model=None, x_batch=maps[:, None], y_batch=np.zeros(len(maps), int), a_batch=maps[:, None],
        s_batch=region[:, None],
    )  # fmt: skip
    return [float(of) for of in said]


def test_the_hit_rate_is_that_of_the_pointing_game(quantus: ModuleType, maps: np.ndarray, region: np.ndarray):
    wide = np.stack([widened(frame) for frame in region])
    said = asked(quantus.PointingGame(abs=False, normalise=False, disable_warnings=True), maps, wide)
    assert 0 < np.mean(said) < 1
    found = place(torch.from_numpy(maps)[None], torch.from_numpy(region)[None])
    assert float(found.hit) == np.mean(said)


def test_the_share_of_relevance_is_its_relevance_mass_accuracy(
    quantus: ModuleType, maps: np.ndarray, region: np.ndarray
):
    """Of one frame each: over a clip, all frames' relevance counts together."""
    metric = quantus.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True)
    said = asked(metric, maps, region)
    found = place(torch.from_numpy(maps)[:, None], torch.from_numpy(region)[:, None])
    np.testing.assert_allclose(found.ratio.numpy() * region.mean(axis=(1, 2)), said, rtol=1e-5)


class Score(nn.Module):
    """Two classes, by weights that are known, of pictures N 1 H W."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, pictures: Tensor) -> Tensor:
        said = torch.tanh((pictures * self.weight).sum(dim=(1, 2, 3)))
        return torch.stack((said, -said), dim=1)


def test_deletion_is_its_pixel_flipping(quantus: ModuleType):
    """Every pixel is a step; a clip of one frame is a picture."""
    random = np.random.default_rng(1)
    pictures = random.random((2, 1, 6, 5), np.float32)
    pictures[:, :, 0, 0] = 0  # What it puts in is the least of a picture.
    relevance = random.normal(size=(2, 6, 5)).astype(np.float32)
    score = Score(torch.from_numpy(random.random((6, 5), np.float32) / 15)).eval()
    metric = quantus.PixelFlipping(
        features_in_step=1, abs=False, normalise=False, perturb_baseline="black", disable_warnings=True
    )
    said = metric(
        model=score, x_batch=pictures, y_batch=np.zeros(2, int), a_batch=relevance[:, None], device="cpu", softmax=False
    )
    clip = torch.from_numpy(pictures)[:, :, None]
    with torch.inference_mode():
        curve = deletion(
            lambda clips: score(clips[:, :, 0])[:, 0], clip, torch.from_numpy(relevance)[:, None], 0 * clip, steps=30
        )
    np.testing.assert_allclose(curve.scores[:, 1:], said, atol=1e-5)
