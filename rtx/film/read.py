"""Clips and frames out of video files, and out of the drawn hall as if it were one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtx.capture.file import File
from rtx.capture.scene import SceneCamera
from rtx.capture.sources import kind
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.config import Camera, default_model
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip, see
from rtx.errors import UserError
from rtx.geometry import input_rect
from rtx.link.frames import Frame
from rtx.link.wire import Truth
from rtx.nets import cards

ENTER_FROM_S = 20
"""Files are read from their beginning up to so many seconds, and entered in the middle beyond."""


@dataclass(frozen=True)
class FileClip:
    """A clip out of a file, with the pictures it was made of."""

    clip: Clip
    at_s: float
    """Time of the newest frame in the file."""
    stretched: bool
    """The file had less than a clip's duration before that: its frames were spread over the clip."""
    pictures: tuple[NDArray[np.uint8], ...] = field(repr=False)
    """Every frame from the clip's first to its last, as in the file: H W 3, BGR."""
    times: tuple[int, ...] = field(repr=False)
    """Their times in ns, on the clip's clock."""
    truths: tuple[Truth | None, ...] = field(default=(), repr=False)
    """What they show, where they were drawn."""


def read_clip(
    file: str | Path, model: str | TorchBackend | None = None, at: float | None = None, camera: Camera | None = None
) -> FileClip:
    """The clip whose newest frame is at `at` seconds (without it, the file's middle clip), as `model` samples it.

    The drawn hall is read like a file: `scene:hall?seed=7`; it has no middle, so without `at` it is `SCENE_AT_S`.
    """
    settings = camera or camera_of(str(file))
    named = model or default_model([settings.source])
    spec = (named.card if isinstance(named, TorchBackend) else cards.card(named)).clip
    if kind(settings.source) == "scene":
        return _clip_of(settings, spec, *_scene_pictures(settings, spec, SCENE_AT_S if at is None else at))
    source = File(settings)
    span = round((spec.frames - 1) * spec.stride_ms * NS_PER_MS)
    source.open()
    period, stated = source.period, source.stated_frames
    duration = _duration(source)
    if at is not None and not 0 <= at * NS_PER_S <= duration + period:
        raise UserError(f"--at {at:g} s is outside {str(file)!r}, which lasts {duration / NS_PER_S:.2f} s")
    last = round(at * NS_PER_S) if at is not None else (duration + span) // 2
    last = min(last, duration)
    if stated is None:
        source.open()
    # Only a file that knows its length can be entered: elsewhere there are no time stamps to find one's way by.
    enter = stated is not None and last - span - period > ENTER_FROM_S * NS_PER_S
    pictures, times = _pictures(source, last - span - period, last + period // 2, enter)
    return _clip_of(settings, spec, pictures, times, period, [None] * len(pictures))


def camera_of(file: str) -> Camera:
    """A file as a source whose every frame is wanted."""
    return Camera(source=file, name="file", pace="every")


def duration_of(file: str) -> int:
    """Time of a file's last frame after its first, ns, as far as the file knows. UserError."""
    source = File(camera_of(file))
    source.open()
    try:
        return _duration(source)
    finally:
        source.close()


def frames_of(file: str) -> Iterator[Frame]:
    """Every frame of a file; capture times are ns since the first. UserError."""
    source = File(camera_of(file))
    source.open()
    canvas: dict[str, NDArray[np.uint8]] = {}

    def fresh(height: int, width: int) -> NDArray[np.uint8]:
        canvas["at"] = np.empty((height, width, 3), np.uint8)
        return canvas["at"]

    first: int | None = None
    number = 0
    try:
        while (stamp := source.read(fresh)) is not None:
            first = stamp.t_capture if first is None else first
            yield Frame("file", 0, number, stamp.t_capture - first, canvas["at"])
            number += 1
    finally:
        source.close()


def _duration(source: File) -> int:
    """Of a file just opened, which may be gone through for it."""
    stated = source.stated_frames
    return (stated - 1) * source.period if stated else source.run_through()


def _clip_of(
    settings: Camera, spec: cards.Clip, pictures: list[NDArray[np.uint8]], times: list[int], period: int,
    truths: list[Truth | None],
) -> FileClip:  # fmt: skip
    """The clip that ends with the last of these pictures."""
    due = times[-1] - np.arange(spec.frames - 1, -1, -1) * int(spec.stride_ms * NS_PER_MS)
    stretched = due[0] < times[0] - period
    if stretched:
        due = np.linspace(times[0], times[-1], spec.frames).astype(np.int64)
    chosen = np.abs(np.asarray(times)[None] - due[:, None]).argmin(axis=1)
    height, width = pictures[0].shape[:2]
    rect = input_rect(height, width, settings.roi, settings.fit)
    frames = np.empty((spec.frames, spec.size, spec.size, 3), np.uint8)
    for out, i in zip(frames, chosen, strict=True):
        see(pictures[i], rect, spec.size, out)
    first = int(chosen[0])
    clip = Clip(
        settings.name,
        0,
        first,
        int(chosen[-1]),
        frames,
        tuple(int(times[i]) for i in chosen),
        height,
        width,
        rect,
        truth=truths[-1],
    )
    return FileClip(
        clip,
        times[-1] / NS_PER_S,
        bool(stretched),
        tuple(pictures[first:]),
        tuple(times[first:]),
        tuple(truths[first:]),
    )


SCENE_AT_S = 3.0


def _scene_pictures(
    settings: Camera, spec: cards.Clip, at: float
) -> tuple[list[NDArray[np.uint8]], list[int], int, list[Truth | None]]:
    """The drawn hall from a clip's duration before `at` (s) until then: pictures, times, period, truths."""
    if not 0 <= at <= 1e6:
        raise UserError(f"--at {at:g} s is no time of a scene: 0 to 1000000")
    source = SceneCamera(settings)
    source.open()
    begin = max(0.0, at - (spec.frames - 1) * spec.stride_ms / 1000 - source.period / NS_PER_S)
    source.seek(begin)
    canvas: dict[str, NDArray[np.uint8]] = {}

    def fresh(height: int, width: int) -> NDArray[np.uint8]:
        canvas["at"] = np.empty((height, width, 3), np.uint8)
        return canvas["at"]

    pictures: list[NDArray[np.uint8]] = []
    times: list[int] = []
    truths: list[Truth | None] = []
    while (time := source.time) <= at * NS_PER_S + source.period // 2:
        stamp = source.read(fresh)
        assert stamp is not None
        pictures.append(canvas["at"])
        times.append(time)
        truths.append(stamp.truth)
    return pictures, times, source.period, truths


def _pictures(source: File, begin: int, end: int, enter: bool) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """All frames with begin <= time <= end (ns in the file) of a file just opened, which is closed then.

    With `enter`, the file is entered shortly before; where that leads elsewhere, it is gone through. A file that ends
    before `begin`, because it was cut off, gives as long a piece before its real end.
    """
    pictures: list[NDArray[np.uint8]] = []
    times: list[int] = []
    canvas: dict[str, NDArray[np.uint8]] = {}

    def fresh(height: int, width: int) -> NDArray[np.uint8]:
        canvas["at"] = np.empty((height, width, 3), np.uint8)
        return canvas["at"]

    if enter:
        source.seek(begin / NS_PER_S - 1)
    start: int | None = None
    time: int | None = None
    while (stamp := source.read(fresh)) is not None:
        if start is None:
            start = stamp.t_capture - (round(source.position_s * NS_PER_S) if enter else 0)
        time = stamp.t_capture - start
        if time > end and pictures:
            break
        if time >= begin:
            pictures.append(canvas["at"])
            times.append(time)
    source.close()
    if enter and (not times or times[0] > begin + NS_PER_S // 5):
        source.open()
        return _pictures(source, begin, end, enter=False)
    if time is None:
        raise UserError("the video holds no frame that can be read")
    if not pictures:
        source.open()
        return _pictures(source, time - (end - begin), time, enter=False)
    return pictures, times
