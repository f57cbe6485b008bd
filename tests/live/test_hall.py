"""The drawn hall, live: every frame explained by a network that follows it, with the truth beside the heat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rtx
from rtx.capture.clockbars import read_clock
from rtx.capture.devices import webcams
from rtx.clock import now
from rtx.demo import HALL
from rtx.nets import cards
from tests.browser import MISSING, chromium, opens
from tests.faults.conftest import watched
from tests.live.runs import free_port, report_of, running
from tests.live.runs import rtx as command
from tests.waiting import until

SMALL = "scene:hall?seed=7&size=320x180&fps=15"


def test_every_frame_that_is_not_dropped_is_explained_by_the_network_of_the_hall(tmp_path: Path):
    """`pace = "every"`: nothing is dropped, so that what is counted is what there is."""
    report, every = tmp_path / "report.json", ["--set", "camera.pace=every", "--show", "none", "--seconds", "9"]
    done = command("run", SMALL, *every, "--report", str(report))
    assert done.returncode == 0, done.stderr
    found = report_of(report)
    assert found["model"] == "figures"
    assert found["precision"] == "fp32"
    # All but the first 15, and those that the end cut off.
    assert found["explained"] >= found["shown"] - 17 > 30
    # Clips that show two acts are not judged: one second in five.
    assert 0.7 * found["explained"] <= found["truth"]["judged"] < found["explained"]
    assert found["truth"]["right"] > 0.5
    assert found["truth"]["body"] > 3 * found["truth"]["body_chance"]


def test_the_age_that_is_told_is_the_age_on_the_pixels():
    """The clock that the hall draws when asked, read where the pictures arrive."""
    views = rtx.stream("scene:hall?seed=3&size=640x360&fps=15&clock=1")
    off = []
    for view in views:
        arrived, taken = now(), read_clock(view.image)
        assert taken is not None
        if view.heatmap_age_ms is not None:
            off.append(abs((arrived - taken) / 1e6 - view.frame_age_ms))
        if len(off) == 20:
            break
    views.close()
    assert np.median(off) < 10


def test_views_of_a_stream_hold_class_heat_and_truth():
    views = rtx.stream(SMALL)
    view = next(view for view in views if view.hits is not None and view.hits.frames > 0)
    views.close()
    assert view.truth is not None
    assert view.truth.action in cards.card("figures").labels
    assert view.heat is not None
    assert view.hits is not None
    assert 0 < (view.hits.chance_body or 0) < 0.5


def test_two_halls_are_followed_by_one_network_turned_on_or_off():
    forward_ms = {}
    for continual in ("true", "false"):
        changes = (f"worker.continual={continual}",)
        with watched(SMALL, SMALL.replace("7", "8", 1), changes=changes) as run:
            run.until(lambda: run.report.explained > 5 and run.report.truth and run.report.truth.judged > 2, 60)
            forward_ms[continual] = run.report.ages_ms.forward.p50
    assert forward_ms["false"] > 3 * forward_ms["true"]


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
@pytest.mark.skipif(bool(webcams()), reason="there is a webcam here: the demo takes it")
def test_the_demo_without_a_camera_shows_two_halls_and_their_truth():
    port = free_port()
    with running("demo", "--set", f"page.port={port}"), chromium() as browser:
        page = browser.new_page()
        until(lambda: opens(page, f"http://127.0.0.1:{port}/"), 30)
        both = "Object.values(window.rtx?.tiles ?? {}).filter(tile => tile.heatmapAge !== null).length"
        until(lambda: page.evaluate(both) == len(HALL), 60)
        words = page.locator(".tile").first
        until(lambda: "Truth: " in words.inner_text())
        until(lambda: "chance" in words.inner_text(), 30)
        assert page.get_by_role("button", name="Truth").is_visible()
