"""A film of the drawn hall, and engines that explain it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtx.capture.scene import SceneCamera
from rtx.clock import NS_PER_S
from rtx.config import Camera
from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.link.wire import Truth
from rtx.show.sinks import Mp4

FPS, SECONDS = 15, 10
Hall = tuple[Path, list[Truth]]
"""A film, and what each of its frames shows."""
SOURCE = f"scene:hall?seed=7&size=320x180&fps={FPS}"


@pytest.fixture(scope="session")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Hall:
    """Ten seconds of it as an MP4, and what each frame shows."""
    path = tmp_path_factory.mktemp("hall") / "hall.mp4"
    movie, truths = Mp4(path, 180, 320, preset="medium"), []
    camera = SceneCamera(Camera(source=SOURCE, name="hall", pace="every"))
    camera.open()
    picture: NDArray[np.uint8] = np.empty((180, 320, 3), np.uint8)
    for number in range(FPS * SECONDS):
        stamp = camera.read(lambda height, width: picture)
        assert stamp is not None
        assert stamp.truth is not None
        truths.append(stamp.truth)
        movie.add(picture, number * NS_PER_S // FPS)
    movie.close()
    return path, truths


@pytest.fixture(scope="session")
def engines(figures: TorchBackend) -> list[Engine]:
    """K-sigma is blind to the class, CAM is not."""
    return [Engine(figures, name, continual=False) for name in ("cam", "ksigma | selective")]
