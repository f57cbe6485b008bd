"""A recorded clip explained once more: by the command, in a process of its own, on the frames that the network saw."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rtx.errors import UserError
from rtx.events import rows
from rtx.events.again import source_of
from rtx.events.clip import Moment, made_again, read
from rtx.events.recording import Recorder
from rtx.events.store import size_of
from rtx.geometry import input_rect, shown_part
from rtx.show.overlay import GRID
from rtx.show.page.again import Again
from rtx.show.view import Look
from tests.events.test_recorder import Film, settings
from tests.live.runs import rtx as command
from tests.waiting import until


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one event, said to be seen by `figures`."""
    folder = tmp_path_factory.mktemp("events")
    with Recorder(settings(folder), Look()) as recorder:
        recorder.follow(["hall"])
        film = Film(recorder)
        for seconds, p in ((3, 0.1), (3, 0.95), (6, 0.1)):
            film.roll(seconds, p)
    with sqlite3.connect(folder / "events.db") as database:
        database.execute("UPDATE event SET model = 'figures'")
    return folder


def test_its_maps_lie_beside_those_that_were_recorded(recorded: Path):
    (before,) = rows(recorded)
    as_recorded = read(before.clip)
    done = command("events", "explain", "1", "--explainer", "ksigma(k=2)", "--folder", str(recorded))
    assert done.returncode == 0, done.stderr
    assert "explained by ksigma(k=2.0), too" in done.stdout
    assert list(made_again(before.clip)) == ["ksigma(k=2.0)"]
    moments = read(before.clip, "ksigma(k=2.0)")
    assert {of.rect for of in moments} == {as_recorded[0].rect}
    assert [of.at for of in moments] == [i * 100_000_000 for i in range(len(moments))]
    assert moments[-1].at / 1e9 == pytest.approx(before.seconds + 2, abs=0.2)
    assert {of.target for of in moments} == {None}, "K-sigma is blind to the class"
    assert any(of.heat().values.any() for of in moments)
    assert moments[0].heat().values.shape == (GRID, GRID)
    assert read(before.clip) == as_recorded
    (after,) = rows(recorded)
    assert after.size == size_of(after.clip) > before.size


def test_what_cannot_be_explained_is_said(recorded: Path, tmp_path: Path):
    for arguments, why in (
        (("9", "--explainer", "cam"), "no event 9"),
        (("1", "--explainer", "com"), "unknown explainer 'com'"),
        (("1", "--explainer", "cam", "--model", "figuers"), "did you mean 'figures'"),
    ):
        done = command("events", "explain", *arguments, "--folder", str(recorded))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert re.search(why, done.stderr)
    with pytest.raises(UserError, match=r"'dtd' has not explained this clip; see `rtx events explain`"):
        read(rows(recorded)[0].clip, "dtd")


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(
    "roi", [(0.0, 0.0, 1.0, 1.0), (0.5, 0.25, 0.5, 0.75), (0.1, 0.0, 0.3, 1.0), (0.0, 0.6, 1.0, 0.3)]
)
def test_the_network_sees_again_what_it_saw(roi: tuple[float, float, float, float], fit: str):
    height, width = 360, 640
    rect = input_rect(height, width, roi, fit)  # type: ignore[arg-type]
    seen = shown_part(height, width, rect, roi)
    usual = None if seen == shown_part(height, width, rect=rect) else seen
    moment = Moment(0, b"", 1.0, (*rect,), None if usual is None else (*usual,), (), None, None)
    camera = source_of("x.mp4", [moment], height, width)
    again = input_rect(height, width, camera.roi, camera.fit)
    np.testing.assert_allclose(again, rect, atol=1.01)
    np.testing.assert_allclose(shown_part(height, width, again, camera.roi), seen, atol=1.01)


@pytest.mark.thorough
def test_one_at_a_time_and_gone_with_the_page(recorded: Path):
    again = Again(recorded)
    assert again.work is None
    assert again.ask(1, "cam")
    pid = again.pid
    assert pid is not None
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert not again.ask(1, "tube"), "another is being explained"
    until(lambda: again.work is not None and again.work.state == "done", 60)
    assert "cam" in made_again(rows(recorded)[0].clip)
    assert again.ask(9, "cam")
    until(lambda: again.work is not None and again.work.state != "explaining", 60)
    assert again.work is not None
    assert again.work.state.startswith("no event 9")
    assert again.ask(1, "tube")
    pid = again.pid
    assert pid is not None
    again.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
