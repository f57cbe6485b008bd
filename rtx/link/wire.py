"""The messages: one part each, MessagePack of fixed structs, checked against limits before anything is allocated."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

MAX_SIDE = 8192
MAX_FRAMES = 512
MAX_MAP_BYTES = 4 << 20
MAX_FLOW_SIDE = 128
MAX_MESSAGE_BYTES = 16 << 20

Text = Annotated[str, Meta(max_length=200)]
Chain = Annotated[str, Meta(max_length=500)]
"""An explainer with its steps, as it is written: `ksigma(k=2) | selective`."""
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Nanoseconds = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Milliseconds = Annotated[dict[Annotated[str, Meta(max_length=40)], float], Meta(max_length=40)]


class BadMessage(ValueError):
    """A message that breaks the limits; it is dropped and counted."""


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    camera: Text


class Shape(msgspec.Struct, frozen=True):
    """A convex part of a drawn picture."""

    part: Text
    points: Annotated[bytes, Meta(max_length=512)]
    """P 2 int32: x, y in 1/16 pixel of the frame."""

    def outline(self) -> NDArray[np.int32]:
        """P 2: x, y in 1/16 pixel."""
        return np.frombuffer(self.points, np.int32).reshape(-1, 2)


class Truth(msgspec.Struct, frozen=True):
    """What is to be seen in a frame, where that is known because it was drawn."""

    action: Text
    acting: Annotated[tuple[Text, ...], Meta(max_length=32)]
    """The parts that make the action; none where nothing is done."""
    shapes: Annotated[tuple[Shape, ...], Meta(max_length=128)]
    """Back to front."""
    lasted_ns: Nanoseconds = 2**62
    """How long it has been doing that; for ever, unless told."""


class FrameRef(_Message, frozen=True, kw_only=True, tag="frame"):
    """A frame that lies in a ring of shared memory."""

    epoch: Count
    seq: Count
    t_capture: Nanoseconds
    height: Side
    width: Side
    ring: Text
    """Where the ring is (see ring.attach)."""
    slot: Annotated[int, Meta(ge=0, le=1024)]
    truth: Truth | None = None


class FrameJpeg(_Message, frozen=True, kw_only=True, tag="jpeg"):
    """A frame that travels as JPEG, between hosts."""

    epoch: Count
    seq: Count
    t_capture: Nanoseconds
    height: Side
    width: Side
    jpeg: bytes
    truth: Truth | None = None


class CameraState(_Message, frozen=True, kw_only=True, tag="camera"):
    """How a camera is. `since` is monotonic ns."""

    state: Literal["opening", "live", "lost", "ended"]
    since: Nanoseconds
    reason: Text = ""


class Cells(msgspec.Struct, frozen=True):
    """Where the cells of a map lie along t, y, x: cell i at `centre + i * stride`, in clip frames or input pixels.

    Positions count from the centre of frame or pixel 0.
    """

    stride: tuple[float, float, float]
    centre: tuple[float, float, float]


class RelevanceMap(msgspec.Struct, frozen=True):
    """A relevance map t h w as raw bytes, not normalised."""

    dtype: Literal["float32", "float16"]
    shape: Annotated[tuple[Side, Side, Side], Meta()]
    data: bytes
    cells: Cells
    input_size: tuple[Side, Side, Side]
    """The clip as the network saw it: T H W."""

    @classmethod
    def of(cls, values: NDArray[np.floating], cells: Cells, input_size: tuple[int, int, int]) -> RelevanceMap:
        t, h, w = values.shape
        kind: Literal["float32", "float16"] = "float16" if values.dtype == np.float16 else "float32"
        return cls(kind, (t, h, w), np.ascontiguousarray(values, kind).tobytes(), cells, input_size)

    def array(self) -> NDArray[np.float32]:
        """The map as float32 t h w."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape).astype(np.float32)


class Beside(msgspec.Struct, frozen=True):
    """Of a twin network's second branch: the newest frame's optical flow as it saw it, and where its evidence was."""

    map: RelevanceMap
    shape: tuple[Annotated[int, Meta(ge=1, le=MAX_FLOW_SIDE)], Annotated[int, Meta(ge=1, le=MAX_FLOW_SIDE)]]
    """Height and width."""
    data: bytes
    """h w 2 int8: along x and y; 127 where the network's input is cut off."""

    def flow(self) -> NDArray[np.float32]:
        """h w 2 in -1..1."""
        return np.frombuffer(self.data, np.int8).reshape(*self.shape, 2).astype(np.float32) / np.float32(127)


class TopClass(msgspec.Struct, frozen=True):
    label: Text
    p: Share


