"""Which class a source's text chooses."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rtx.capture import devices
from rtx.capture.file import File
from rtx.capture.rtsp import Rtsp
from rtx.capture.sources import Kind, kind, open_source, webcams
from rtx.capture.synthetic import Synthetic
from rtx.capture.webcam import Webcam
from rtx.config import Camera
from rtx.errors import UserError

CLASSES = {"webcam": Webcam, "stream": Rtsp, "file": File, "synthetic": Synthetic}


@pytest.fixture(autouse=True)
def _one_webcam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "list" / "video0").mkdir(parents=True)
    (tmp_path / "list" / "video0" / "name").write_text("USB 2.0 Camera: a/b\n")
    monkeypatch.setattr(devices, "LISTED", tmp_path / "list")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip").touch()
    monkeypatch.setenv("HALL", "rtsp://viewer:pw@10.0.0.2/1")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0", "webcam"),
        ("/dev/video2", "webcam"),
        ("USB 2.0 Camera: a/b", "webcam"),
        ("Webcm", "webcam"),
        ("rtsp://10.0.0.2/1", "stream"),
        ("RTSPS://10.0.0.2/1", "stream"),
        ("https://10.0.0.2/video", "stream"),
        ("udp://239.0.0.1:5000", "stream"),
        ("env:HALL", "stream"),
        ("synthetic:", "synthetic"),
        ("synthetic:?size=320x180", "synthetic"),
        ("clip", "file"),
        ("clip.mp4", "file"),
        ("~/clip", "file"),
        ("videos/clip", "file"),
    ],
)
def test_kind_and_class(source: str, expected: Kind) -> None:
    assert kind(source) == expected
    assert type(open_source(Camera(source=source), threading.Event())) is CLASSES[expected]


def test_webcams_are_listed() -> None:
    assert webcams() == [("/dev/video0", "USB 2.0 Camera: a/b")]


def test_home_is_expanded(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(UserError, match="is not a video"):
        open_source(Camera(source="~/no.mp4"), threading.Event()).open()


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALL")
    with pytest.raises(UserError, match="HALL is not set"):
        kind("env:HALL")


def test_capture_imports_no_torch() -> None:
    program = (
        "import sys, threading; from rtx.capture.sources import open_source; from rtx.config import Camera;"
        "texts = ('0', 'rtsp://h/', 'synthetic:', 'a.mp4');"
        "[open_source(Camera(source=text), threading.Event()) for text in texts];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
