"""Which cameras a run has: added, paused and removed while it goes on. Asked by the display, done by the supervisor."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rtx.capture.devices import webcams
from rtx.config import Camera, Pipeline, resolve
from rtx.errors import UserError, unknown
from rtx.redact import redact

MOST_CAMERAS = 64
SCHEMES = ("rtsp", "rtsps", "http", "https")
"""Of streams that the page may add."""


class Seat(msgspec.Struct, frozen=True):
    """One camera and its place: the number in its addresses, which no other gets."""

    index: int
    camera: Camera
    """Its source without passwords: those who read this do not open it."""
    paused: bool = False
    recording: bool = False
    """What lasts there is kept as an event."""
    trouble: str = ""
    """Why it was given up."""


class CameraWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="camera"):
    """What somebody wants to be done about one camera."""

    do: Literal["add", "pause", "resume", "remove", "record", "unrecord"]
    name: Annotated[str, Meta(max_length=200)]
    source: Annotated[str, Meta(max_length=1000)] = ""
    """Of one to be added: a webcam, a stream, the drawn hall; files are named where rtx is started."""


class Numbered(msgspec.Struct, frozen=True):
    """A wish on its way."""

    number: int
    wish: CameraWish


class Roster:
    """Who has a seat. It knows no processes: the supervisor starts and ends those."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        """With every camera that ever had a seat, in the order of their numbers."""
        self._paused: set[int] = set()
        self._gone: set[int] = set()
        self._recorded = set(range(len(pipeline.camera))) if pipeline.events.record else set()
        self.trouble: dict[int, str] = {}
        """Of a camera that was added, why it was given up."""
        self.answered = 0
        """The number of the last wish."""
        self.refused = ""
        """Why that was not done."""

    @property
    def seats(self) -> tuple[Seat, ...]:
        return tuple(
            Seat(
                index,
                msgspec.structs.replace(camera, source=redact(camera.source)),
                index in self._paused,
                index in self._recorded,
                self.trouble.get(index, ""),
            )
            for index, camera in enumerate(self.pipeline.camera)
            if index not in self._gone
        )

    def take(self, asked: Numbered) -> None:
        """Do what is wished; `refused` says why not."""
        self.answered, self.refused = asked.number, ""
        try:
            self._do(asked.wish)
        except UserError as error:
            self.refused = redact(error)

    def _do(self, wish: CameraWish) -> None:
        if wish.do == "add":
            self._add(wish.name, wish.source)
            return
        found = [seat.index for seat in self.seats if seat.camera.name == wish.name]
        if not found:
            raise unknown("camera", wish.name, [seat.camera.name for seat in self.seats])
        if wish.do == "remove":
            if "capture" not in self.pipeline.link.parts:
                raise UserError("a camera is removed on the host where its grabber runs; that is not this one")
            self._gone.add(found[0])
        elif wish.do in ("pause", "resume"):
            if "capture" not in self.pipeline.link.parts:
                raise UserError("a camera is paused on the host where its grabber runs; that is not this one")
            (self._paused.add if wish.do == "pause" else self._paused.discard)(found[0])
        elif wish.do == "record":
            if "show" not in self.pipeline.link.parts:
                raise UserError("recording belongs where the page is; nothing is shown here")
            self._recorded.add(found[0])
        else:
            self._recorded.discard(found[0])

    def _add(self, name: str, source: str) -> None:
        link = self.pipeline.link
        if link.frames != "ipc" or link.maps != "ipc":
            raise UserError("cameras can be added where all parts of a run are on one host; name them where it starts")
        if len(self.seats) >= MOST_CAMERAS:
            raise UserError(f"there are {MOST_CAMERAS} cameras already; remove one first")
        if any(seat.camera.name == name for seat in self.seats):
            raise UserError(f"there is a camera {name!r} already; take another name")
        try:
            camera = msgspec.convert({"name": name, "source": source.strip()}, Camera)
        except msgspec.ValidationError as error:
            why = "a name has letters, digits, - and _, at most 40" if "name" in str(error) else str(error)
            raise UserError(f"camera {name!r}: {why}") from None
        if not camera.source:
            raise UserError(f"camera {name!r} has no source; e.g. 0, rtsp://..., scene:hall?seed=9")
        if not _may_be_added(resolve(camera.source)):
            streams = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise UserError(
                f"a webcam's number or name, {streams} and scene:hall can be added here; a file is named where rtx is "
                "started"
            )
        if self.pipeline.events.record:
            self._recorded.add(len(self.pipeline.camera))
        self.pipeline = msgspec.structs.replace(self.pipeline, camera=(*self.pipeline.camera, camera))


def _may_be_added(source: str) -> bool:
    """Looks at no file: whoever may steer the page must not be able to try which there are, nor have them opened."""
    if source.isdecimal() or source.startswith(("scene:", "synthetic:")):
        return True
    if source.partition("://")[0].lower() in SCHEMES and "://" in source:
        return True
    return any(source in known for known in webcams())


def wish_address(folder: str) -> str:
    return f"ipc://{folder}/wishes"
