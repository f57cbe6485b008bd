"""Networks of the papers' kinds, trained in the hall: what they are shown, and what they came to know."""

from __future__ import annotations

import json

import pytest
import torch

from rtx import resources
from rtx.learn import kinds, trials
from rtx.learn.training import learn
from rtx.nets import cards

NAMES = tuple(kinds.PHASES)
LEAST_RIGHT = {"hall-resnet": 0.75, "hall-c3d": 0.8}
"""The bounds that they are to land within, whenever they are trained anew."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "BATCH", 2)


@pytest.mark.parametrize("name", NAMES)
def test_each_sees_what_its_card_says_from_close_ups_to_whole_pictures(name: str):
    card = cards.card(name)
    sizes = []
    for step in (0, trials.TRIALS[name].recipe.steps - 1):
        clips, labels = kinds.batch_of(name)(step)
        assert clips.shape[:3] == (2, 3, card.clip.frames)
        assert labels.shape == (2,)
        sizes.append(clips.shape[3:])
    assert sizes == [(112, 112) if name == "hall-c3d" else (64, 64), (112, 112)]


@pytest.mark.parametrize("name", NAMES)
def test_each_learns(name: str):
    recipe = kinds.recipe(name)
    torch.manual_seed(0)
    network = recipe.make().train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    clips, labels = recipe.batch(0)
    first, _ = learn(recipe, network, optimiser, clips, labels)
    for _ in range(4):
        last, _ = learn(recipe, network, optimiser, clips, labels)
    assert last < first


@pytest.mark.parametrize("name", NAMES)
def test_they_know_the_hall(name: str):
    told = json.loads((resources.MODELS / name / "training.json").read_text())["held_out"]
    assert told["right"] >= LEAST_RIGHT[name]