class Faithfulness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How likely the explained class was where a tenth of a clip was blanked: means of some clips."""

    whole: Share
    """Of the clips as they were."""
    hottest: Share
    """Without the most relevant tenth."""
    elsewhere: Share
    """Without as much at a place drawn by lot."""
    clips: Count
    cost: Share
    """Of the time in which the worker had clips, what these passes took: the share of clips that they replace."""


class Explanation(_Message, frozen=True, kw_only=True, tag="explanation"):
    """What the network said of one clip, and where it found its evidence."""

    epoch: Count
    first_seq: Count
    last_seq: Count
    t_frames: Annotated[tuple[Nanoseconds, ...], Meta(min_length=1, max_length=MAX_FRAMES)]
    """Capture times of the sampled frames, oldest first."""
    height: Side
    width: Side
    rect: tuple[float, float, float, float]
    """x, y, width, height of the network's input in pixels of the frame; may reach beyond it where fit = "pad"."""
    model: Text
    explainer: Chain
    device: Text
    backend: Text
    precision: Text
    top: Annotated[tuple[TopClass, ...], Meta(min_length=1, max_length=20)]
    target: Text | None
    """The explained class; None where the explainer is class-blind."""
    asked: Text | None = None
    """The class that somebody asked to be explained; None: the likeliest is."""
    map: RelevanceMap
    beside: Beside | None = None
    evidence: bool
    """False where the method found nothing above its threshold."""
    peak: float
    """The map's usual maximum on clear evidence, from the model's card; 0 where it is not known."""
    seen: tuple[float, float, float, float] | None = None
    """The part of the rectangle that the network was shown, x y width height; without it, all within the picture."""
    t_sent: Nanoseconds = 0
    """When the worker let go of it, in the worker's clock."""
    uncertainty_ms: float = 0.0
    """Of the capture times, where the frames came from another host."""
    motion_share: float | None = None
    """Share of the relevance that the selective step kept: how much of this is motion."""
    faithfulness: Faithfulness | None = None
    """Does the score depend on where the heat is? Of this camera's last measured clips."""
    degraded: Text = ""
    """What the worker gives up at present to keep within its budget, in words."""
    truth: Truth | None = None
    """Of the newest frame."""
    ms: Milliseconds = {}

    @property
    def t_newest(self) -> int:
        return self.t_frames[-1]


class WorkerState(_Message, frozen=True, kw_only=True, tag="worker"):
    """How the worker is, for one camera. `since` is monotonic ns."""

    state: Literal["loading", "collecting", "gap", "waiting"]
    since: Nanoseconds
    progress: Share = 0.0
    """While collecting: the share of the first clip that is there."""


class Handled(_Message, frozen=True, kw_only=True, tag="handled"):
    """`pace = "every"`: the worker has done all it will do with this frame."""

    epoch: Count
    seq: Count


class Shown(_Message, frozen=True, kw_only=True, tag="shown"):
    """`pace = "every"`: the last reader has done with this frame; the grabber may go on."""

    epoch: Count
    seq: Count


class Choice(msgspec.Struct, frozen=True):
    """What a viewer wants to be explained from now on."""

    number: Count
    explainer: Chain
    target: Text | None
    """None: the likeliest class."""


class Chosen(msgspec.Struct, frozen=True):
    """The worker's answer to the choice of this number."""

    number: Count
    refused: Annotated[str, Meta(max_length=2000)] = ""
    """Why it stays with what it did; empty where the choice was taken."""


class Hold(msgspec.Struct, frozen=True):
    """A viewer wants to look closely at the last clip of this camera that was explained."""

    number: Count
    camera: Text
    tree: tuple[Count, Count] | None = None
    """Epoch and last frame of the clip that it has already: now with its Class Feature Pyramid, which takes a pass."""


class TreeLayer(msgspec.Struct, frozen=True):
    """One layer of a Class Feature Pyramid."""

    below: int
    """The number of the layer above it, whose channels it made; -1: the features."""
    channels: Count
    """That matter."""
    of: Count
    strongest: Annotated[tuple[tuple[Count, float], ...], Meta(max_length=32)]
    """Channels and what they count in the map, of all that counts."""
    map: RelevanceMap


class HeldClip(msgspec.Struct, frozen=True):
    """A clip as the network saw it, whole."""

    explanation: Explanation
    """Its map is that of all frames."""
    frames: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=MAX_FRAMES)]
    """JPEGs, oldest first."""
    tree: Annotated[tuple[TreeLayer, ...], Meta(max_length=256)] = ()


class Held(msgspec.Struct, frozen=True):
    """The worker's answer to the wish of this number."""

    number: Count
    clip: HeldClip | None = None
    refused: Annotated[str, Meta(max_length=2000)] = ""
    """Why there is none, or none with a tree."""


FrameMessage = FrameRef | FrameJpeg | CameraState
MapMessage = Explanation | WorkerState | Handled

