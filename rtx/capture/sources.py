"""From the text that names a source to the class that reads it."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Literal

from rtx.capture import devices
from rtx.capture.devices import webcams as webcams
from rtx.capture.source import Source
from rtx.config import Camera, resolve

Kind = Literal["webcam", "stream", "file", "synthetic", "scene"]


def kind(source: str) -> Kind:
    """What a source's text names, without opening it."""
    source = resolve(source)
    if source.startswith("synthetic:"):
        return "synthetic"
    if source.startswith("scene:"):
        return "scene"
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", source):
        return "stream"
    if source.isdecimal() or source.startswith(f"{devices.DEVICES}/"):
        return "webcam"
    if any(name == source for _, name in devices.webcams()):
        return "webcam"
    path = Path(source).expanduser()
    # A bare word that is no file was meant for a webcam's name: its error names the nearest.
    return "file" if path.exists() or path.suffix or len(path.parts) > 1 else "webcam"


def open_source(camera: Camera, stop: threading.Event) -> Source:
    """The source of `camera`, not yet opened; its waits end when `stop` is set. UserError for wrong text."""
    # Imported where needed: PyAV and OpenCV cost 0.1 s each, and `kind` needs neither.
    match kind(camera.source):
        case "webcam":
            from rtx.capture.webcam import Webcam

            return Webcam(camera)
        case "stream":
            from rtx.capture.rtsp import Rtsp

            return Rtsp(camera)
        case "synthetic":
            from rtx.capture.synthetic import Synthetic

            return Synthetic(camera, stop)
        case "scene":
            from rtx.capture.scene import SceneCamera

            return SceneCamera(camera, stop)
        case "file":
            from rtx.capture.file import File

            return File(camera, stop)
