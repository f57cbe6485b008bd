"""What `rtx demo` shows: the webcam where there is one, else the drawn hall with two cameras."""

from __future__ import annotations

from rtx.capture.sources import kind, webcams

HALL = ("scene:hall?seed=7", "scene:hall?seed=11")


def choose_sources(wanted: str | None) -> tuple[list[str], bool]:
    """The sources, and whether they are to be looped."""
    if wanted is not None:
        return [wanted], kind(wanted) == "file"
    cameras = webcams()
    return ([cameras[0][0]] if cameras else list(HALL)), False
