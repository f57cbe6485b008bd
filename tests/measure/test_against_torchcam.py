"""Insertion and deletion against torch-cam's metric, which takes clips as they are: N C T H W."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtx.measure.perturb import BASELINES, deletion, insertion

SHAPE = (3, 2, 4, 6, 5)
STEPS = 10


@pytest.fixture
def metrics() -> ModuleType:
    return pytest.importorskip("torchcam.metrics")


class Scores(nn.Module):
    """Two classes of clips N C T H W, by weights that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.random.default_rng(0).normal(size=SHAPE[1:])))

    def forward(self, clips: Tensor) -> Tensor:
        said = torch.tanh((clips * self.weight).sum(dim=(1, 2, 3, 4)) / 8)
        return torch.stack((said, -said), dim=1)


class Given:
    """Stands where torch-cam has its extractor: these maps, whoever asks."""

    def __init__(self, model: nn.Module, maps: Tensor):
        self.model, self._maps = model, maps

    def __call__(self, class_idx: object = None, scores: object = None) -> list[Tensor]:
        return [self._maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_areas_are_its_areas(metrics: ModuleType, baseline: str):
    random = np.random.default_rng(1)
    clips, maps = (torch.from_numpy(random.normal(size=shape)) for shape in (SHAPE, (SHAPE[0], *SHAPE[2:])))
    scores = Scores()
    theirs = metrics.DeletionInsertionMetric(Given(scores, maps), steps=STEPS, baseline=BASELINES[baseline])
    theirs.update(clips, 1)
    said = theirs.summary()

    def score(of: Tensor) -> Tensor:
        return scores(of)[:, 1]

    with torch.inference_mode():
        other = BASELINES[baseline](clips)
        removed = deletion(score, clips, maps, other, STEPS).area
        put_in = insertion(score, clips, maps, other, STEPS).area
    assert float(removed.mean()) == pytest.approx(said["deletion_auc"], abs=1e-6)
    assert float(put_in.mean()) == pytest.approx(said["insertion_auc"], abs=1e-6)
    assert abs(float((put_in - removed).mean())) > 1e-3
