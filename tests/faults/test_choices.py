"""What is explained is changed while the run goes on: the worker takes it, or says why not, and remembers it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtx.link.choice import ChoiceAsk
from rtx.link.sockets import Sockets, endpoint
from rtx.link.wire import Explanation, unpack_map
from tests.faults.conftest import Watched, watched
from tests.running import HALL


class Chooser:
    """A run over one drawn hall, and a line to its worker."""

    def __init__(self, run: Watched, sockets: Sockets):
        folder = run.supervisor.folder
        self.run = run
        self.line = ChoiceAsk(sockets.ask(endpoint("ipc", folder, "choice", 1)))
        self.maps = sockets.newest(endpoint("ipc", folder, "maps", 0))

    def choose(self, explainer: str, target: str | None = None) -> str:
        """Why it was refused; empty where it was taken."""
        self.line.ask(explainer, target)

        def answered() -> bool:
            self.line.step()
            return self.line.state != "open"

        self.run.until(answered)
        return self.line.why

    def explanation(self, explainer: str) -> Explanation:
        """The next one by this explainer."""
        found: list[Explanation] = []

        def heard() -> bool:
            message = unpack_map(self.maps.recv()) if self.maps.poll(0) else None
            if isinstance(message, Explanation) and message.explainer == explainer:
                found.append(message)
            return bool(found)

        self.run.until(heard)
        return found[0]


@pytest.fixture(scope="module")
def chooser() -> Iterator[Chooser]:
    with watched(HALL) as run, Sockets() as sockets:
        run.flows()
        yield Chooser(run, sockets)


def test_parameters_and_classes_change_between_two_frames(chooser: Chooser):
    pid = chooser.run["worker"].pid
    assert chooser.choose("ksigma(k=2.5) | selective") == ""
    assert chooser.explanation("ksigma(k=2.5) | selective").target is None
    assert chooser.choose("contrast(against='kick')", "squat") == ""
    explanation = chooser.explanation("contrast(against=7)")
    assert (explanation.target, explanation.asked) == ("squat", "squat")
    assert chooser.run["worker"].pid == pid


def test_a_network_that_follows_the_stream_sees_whole_clips_where_gradients_are_read_and_goes_back(chooser: Chooser):
    assert chooser.choose("p3dcam") == ""
    assert len(chooser.explanation("p3dcam").t_frames) == 16
    assert chooser.choose("cam") == ""
    assert chooser.explanation("cam").map.shape[0] == 16
    chooser.run.flows()


@pytest.mark.parametrize(
    ("explainer", "target", "said"),
    [
        ("tube(channel=60000)", None, "the features have channels"),
        ("cam3d(layer='block9')", None, "unknown layer 'block9'"),
        ("cam", "sqat", "did you mean 'squat'"),
        ("cam(", None, "does not read as"),
    ],
)
def test_what_the_network_cannot_do_is_refused_and_the_worker_goes_on_as_before(
    chooser: Chooser, explainer: str, target: str | None, said: str
):
    assert chooser.choose("ksigma(k=2)") == ""
    pid = chooser.run["worker"].pid
    assert said in chooser.choose(explainer, target)
    chooser.explanation("ksigma(k=2.0)")
    assert chooser.run["worker"].pid == pid


def test_a_choice_outlives_the_worker(chooser: Chooser):
    assert chooser.choose("contrast", "squat") == ""
    status = chooser.run["worker"]
    chooser.run.until(lambda: status.status and status.status.facts["explainer"] == "contrast")
    chooser.run.restarted("worker", chooser.run.kill("worker"))
    chooser.run.flows()
    assert chooser.explanation("contrast").asked == "squat"
    assert chooser.run.report.explainer == "contrast"
