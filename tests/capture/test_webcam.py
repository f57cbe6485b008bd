"""Webcams: settings, names, time stamps and loss, with a pretended `cv2.VideoCapture`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtx.capture import devices
from rtx.capture.source import Pixels, SourceLost
from rtx.capture.webcam import Webcam
from rtx.clock import NS_PER_MS, NS_PER_S, now
from rtx.config import Camera
from rtx.errors import UserError
from tests.capture.conftest import Paper

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is Linux's")


class Driver:
    """The one webcam that is plugged in, in place of `cv2.VideoCapture`."""

    def __init__(self) -> None:
        self.present = True
        self.opened_with: tuple[Any, ...] = ()
        self.settings: list[tuple[int, float]] = []
        self.age_ns: int | None = None
        self.drew_into: Pixels | None = None

    def __call__(self, *arguments: Any) -> Driver:
        self.opened_with = arguments
        self.settings = []
        return self

    def isOpened(self) -> bool:
        return self.present

    def set(self, key: int, value: float) -> bool:
        self.settings.append((key, value))
        return True

    def get(self, key: int) -> float:
        assert key == cv2.CAP_PROP_POS_MSEC
        return 0.0 if self.age_ns is None else (now() - self.age_ns) / NS_PER_MS

    def grab(self) -> bool:
        return self.present

    def retrieve(self, image: Pixels | None = None) -> tuple[bool, Pixels]:
        image = np.zeros((48, 64, 3), np.uint8) if image is None else image
        image[:, :32], image[:, 32:] = 10, 200
        self.drew_into = image
        return True, image

    def release(self) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(cv2, "VideoCapture", driver)
    return driver


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two cameras as the kernel lists them; the first also has a node for metadata."""
    for number, index, name in (
        ("10", "0", "Hall east"),
        ("2", "0", "HD Webcam C920"),
        ("3", "1", "HD Webcam C920"),
    ):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(index + "\n")
    monkeypatch.setattr(devices, "LISTED", tmp_path)


def _opened(source: str, **settings: Any) -> Webcam:
    webcam = Webcam(Camera(source=source, **settings))
    webcam.open()
    return webcam


def test_settings_reach_the_driver(driver: Driver) -> None:
    _opened("0", width=1280, height=720, fps=60)
    assert driver.opened_with == (0, cv2.CAP_V4L2)
    assert driver.settings == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),  # before the size
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 60),
    ]


def test_nothing_is_set_that_nobody_asked_for(driver: Driver) -> None:
    _opened("/dev/video4")
    assert driver.opened_with == ("/dev/video4", cv2.CAP_V4L2)
    assert driver.settings == []
    _opened("0", width=640, height=480)
    assert [key for key, _ in driver.settings] == [cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT]


def test_by_name(driver: Driver, listed: None) -> None:
    assert devices.webcams() == [("/dev/video2", "HD Webcam C920"), ("/dev/video10", "Hall east")]
    _opened("Hall east")
    assert driver.opened_with[0] == "/dev/video10"
    with pytest.raises(UserError, match="unknown webcam 'HD Webcam C92': did you mean 'HD Webcam C920'"):
        _opened("HD Webcam C92")


def test_by_name_where_none_is_listed(driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "LISTED", tmp_path / "none")
    assert devices.webcams() == []
    with pytest.raises(UserError, match="no webcam 'Hall east'"):
        _opened("Hall east")


def test_no_webcam(driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    driver.present = False
    with pytest.raises(UserError, match=r"^no webcam 0: .*video0 does not exist; rtx doctor lists cameras$"):
        _opened("0")
    (tmp_path / "video0").touch()
    with pytest.raises(UserError, match="another program may hold it"):
        _opened("0")


@pytest.mark.parametrize("age_ms", [5, 60, 1900])
def test_the_drivers_time_stamp(driver: Driver, paper: Paper, age_ms: int) -> None:
    driver.age_ns = age_ms * NS_PER_MS
    before = now()
    stamp = _opened("0").read(paper)
    assert before <= stamp.t_capture + driver.age_ns <= now()


@pytest.mark.parametrize("age_ns", [None, 3 * NS_PER_S, -5 * NS_PER_S])
def test_a_time_stamp_that_cannot_be(driver: Driver, paper: Paper, age_ns: int | None) -> None:
    driver.age_ns = age_ns
    before = now()
    stamp = _opened("0").read(paper)
    assert before <= stamp.t_capture <= now()


def test_drawn_into_the_canvas(driver: Driver, paper: Paper) -> None:
    webcam = _opened("0")
    webcam.read(paper)
    webcam.read(paper)
    assert driver.drew_into is paper.picture
    assert (paper.picture[:, :32] == 10).all()


def test_mirror(driver: Driver, paper: Paper) -> None:
    webcam = _opened("0", mirror=True)
    for _ in range(3):
        webcam.read(paper)
        assert (paper.picture[:, :32] == 200).all()
        assert (paper.picture[:, 32:] == 10).all()


def test_a_webcam_that_vanishes_and_comes_back(driver: Driver, paper: Paper) -> None:
    webcam = _opened("0")
    webcam.read(paper)
    driver.present = False
    with pytest.raises(SourceLost, match="webcam 0"):
        webcam.read(paper)
    with pytest.raises(SourceLost, match="webcam 0"):
        webcam.open()
    driver.present = True
    webcam.open()
    webcam.read(paper)
    webcam.close()
    webcam.close()


def test_a_name_that_vanishes_is_lost_not_unknown(
    driver: Driver, listed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    webcam = _opened("Hall east")
    monkeypatch.setattr(devices, "LISTED", tmp_path / "none")
    with pytest.raises(SourceLost, match="Hall east"):
        webcam.open()
