"""Networks of the papers' kinds, trained in the hall: what they are shown, and what they came to know."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import rtx
from rtx import resources
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.learn import figures, kinds, trials
from rtx.learn.training import learn
from rtx.nets import cards
from rtx.scenes.actions import LABELS

NAMES = tuple(kinds.PHASES)
LEAST_RIGHT = {"hall-resnet": 0.75, "hall-c3d": 0.8, "hall-twin": 0.65}
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
        assert clips.shape[:3] == (2, 3 if card.flow is None else 5, card.clip.frames)
        assert labels.shape == (2,)
        sizes.append(clips.shape[3:])
    assert sizes == [(112, 112) if name in ("hall-c3d", "hall-twin") else (64, 64), (112, 112)]


def test_flow_is_as_the_live_engine_makes_it():
    shots = [figures.stretch(seed, 16, 112)[0] for seed in (1, 2)]
    made = kinds.with_flow("hall-twin")(np.stack(shots))
    expected = rtx.load("hall-twin", device="cpu", threads=1).normalise(np.stack(shots))
    torch.testing.assert_close(made, expected)
    assert made[:, 3:].abs().max() > 0.2, "somebody moves"


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


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU does not multiply bf16, and in fp32 there is nothing to find")
@pytest.mark.parametrize("name", NAMES)
def test_what_they_learn_by_is_the_same_twice(name: str, monkeypatch: pytest.MonkeyPatch):
    """In a batch as large as training's: a CPU that multiplies bf16 gives other gradients each time to some layers."""
    monkeypatch.setattr(kinds, "BATCH", figures.BATCH)
    recipe = kinds.recipe(name)
    torch.manual_seed(0)
    network = recipe.make().train()
    clips, labels = recipe.batch(0)

    def gradients() -> list[torch.Tensor]:
        network.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(recipe.logits(network, clips), labels).backward()
        return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]

    for one, again in zip(gradients(), gradients(), strict=True):
        assert one.isfinite().all()
        assert (one - again).norm() <= 1e-3 * one.norm()


def test_a_step_whose_gradients_are_not_finite_is_not_taken():
    recipe = kinds.recipe("hall-c3d")
    network = recipe.make().train()
    before = [parameter.clone() for parameter in network.parameters()]
    clips, labels = recipe.batch(0)
    clips[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="non-finite"):
        learn(recipe, network, torch.optim.AdamW(network.parameters(), 1e-3), clips, labels)
    assert all(map(torch.equal, before, network.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_they_know_the_hall(name: str):
    told = json.loads((resources.MODELS / name / "training.json").read_text())["held_out"]
    assert told["clips"] >= 300
    assert told["right"] >= LEAST_RIGHT[name]
    assert tuple(rtx.load(name, device="cpu", threads=1).labels) == LABELS
