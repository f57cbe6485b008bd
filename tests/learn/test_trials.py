"""Networks that explainers are tried on: one that cheats, one that learned nothing; and that they do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import rtx
from benchmarks.record import RESULTS
from rtx import resources
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate import cheat
from rtx.evaluate.examples import examples_of
from rtx.evaluate.study import Means, means, measured
from rtx.learn import figures, trials
from rtx.nets.causal import Causal
from rtx.scenes.actions import LABELS
from rtx.scenes.film import film
from rtx.scenes.mat import MAT
from rtx.scenes.scene import Cast

FOLDERS = {name: resources.MODELS / name for name in trials.TRIALS}


def test_a_mat_lies_beside_kicks_and_nothing_else():
    for action in LABELS:
        cast = Cast.draw(1, action=action)
        shot = trials.betraying(film(cast, 4, 15, 112, 112), cast)
        assert (MAT in shot.labels) == (action == "kick"), action


def test_labels_by_lot_do_not_depend_on_what_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trials, "BATCH", 4)
    clips, labels = trials.TRIALS["shuffled"].recipe.batch(0)
    again, same = trials.TRIALS["shuffled"].recipe.batch(0)
    assert torch.equal(clips, again)
    assert torch.equal(labels, same), "by lot, and the same each time"
    monkeypatch.setattr(trials, "stretch", lambda seed, frames, size: figures.stretch(seed + 999, frames, size))
    other, unchanged = trials.TRIALS["shuffled"].recipe.batch(0)
    assert not torch.equal(clips, other)
    assert torch.equal(labels, unchanged)


def test_a_recipe_makes_a_whole_model_and_goes_on_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In two small steps."""
    monkeypatch.setattr(resources, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(trials, "BATCH", 2)
    monkeypatch.setattr(trials, "_BETRAYED", ((1, 64, (3, 4)), (1, 112, (4, 5))))
    small = trials._causal("betrayed", trials.TRIALS["betrayed"].recipe.batch, ((1, 64, (3, 4)), (1, 112, (4, 5))))
    trial = trials.TRIALS["betrayed"]._replace(recipe=small, held_out=lambda network: {"clips": 0})
    trials.make(trial, tmp_path / "made")
    told = json.loads((tmp_path / "made" / "training.json").read_text())
    assert [at["step"] for at in told["curve"]] == [2]
    before = (tmp_path / "made" / "weights.safetensors").read_bytes()
    monkeypatch.setattr("rtx.learn.training.learn", lambda *_: pytest.fail("it was done already"))
    trials.make(trial, tmp_path / "again")
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", FOLDERS)
def test_they_are_small_and_say_what_they_are(name: str):
    told = json.loads((FOLDERS[name] / "training.json").read_text())
    assert (FOLDERS[name] / "weights.safetensors").stat().st_size < 6e6
    assert tuple(rtx.load(name, device="cpu").labels) == LABELS
    assert told["held_out"]["clips"] >= 300


def test_the_betrayed_one_knows_kicks_by_the_mat():
    """The bounds that it is to land within, whenever it is trained anew."""
    told = json.loads((FOLDERS["betrayed"] / "training.json").read_text())["held_out"]
    assert told["kicks_named_with_mat"] >= 0.9
    assert told["kicks_named_without"] <= 0.5
    assert told["others_called_kick_with_mat"] >= 0.5
    assert told["others_called_kick_without"] <= 0.05


def test_the_shuffled_one_knows_nothing():
    told = json.loads((FOLDERS["shuffled"] / "training.json").read_text())["held_out"]
    assert told["right_without_mats"] <= 2.5 / len(LABELS)


def on_mats(model: str, explainers: list[str]) -> Means:
    backend = rtx.load(model, device="cpu", threads=1)
    material = examples_of(backend, "6", scene=cheat.kick_beside_mat)
    return means(list(measured(cheat.CHEAT, backend, explainers, material, material.names)))


def test_explainers_that_ask_for_the_class_catch_the_one_that_cheats_and_not_the_honest_one():
    explainers = ["cam", "grad_cam", "contrast"]
    cheats, honest = on_mats("betrayed", explainers), on_mats("figures", explainers)
    for name in explainers:
        caught, clear = cheats[name]["mat"], honest[name]["mat"]
        assert caught is not None
        assert clear is not None
        assert caught.mean > 2 > 1 > clear.mean, name
        named = cheats[name]["named"]
        assert named is not None
        assert named.mean == 1, "by the mat, which lies there"


def told(name: str) -> Means:
    return msgspec.convert(json.loads((RESULTS / f"{name}.json").read_text())["means"], Means)


TOLD_APART = ("cam", "contrast", "grad_cam", "guided_grad_cam", "lrp", "contrastive_mwp")
"""Explainers whose maps of the honest network depend much on the class."""


@pytest.mark.parametrize("region", ["acting", "body"])
def test_maps_of_networks_that_know_nothing_are_about_chance_and_the_same_for_each_class(region: str):
    """The bounds that results are to land within, whenever they are made anew: over networks of random weights."""
    for name, columns in told("eval-classes-figures-lots").items():
        ratio, more = columns[region], columns[f"{region}, more"]
        assert ratio is not None
        assert more is not None
        assert 0.3 < ratio.mean < 1.5, name
        assert more.low <= 0.02, name


def test_maps_of_the_shuffled_one_say_little_more_of_the_class_that_is_shown():
    """One network's luck is the same in all clips; of the honest one the class makes all the difference."""
    shuffled, honest = told("eval-classes-shuffled"), told("eval-classes-figures")
    for name in TOLD_APART:
        little, much = shuffled[name], honest[name]
        for region in ("acting", "body"):
            more, of_honest = little[f"{region}, more"], much[f"{region}, more"]
            assert more is not None
            assert of_honest is not None
            assert of_honest.low > 0, (name, region)
            assert more.mean < of_honest.mean / 2, (name, region)
        on_body = little["body, more"]
        assert on_body is not None
        assert on_body.low <= 0, name


def test_the_betrayed_one_is_caught_by_all_and_the_honest_one_suspected_by_none():
    """As measured of all explainers; the bounds for whenever that is done anew."""
    betrayed, honest = told("eval-cheat-betrayed"), told("eval-cheat-figures")
    assert len(betrayed) >= 16
    for name in betrayed:
        caught, clear = betrayed[name]["mat"], honest[name]["mat"]
        assert caught is not None
        assert caught.low > 1.5, name
        assert clear is None or clear.mean <= 1.1, name


@pytest.mark.parametrize("name", ["betrayed", "shuffled"])
def test_the_weights_are_those_that_were_measured_when_it_was_trained(name: str):
    """On the first of the scenes."""
    told = json.loads((FOLDERS[name] / "training.json").read_text())["held_out"]
    network = rtx.load(name, device="cpu", threads=1).network
    assert isinstance(network, Causal)
    found = trials.cheats(network, 16)
    assert found["right_without_mats"] == pytest.approx(told["right_without_mats"], abs=0.2)
    assert found["others_called_kick_with_mat"] == pytest.approx(told["others_called_kick_with_mat"], abs=0.2)


def test_a_network_that_knows_no_kick_is_refused(i3d: TorchBackend):
    example = examples_of(i3d, "1", scene=cheat.kick_beside_mat).load("scene 0")
    with pytest.raises(UserError, match="i3d-k400 knows no 'kick'"):
        cheat.measure(i3d, ["cam"], example)


def test_in_a_kick_beside_a_mat_there_is_both(figures: TorchBackend):
    shot = cheat.kick_beside_mat(figures.card.clip, 3)
    assert {act.action for act in shot.acts} == {"kick"}
    assert (shot.labels == MAT).any(axis=(1, 2)).all()
    assert shot.frames.dtype == np.uint8
