"""A view as it travels to the browser: header, heat and JPEG in one message; the JPEG is made once."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from rtx.clock import ms, now
from rtx.config import Colours
from rtx.link.wire import Faithfulness, TopClass, Truth
from rtx.measure.localisation import HitRates
from rtx.show.overlay import DARKEST, DIM, PALETTES, put_beside
from rtx.show.view import View

MAX_WIDTH = 1280
PLAIN_PALETTES = {name: tuple(colours[:, ::-1].ravel().tolist()) for name, colours in PALETTES.items()}
QUALITY = 80
FRESH_MS = 1.0
"""So long, viewers are sent the same message: its ages may be that much too young."""


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message to a viewer, as text."""

    cameras: list[str]
    explainers: list[dict[str, Any]]
    """As declared: name, what it shows, what it reads (null: a step), parameters with their ranges, paper."""
    labels: tuple[str, ...]
    """The classes that can be explained; none where their names are not known here."""
    opacity: float
    display: Literal["heat", "focus"]
    colours: str
    budget_ms: float
    """How old a heatmap may be."""
    may_steer: bool = True
    """Does this viewer's token allow to change what is explained?"""
    darkest: float = DARKEST
    dim: float = DIM
    palettes: dict[Colours, tuple[int, ...]] = msgspec.field(default_factory=lambda: PLAIN_PALETTES)
    """Red, green, blue for each of the 256 values of heat."""


class TruthHeader(msgspec.Struct, frozen=True):
    """What the frame really shows; outlines in pixels of the picture sent."""

    action: str
    body: tuple[tuple[float, ...], ...]
    """Outlines of the figure's parts: x, y, x, y..."""
    acting: tuple[tuple[float, ...], ...]
    """Of these, the parts that make the action."""
    distractor: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, truth: Truth, across: float, down: float) -> TruthHeader:
        body: list[tuple[float, ...]] = []
        acting: list[tuple[float, ...]] = []
        distractor: list[tuple[float, ...]] = []
        for shape in truth.shapes:
            # The middle of the first pixel is 0 in an outline, 1/2 on a canvas.
            points = tuple(((shape.outline() / 16 + 0.5) * (across, down)).round(1).ravel().tolist())
            (distractor if shape.part == "distractor" else body).append(points)
            if shape.part in truth.acting:
                acting.append(points)
        return cls(truth.action, tuple(body), tuple(acting), tuple(distractor))


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="view"):
    """What a message says before heat and JPEG. Ages in ms at the moment of sending."""

    camera: str
    last: bool
    """The last view of this answer: the viewer may ask again once it has drawn it."""
    epoch: int
    seq: int
    camera_state: str
    worker_state: str
    recorded: str
    """In words, where the camera is being recorded, or should be."""
    top: tuple[TopClass, ...]
    target: str | None
    target_p: float | None
    """How likely the explained class is."""
    explainer: str
    model: str
    backend: str
    precision: str
    evidence: bool
    frame_age_ms: float
    heatmap_age_ms: float | None
    misalignment_ms: float | None
    uncertainty_ms: float
    late: bool
    degraded: str
    """What the worker gives up at present to keep within its budget; empty: nothing."""
    motion_share: float | None
    faithfulness: Faithfulness | None
    """How likely the class is: as it is, without the hottest tenth, without another tenth; and of how many clips."""
    truth: TruthHeader | None
    right: bool | None
    """Is the first class the true one? null where nobody knows, and where the clip shows two acts."""
    hits: HitRates | None
    """How often the heat's maximum lay on the figure of late: body, acting limbs, chances of both, frames."""
    seen: tuple[float, float, float, float] | None
    """The part of `rect` that the network was shown; null: all that lies in the picture."""
    rect: tuple[float, float, float, float] | None
    """Where the heat lies, x y width height in pixels of the picture sent; may reach beyond it."""
    inset: tuple[int, int, int, int] | None
    """x0 y0 x1 y1 of what is drawn into the picture already, and stays above the heat: the flow of a twin network."""
    heat: tuple[int, int]
    """Height and width of the heat that follows, one byte each; 0, 0 where there is none."""


class Picture:
    """A frame of its own (the display's is in memory that will be overwritten), at most `MAX_WIDTH` wide."""

    def __init__(self, view: View) -> None:
        height, width = view.image.shape[:2]
        self.frame = (view.epoch, view.seq)
        if width > MAX_WIDTH:
            size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
            self.pixels: NDArray[np.uint8] = np.asarray(
                cv2.resize(view.image, size, interpolation=cv2.INTER_AREA), np.uint8
            )
        else:
            self.pixels = view.image.copy()
        self.inset = None if view.beside is None else put_beside(self.pixels, view.beside)
        self.scale = (self.pixels.shape[1] / width, self.pixels.shape[0] / height)

    @cached_property
    def jpeg(self) -> bytes:
        return cv2.imencode(".jpg", self.pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


class Shot:
    """A view at the moment it was shown, with its own copy of the picture."""

    def __init__(self, number: int, view: View, picture: Picture) -> None:
        self.number = number
        self.view = view
        self.picture = picture
        self._since = now()
        self._made: dict[bool, tuple[float, bytes]] = {}

    def message(self, last: bool) -> bytes:
        """Length of the header (4 bytes, little endian), header (JSON), heat, JPEG."""
        jpeg = self.picture.jpeg  # First of all: whoever is sent it first waits while it is made.
        waited = ms(now() - self._since)
        made = self._made.get(last)
        if made is None or waited - made[0] > FRESH_MS:
            made = self._made[last] = waited, self._encode(jpeg, waited, last)
        return made[1]

    def _encode(self, jpeg: bytes, waited: float, last: bool) -> bytes:
        view = self.view
        across, down = self.picture.scale
        rect = view.heat.rect if view.heat is not None else None
        seen = view.heat.seen if view.heat is not None else None
        header = msgspec.json.encode(
            Header(
                camera=view.camera,
                last=last,
                epoch=view.epoch,
                seq=view.seq,
                camera_state=view.camera_state,
                worker_state=view.worker_state,
                recorded=view.recorded,
                top=view.top,
                target=view.target,
                target_p=next((of.p for of in view.top if of.label == view.target), None),
                explainer=view.explainer,
                model=view.model,
                backend=view.backend,
                precision=view.precision,
                evidence=view.evidence,
                frame_age_ms=view.frame_age_ms + waited,
                heatmap_age_ms=None if view.heatmap_age_ms is None else view.heatmap_age_ms + waited,
                misalignment_ms=view.misalignment_ms,
                uncertainty_ms=view.uncertainty_ms,
                late=view.late,
                degraded=view.degraded,
                motion_share=view.motion_share,
                faithfulness=view.faithfulness,
                truth=None if view.truth is None else TruthHeader.of(view.truth, across, down),
                right=view.right,
                hits=view.hits,
                rect=rect and (rect.x * across, rect.y * down, rect.width * across, rect.height * down),
                seen=seen and (seen.x * across, seen.y * down, seen.width * across, seen.height * down),
                inset=self.picture.inset,
                heat=(view.heat.values.shape[0], view.heat.values.shape[1]) if view.heat is not None else (0, 0),
            )
        )
        heat = view.heat.values.tobytes() if view.heat is not None else b""
        return b"".join((len(header).to_bytes(4, "little"), header, heat, jpeg))