M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_frame_decoder = msgspec.msgpack.Decoder(FrameMessage)
_map_decoder = msgspec.msgpack.Decoder(MapMessage)
_shown_decoder = msgspec.msgpack.Decoder(Shown)
_choice_decoder = msgspec.msgpack.Decoder(Choice)
_chosen_decoder = msgspec.msgpack.Decoder(Chosen)
_hold_decoder = msgspec.msgpack.Decoder(Hold)
_held_decoder = msgspec.msgpack.Decoder(Held)


def pack(message: FrameMessage | MapMessage | Shown | Choice | Chosen | Hold | Held) -> bytes:
    return _encoder.encode(message)


def unpack_frame(data: bytes) -> FrameMessage:
    """Raises BadMessage."""
    message: FrameMessage = _unpack(_frame_decoder, data)
    if isinstance(message, FrameJpeg) and jpeg_size(message.jpeg) != (message.height, message.width):
        raise BadMessage("a JPEG of another size than its message says")
    if not isinstance(message, CameraState):
        _check_truth(message.truth)
    return message


def unpack_map(data: bytes) -> MapMessage:
    """Raises BadMessage."""
    message: MapMessage = _unpack(_map_decoder, data)
    if isinstance(message, Explanation):
        _check_explanation(message)
    return message


def _check_explanation(message: Explanation) -> None:
    _check_map(message.map)
    if message.beside is not None:
        _check_map(message.beside.map)
        if len(message.beside.data) != 2 * math.prod(message.beside.shape):
            raise BadMessage(f"a flow of {len(message.beside.data)} bytes that says {message.beside.shape}")
    numbers = (
        *message.rect, message.peak, message.motion_share or 0.0, *message.ms.values(),
        *(top.p for top in message.top),
    )  # fmt: skip
    if not all(math.isfinite(number) for number in numbers):
        raise BadMessage("a number that is none")
    x, y, width, height = message.rect
    if min(width, height) <= 0 or max(abs(x), abs(y), width, height) > MAX_SIDE:
        raise BadMessage("an input rectangle that is no place")
    _check_truth(message.truth)


def _check_map(relevance: RelevanceMap) -> None:
    size = math.prod(relevance.shape) * np.dtype(relevance.dtype).itemsize
    if size > MAX_MAP_BYTES or size != len(relevance.data):
        raise BadMessage(f"a map of {len(relevance.data)} bytes that says {relevance.shape} {relevance.dtype}")
    if max(relevance.shape[0], relevance.input_size[0]) > MAX_FRAMES:
        raise BadMessage("a map of more frames than a clip may have")
    cells = (*relevance.cells.stride, *relevance.cells.centre)
    if not all(math.isfinite(number) for number in cells) or not np.isfinite(relevance.array()).all():
        raise BadMessage("a number that is none")
    if min(relevance.cells.stride) <= 0:
        raise BadMessage("cells that do not advance")


def _check_truth(truth: Truth | None) -> None:
    for shape in truth.shapes if truth is not None else ():
        if not shape.points or len(shape.points) % 8:
            raise BadMessage("an outline that is none")
        # A product of coordinates beyond this would leave 64 bits where areas are filled.
        if np.abs(shape.outline().astype(np.int64)).max() > 16 * 4 * MAX_SIDE:
            raise BadMessage("an outline far outside of its picture")


def unpack_shown(data: bytes) -> Shown:
    """Raises BadMessage."""
    return _unpack(_shown_decoder, data)


def unpack_choice(data: bytes) -> Choice:
    """Raises BadMessage."""
    return _unpack(_choice_decoder, data)


def unpack_chosen(data: bytes) -> Chosen:
    """Raises BadMessage."""
    return _unpack(_chosen_decoder, data)


def unpack_hold(data: bytes) -> Hold:
    """Raises BadMessage."""
    return _unpack(_hold_decoder, data)


def unpack_held(data: bytes) -> Held:
    """Raises BadMessage."""
    held = _unpack(_held_decoder, data)
    if held.clip is not None:
        _check_explanation(held.clip.explanation)
        for jpeg in held.clip.frames:
            if max(jpeg_size(jpeg) or (MAX_SIDE,)) > MAX_SIDE - 1:
                raise BadMessage("a frame that is no JPEG")
        for number, layer in enumerate(held.clip.tree):
            _check_map(layer.map)
            if not -1 <= layer.below < max(number, 1) or not all(math.isfinite(share) for _, share in layer.strongest):
                raise BadMessage("a tree that is none")
    return held


def _unpack(decoder: msgspec.msgpack.Decoder[M], data: bytes) -> M:
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"a message of {len(data)} bytes, allowed {MAX_MESSAGE_BYTES}")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from None


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width from a JPEG's frame header, without decoding it; None where it is no JPEG."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD9 or length < 2:
            return None  # No segment: what a decoder skips here could hide another frame header.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 2 + length
    return None
