"""The grabber over real files: a loop begins anew, and a video without frames is named."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtx.capture.grabber import run
from rtx.config import Camera, Pipeline
from rtx.errors import UserError
from rtx.link.frames import Frame, FrameReader
from rtx.link.sockets import Sockets, private_folder
from rtx.process import Report, Start
from tests.waiting import until


def a_start(source: Path, folder: str, loop: bool) -> Start:
    camera = Camera(source=str(source), loop=loop)
    return Start("grabber", "grabber camera", Pipeline(camera=(camera,)), folder)


def test_each_round_of_a_loop_is_an_epoch_of_its_own(tmp_path: Path):
    """What follows the end does not continue it: a window across the seam would hold two scenes."""
    movie = cv2.VideoWriter(str(tmp_path / "x.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 48))
    for _ in range(10):
        movie.write(np.zeros((48, 64, 3), np.uint8))
    movie.release()
    stop = threading.Event()
    with private_folder() as folder, Sockets() as sockets:
        reader = FrameReader(sockets, Pipeline().link, folder, 0)
        start = a_start(tmp_path / "x.mp4", folder, loop=True)
        thread = threading.Thread(target=run, args=(start, stop, Report("grabber camera")))
        thread.start()
        epochs: list[int] = []

        def seen() -> bool:
            taken = reader.take()
            if isinstance(taken, Frame):
                epochs.append(taken.epoch)
            return len(set(epochs)) >= 3

        until(seen, 20)
        stop.set()
        thread.join(5)
        reader.close()
    assert epochs == sorted(epochs)


def test_a_video_without_frames_is_named_however_often_it_is_looped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    movie = cv2.VideoWriter(str(tmp_path / "x.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (64, 48))
    movie.write(np.zeros((48, 64, 3), np.uint8))
    movie.release()
    monkeypatch.setattr("rtx.capture.file.File.read", lambda self, canvas: None)
    with private_folder() as folder, pytest.raises(UserError, match="holds no frame that can be read"):
        run(a_start(tmp_path / "x.mp4", folder, loop=True), threading.Event(), Report("grabber camera"))
