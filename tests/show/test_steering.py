"""What viewers ask to be explained: checked, sent, answered, and told as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rtx.clock import NS_PER_MS
from rtx.config import Worker
from rtx.link.sockets import Sockets, private_folder
from rtx.show.steering import Link, Steering, Wish
from rtx.show.view import View
from tests.show.steered import Steered


@pytest.fixture
def steered() -> Iterator[Steered]:
    with private_folder() as folder, Sockets() as sockets:
        yield Steered(sockets, folder)


def a_view(explainer: str, asked: str | None = None, at: int = 1000, behind: float | None = 100.0) -> View:
    """A frame taken at `at` ms, under a heatmap so many ms older."""
    return View(
        "hall", np.zeros((4, 4, 3), np.uint8), 1, 1, at * NS_PER_MS, 0.0, "live", "explaining",
        explainer=explainer, asked=asked, misalignment_ms=behind,
    )  # fmt: skip


def names(steering: Steering) -> list[str]:
    return [link.name for link in steering.state.chain]


def test_at_first_it_is_what_the_run_was_started_with():
    state = Steering(None, Worker(model="figures", explainer="cam(tau=0.5) | selective", target="squat")).state
    assert [link.name for link in state.chain] == ["cam", "selective"]
    assert state.chain[0].parameters == {"tau": 0.5, "pooled": False, "interpolation": "linear", "rest": False}
    assert state.target == "squat"


def test_a_wish_is_shown_as_asked_until_the_worker_has_answered(steered: Steered):
    steered.wish(Link("ksigma", {"k": 2.5}), Link("selective"))
    assert steered.steering.state.asked
    assert names(steered.steering) == ["ksigma", "selective"]
    steered.answered()
    assert steered.taken == [("ksigma(k=2.5) | selective", None)]
    assert names(steered.steering) == ["ksigma", "selective"]
    assert steered.steering.state.refused == ""


def test_what_the_worker_refuses_leaves_what_was(steered: Steered):
    steered.refusal = "this network has no ReLU"
    steered.wish(Link("guided_backprop"))
    steered.answered()
    assert names(steered.steering) == ["cam"]
    assert steered.steering.state.refused == "this network has no ReLU"
    steered.refusal = ""
    steered.wish(Link("ksigma"))
    steered.answered()
    assert steered.steering.state.refused == ""


@pytest.mark.parametrize(
    ("chain", "target", "said"),
    [
        ((), None, "no explainer"),
        ((Link("ksgima"),), None, "did you mean 'ksigma'"),
        ((Link("ksigma", {"k": 9}),), None, "out of range, k is 0..6"),
        ((Link("ksigma", {"kk": 1}),), None, "did you mean 'k'"),
        ((Link("ksigma", {"k": [1]}),), None, "expected a number"),
        ((Link("ksigma", {"weights": ["frame"]}),), None, "unknown value"),
        ((Link("cam"), Link("ksigma")), None, "after | comes a step"),
        ((Link("selective"),), None, "put an explainer before it"),
        ((Link("cam"),), "sqat", "did you mean 'squat'"),
        ((Link("ksigma"),), "squat", "class-blind"),
        ((Link("contrast", {"against": "kikc"}),), None, "did you mean 'kick'"),
        ((Link("cam3d", {"layer": "x" * 600}),), None, "characters are no chain"),
    ],
)
def test_mistakes_do_not_reach_the_worker(steered: Steered, chain: Any, target: str | None, said: str):
    steered.wish(*chain, target=target)
    assert said in steered.steering.state.refused
    assert not steered.steering.state.asked
    assert not steered.worker._socket.poll(50)


def test_a_wish_for_what_is_there_is_answered_too(steered: Steered):
    """Whoever had it waits to hear that it was heard."""
    before = steered.steering.state
    steered.wish(Link("cam"))
    steered.answered()
    assert steered.steering.state != before
    assert names(steered.steering) == ["cam"]


def test_views_tell_what_somebody_else_has_chosen(steered: Steered):
    steered.steering.step(a_view("grad_cam", asked="kick"))
    assert names(steered.steering) == ["grad_cam"]
    assert steered.steering.state.target == "kick"


def test_heatmaps_of_before_the_choice_do_not_take_it_back(steered: Steered):
    steered.steering.step(a_view("cam", at=1000))
    steered.wish(Link("ksigma"))
    steered.answered()
    steered.steering.step(a_view("cam", at=1050, behind=90.0))
    assert names(steered.steering) == ["ksigma"], "that clip had ended before the choice"
    steered.steering.step(a_view("cam", at=1300, behind=90.0))
    assert names(steered.steering) == ["cam"], "a worker that was started anew and knows nothing of it"


def test_views_without_heat_say_nothing(steered: Steered):
    steered.steering.step(a_view("", behind=None))
    assert names(steered.steering) == ["cam"]


def test_an_explainer_that_is_not_known_here_is_said(steered: Steered):
    steered.steering.step(a_view("xray(depth=3)"))
    assert "not known on this host" in steered.steering.state.refused
    assert names(steered.steering) == ["cam"]


def test_without_a_worker_nothing_can_be_chosen():
    steering = Steering(None, Worker(model="figures"))
    steering.ask(Wish((Link("ksigma"),)))
    steering.step()
    assert "no worker is heard on this host" in steering.state.refused
    assert names(steering) == ["cam"]


def test_classes_of_a_model_that_is_not_on_this_host_are_left_to_the_worker():
    assert Steering(None, Worker(model="figures")).labels[0] == "stand"
    assert Steering(None, Worker(model="elsewhere/card.toml")).labels == ()
