"""From a source to the eye: the page in a real browser, the window on a real X server, files, Python."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import rtx
from rtx.capture.clockbars import read_clock
from rtx.clock import now
from tests.browser import MISSING, chromium, opens
from tests.live.runs import free_port, report_of, running
from tests.live.runs import rtx as command
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


def test_explain_says_what_it_found_as_json(clips: Path):
    done = command("explain", str(clips / "cleaning_pool.mp4"), "--at", "5", "--explainer", "ksigma(k=2)", "--json")
    about = json.loads(done.stdout)
    assert about["top"][0]["label"] == "cleaning pool"
    assert about["at_s"] == pytest.approx(5, abs=0.03)
    assert about["explainer"] == "ksigma(k=2.0)"
    assert about["map"]["shape"] == [4, 7, 7]
    assert about["map"]["evidence"] is True
    assert {"model", "device", "backend", "precision", "target", "ms"} <= about.keys()
    assert {"forward", "explain"} <= about["ms"].keys()


def test_explain_writes_sheet_video_and_arrays(clips: Path, tmp_path: Path):
    paths = [tmp_path / name for name in ("o.png", "o.mp4", "o.npz")]
    command("explain", str(clips / "arm_wrestling.mp4"), *(word for path in paths for word in ("-o", str(path))))
    clip = rtx.read_clip(clips / "arm_wrestling.mp4")
    assert cv2.imread(str(tmp_path / "o.png")).shape[1] == 4 * 320
    movie = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    frames = 0
    while movie.grab():
        frames += 1
    assert frames == len(clip.pictures)
    with np.load(tmp_path / "o.npz", allow_pickle=False) as arrays:
        assert arrays["heatmap"].shape == (16, 224, 224)
        assert arrays["heatmap"].min() == 0
        assert arrays["heatmap"].max() == 1
        assert str(arrays["labels"][0]) == "arm wrestling"


def test_a_short_file_is_stretched_and_says_so(clips: Path):
    clip = rtx.read_clip(clips / "asl_eat.mkv")
    assert clip.stretched
    assert len(clip.clip.t_frames) == 16
    assert clip.clip.t_frames[0] == 0
    assert not rtx.read_clip(clips / "arm_wrestling.mp4").stretched
    assert rtx.read_clip(clips / "arm_wrestling.mp4", at=0.5).stretched


def test_at_beyond_the_end_is_named(clips: Path):
    with pytest.raises(rtx.errors.UserError, match=r"--at 99 s is outside .*lasts 9\.\d+ s"):
        rtx.read_clip(clips / "arm_wrestling.mp4", at=99)


def test_a_long_file_is_entered_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Entered or gone through from its beginning, a file gives the same clip."""
    movie = cv2.VideoWriter(str(tmp_path / "long.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(400):
        movie.write(np.full((48, 64, 3), 20 + number // 2, np.uint8))
    movie.release()
    entered = rtx.read_clip(tmp_path / "long.mp4", at=35.0)
    monkeypatch.setattr("rtx.film.read.ENTER_FROM_S", 1e9)
    gone_through = rtx.read_clip(tmp_path / "long.mp4", at=35.0)
    assert entered.at_s == pytest.approx(gone_through.at_s, abs=1e-3) == pytest.approx(35, abs=0.11)
    np.testing.assert_array_equal(entered.clip.frames, gone_through.clip.frames)


def _movie(path: Path, kind: str, frames: int, **options: str) -> Path:
    """Frames of 40 ms that grow brighter."""
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "12", "crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 20 + number * 200 // frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "kind", "options"), [("x.mkv", "matroska", {"live": "1"}), ("x.h264", "h264", {})])
def test_a_file_that_does_not_state_its_length_is_counted(tmp_path: Path, name: str, kind: str, options):
    path = _movie(tmp_path / name, kind, 125, **options)
    clip = rtx.read_clip(path, at=3)
    assert (clip.at_s, clip.stretched) == (pytest.approx(3, abs=0.02), False)
    assert clip.pictures[-1].mean() == pytest.approx(20 + 75 * 200 / 125, abs=4)
    assert not rtx.read_clip(path).stretched
    with pytest.raises(rtx.errors.UserError, match=r"lasts 4\.96 s"):
        rtx.read_clip(path, at=9)


def test_a_long_file_that_does_not_state_its_length_is_not_entered(tmp_path: Path):
    """Raw H.264 has no time stamps that would tell where it was entered."""
    clip = rtx.read_clip(_movie(tmp_path / "x.h264", "h264", 750), at=28)
    assert clip.at_s == pytest.approx(28, abs=0.02)
    assert clip.pictures[-1].mean() == pytest.approx(20 + 700 * 200 / 750, abs=8)


def test_a_file_that_was_cut_off_gives_its_last_frames(tmp_path: Path):
    path = _movie(tmp_path / "x.mp4", "mp4", 1000, movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    for at in (None, 39.0):
        clip = rtx.read_clip(path, at=at)
        assert not clip.stretched
        assert 2 < clip.at_s < 20
        assert clip.pictures[-1].mean() == pytest.approx(20 + clip.at_s / 40 * 200, abs=4)
