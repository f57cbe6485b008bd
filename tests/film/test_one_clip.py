"""One clip of a file: which frames it is made of, and what `rtx explain` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import rtx
from rtx.cli import app
from rtx.nets import cards
from tests.live.runs import rtx as command


@pytest.mark.usefixtures("weights")
def test_explain_says_what_it_found_as_json_and_writes_sheet_video_and_arrays(clips: Path, tmp_path: Path):
    paths = [tmp_path / name for name in ("o.png", "o.mp4", "o.npz")]
    done = command(
        "explain", str(clips / "cleaning_pool.mp4"), "--at", "5", "--explainer", "ksigma(k=2)", "--json",
        *(word for path in paths for word in ("-o", str(path))),
    )  # fmt: skip
    about = json.loads(done.stdout)
    assert about["top"][0]["label"] == "cleaning pool"
    assert about["at_s"] == pytest.approx(5, abs=0.03)
    assert about["explainer"] == "ksigma(k=2.0)"
    assert about["map"]["shape"] == [4, 7, 7]
    assert about["map"]["evidence"] is True
    assert {"model", "device", "backend", "precision", "target", "ms"} <= about.keys()
    assert {"forward", "explain"} <= about["ms"].keys()

    clip = rtx.read_clip(clips / "cleaning_pool.mp4", at=5)
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
        assert str(arrays["labels"][0]) == "cleaning pool"


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


def test_the_hall_is_explained_like_a_file(tmp_path: Path):
    sheet = tmp_path / "sheet.png"
    done = command("explain", "scene:hall?seed=7", "--at", "3", "--json", "-o", str(sheet))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["model"] == "figures"
    assert said["map"]["shape"] == [16, 14, 14]
    assert said["truth"]["action"] in cards.card("figures").labels
    assert said["truth"]["right"] == (said["truth"]["action"] == said["top"][0]["label"])
    assert set(said["truth"]["hit"]) == set(said["truth"]["chance"]) == {"body", "acting"}
    assert sheet.stat().st_size > 10_000


def test_a_map_without_evidence_hits_nothing_and_misses_nothing():
    chain = "ksigma(k=6) | selective(n=20)"
    asked = ["explain", "scene:hall?seed=7", "--at", "8", "--explainer", chain]
    said = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert not said["map"]["evidence"]
    assert said["truth"]["hit"] == {"body": None, "acting": None}
    assert "no place is hottest" in CliRunner().invoke(app, asked).output
