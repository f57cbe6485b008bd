"""From a source to the eye: the page in a real browser, the window on a real X server, files, Python."""

from __future__ import annotations

import base64
import os
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtx
from rtx.capture.clockbars import read_clock
from rtx.clock import now
from tests.browser import MISSING, chromium, opens
from tests.live.runs import free_port, report_of, running
from tests.waiting import until

SMALL = "synthetic:?size=480x360&fps=15"

_ALL_PIXELS = "document.querySelector('canvas[role=img]').toDataURL('image/png').split(',')[1]"


@pytest.fixture(autouse=True)
def _weights(weights: Path) -> None:
    """All of these need the real network."""


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_a_clip_is_named_and_painted_in_the_browser(clips: Path):
    port = free_port()
    looped = ["--set", "camera.loop=true", "--set", f"page.port={port}"]
    with running("run", str(clips / "arm_wrestling.mp4"), *looped), chromium() as browser:
        page = browser.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)

        until(lambda: opens(page, f"http://127.0.0.1:{port}/"), 30)
        page.get_by_text("arm wrestling").first.wait_for(timeout=60_000)
        # Painted: switching the heat changes the picture far more than a moment's motion does.
        until(lambda: _heat_changes(page) > 3 * _time_changes(page), 20)
        assert not [error for error in errors if "ERR_CONNECTION_REFUSED" not in error], errors


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_age_in_the_browser_is_the_age_on_its_pixels(tmp_path: Path):
    """The picture's own clock, read back from the canvas: 25 ms to read it out are part of what is seen."""
    port, report = free_port(), tmp_path / "report.json"
    arguments = ["--set", f"page.port={port}", "--set", "show.opacity=0.3", "--report", str(report)]
    with running("run", "synthetic:?size=640x480&fps=15", *arguments), chromium() as browser:
        page = browser.new_page()
        until(lambda: opens(page, f"http://127.0.0.1:{port}/"), 30)
        explained = "Object.values(window.rtx?.tiles ?? {}).some(tile => tile.heatmapAge !== null)"
        until(lambda: page.evaluate(explained), 60)
        ages = []
        begun = now()
        while now() - begun < 4e9:  # The report leaves out the first 2 s.
            taken = read_clock(_pixels(page))
            if taken is not None:
                ages.append((now() - taken) / 1e6)
        assert len(ages) >= 4, "the clock bars can be read under the heat"
        assert 0 < np.median(ages) < 1500, ages
    assert report_of(report)["ages_ms"]["frame"]["p50"] < np.median(ages)


def _pixels(page) -> np.ndarray:
    encoded = page.evaluate(_ALL_PIXELS)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def _time_changes(page) -> float:
    """How far the picture changes from one look to the next."""
    return float(np.abs(_pixels(page).astype(int) - _pixels(page)).mean())


def _heat_changes(page) -> float:
    """How far it changes when the heat is switched off."""
    painted = _pixels(page).astype(int)
    page.keyboard.press("h")
    plain = _pixels(page)
    page.keyboard.press("h")
    return float(np.abs(painted - plain).mean())


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A virtual X server: its name, and the file that holds its pixels."""
    if not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("no Xvfb or xdotool: apt-get install xvfb xdotool")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    try:
        assert select.select([reading], [], [], 20)[0], "Xvfb did not start"
        yield f":{os.read(reading, 16).decode().strip()}", tmp_path / "Xvfb_screen0"
    finally:
        server.terminate()
        server.wait()
        os.close(reading)
        os.close(writing)


def _screen_pixels(framebuffer: Path) -> np.ndarray:
    """The X server's picture, from its XWD file."""
    data = framebuffer.read_bytes()
    size, _, _, _, width, height, *_ = struct.unpack(">25I", data[:100])
    stride, colours = struct.unpack(">12xI", data[36:52])[0], struct.unpack(">I", data[76:80])[0]
    start = size + colours * 12
    rows = np.frombuffer(data[start : start + height * stride], np.uint8).reshape(height, stride)
    return rows[:, : width * 4].reshape(height, width, 4)[..., :3]


def test_the_window_shows_the_newest_frame_and_q_ends(screen: tuple[str, Path]):
    display, framebuffer = screen
    with running("run", SMALL, "--show", "window", DISPLAY=display) as run:
        find = ["xdotool", "search", "--name", "rtx: camera"]
        environment = os.environ | {"DISPLAY": display}

        def window() -> str:
            return subprocess.run(find, capture_output=True, text=True, env=environment, check=False).stdout.strip()

        until(window, 40)
        first = _screen_pixels(framebuffer)
        until(lambda: (_screen_pixels(framebuffer) != first).mean() > 0.002, 20)
        name = window().splitlines()[-1]
        subprocess.run(["xdotool", "windowfocus", name, "key", "--window", name, "q"], env=environment, check=False)
        assert run.wait(20) == 0


def test_python_streams_views():
    explained = 0
    views = rtx.stream(SMALL, explainer="ksigma")
    for seen, view in enumerate(views):
        assert view.image.shape == (360, 480, 3)
        if view.heatmap_age_ms is not None:
            explained += 1
            assert view.top
            assert view.heat is not None
            assert 0 < view.heatmap_age_ms < 30_000
            assert view.explainer == "ksigma"
        if explained >= 3:
            break
        assert seen < 2000, "no heatmap among 2000 frames"
    views.close()
