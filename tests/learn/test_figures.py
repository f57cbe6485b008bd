"""The recipe of the hall's network: the same each time, broken off or not; and what it made is what lies there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rtx import resources
from rtx.engine.torch_backend import TorchBackend
from rtx.fetch import sha256
from rtx.learn import figures as recipe
from rtx.learn import training
from rtx.nets import cards
from rtx.nets.causal import Causal
from rtx.scenes.actions import LABELS

FOLDER = resources.MODELS / "figures"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe in four small steps."""
    for name, value in {"PHASES": ((2, 64, (3, 5)), (2, 112, (4, 6))), "STEPS": 4, "BATCH": 2}.items():
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setattr(training, "KEEP_EVERY", 1)


class BrokenOff(Exception):
    pass


def broken_off_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, done = training.learn, []

    def once_more(*about: Any) -> tuple[float, float]:
        if len(done) == steps:
            raise BrokenOff
        done.append(1)
        return learn(*about)

    monkeypatch.setattr(training, "learn", once_more)


def trained(checkpoint: Path) -> training.Trained:
    return training.train(recipe.recipe(), checkpoint)


def state(network: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


@pytest.mark.usefixtures("small")
def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, curve, _ = trained(tmp_path / "whole.pt")
    with monkeypatch.context() as patch:
        broken_off_after(2, patch)
        with pytest.raises(BrokenOff):
            trained(tmp_path / "broken.pt")
    torch.manual_seed(99)
    again, same_curve, _ = trained(tmp_path / "broken.pt")
    assert all(map(torch.equal, state(whole), state(again)))
    assert [(at["step"], at["loss"]) for at in curve] == [(at["step"], at["loss"]) for at in same_curve]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("changed", ["DECAY", "LARGE_SHARE"])
def test_another_recipe_starts_anew(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, _, _ = trained(tmp_path / "kept.pt")
    monkeypatch.setattr(training if changed == "DECAY" else recipe, changed, 0.5)
    other, _, _ = trained(tmp_path / "kept.pt")
    fresh, _, _ = trained(tmp_path / "fresh.pt")
    assert all(map(torch.equal, state(other), state(fresh)))
    assert not all(map(torch.equal, state(other), state(first)))


@pytest.mark.usefixtures("small")
def test_another_drawing_is_another_recipe(monkeypatch: pytest.MonkeyPatch):
    network, draw = Causal(len(LABELS)), recipe.film
    before = training.digest(recipe.recipe(), network)
    assert training.digest(recipe.recipe(), network) == before

    def darker(*about: Any) -> Any:
        shot = draw(*about)
        return shot._replace(frames=shot.frames // 2)

    monkeypatch.setattr(recipe, "film", darker)
    assert training.digest(recipe.recipe(), network) != before


def test_what_is_trained_on_is_what_the_engine_sees(figures: TorchBackend):
    pictures, _ = recipe.stretch(5, 4, 112)
    torch.testing.assert_close(recipe.normalised(pictures[None]), figures.normalise(pictures[None]))


def test_a_result_is_a_whole_model(tmp_path: Path):
    recipe.write(tmp_path, Causal(len(LABELS)), {"seconds": 1})
    assert sha256(tmp_path / "weights.safetensors") in (tmp_path / "card.toml").read_text()
    assert (tmp_path / "labels.txt").read_text().splitlines() == list(LABELS)
    assert json.loads((tmp_path / "training.json").read_text()) == {"seconds": 1}


def test_the_model_that_comes_with_rtx_is_small_and_knows_the_halls_actions(figures: TorchBackend):
    weights = FOLDER / "weights.safetensors"
    assert weights.stat().st_size <= 5e6
    parameters = sum(parameter.numel() for parameter in figures.network.parameters())
    assert parameters <= 1_000_000
    told = json.loads((FOLDER / "training.json").read_text())
    assert told["parameters"] == parameters
    assert cards.card("figures").labels == LABELS == tuple(told["held_out"]["labels"])


def test_it_names_held_out_scenes_as_it_is_said_to(figures: TorchBackend):
    """Of those that its figures were measured on, some."""
    told = json.loads((FOLDER / "training.json").read_text())["held_out"]["right"]
    assert isinstance(figures.network, Causal)
    found = recipe.predictions(figures.network, range(44), 15.0)
    assert sum(true == said for true, said, _ in found) / len(found) == pytest.approx(told, abs=0.06)
