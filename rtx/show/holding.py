"""A clip held still: what a viewer asked to see closely, as the worker gave it, ready for a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from rtx.clock import ms
from rtx.link.hold import HoldAsk
from rtx.link.wire import Count, Explanation, HeldClip, RelevanceMap, TopClass
from rtx.show.overlay import every_frame, levels

POINTS = 28
"""A side of a layer's map in a tree."""

Deliver = Callable[[bytes], None]


class HoldWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="hold"):
    """What a viewer asks for."""

    camera: str
    tree: tuple[Count, Count] | None = None
    """Epoch and last frame of the clip that it has already, now with the Class Feature Pyramid."""


class TreeHeader(msgspec.Struct, frozen=True):
    """A layer of the pyramid; its heat T h w follows those of the clip."""

    below: int
    channels: int
    of: int
    strongest: tuple[tuple[int, float], ...]


class HeldHeader(msgspec.Struct, frozen=True, tag="held"):
    """What is said before heats and JPEGs."""

    camera: str
    refused: str = ""
    """Why there is no clip."""
    epoch: int = 0
    last_seq: int = 0
    times_ms: tuple[float, ...] = ()
    """Of the frames, before the newest one."""
    model: str = ""
    explainer: str = ""
    target: str | None = None
    top: tuple[TopClass, ...] = ()
    evidence: bool = False
    motion_share: float | None = None
    heat: tuple[int, int, int] = (0, 0, 0)
    """Frames, height and width of the heat that follows, one byte each."""
    tree: tuple[TreeHeader, ...] = ()
    tree_heat: tuple[int, int, int] = (0, 0, 0)
    """Of each layer's heat; they follow, one after the other."""
    jpegs: tuple[int, ...] = ()
    """Bytes of each frame's JPEG; they come last."""


class Holding:
    """`ask` may be called by any thread; `step` belongs to the display's, which also delivers."""

    def __init__(self, line: HoldAsk | None):
        """`line`: the way to the worker; None where none is heard here."""
        self._line = line
        self._wishes: dict[Hashable, tuple[HoldWish, Deliver]] = {}
        self._lock = threading.Lock()

    def ask(self, viewer: Hashable, wish: HoldWish, deliver: Deliver) -> None:
        """Have the answer delivered, as bytes; of each viewer the newest wish counts."""
        with self._lock:
            self._wishes[viewer] = wish, deliver

    def step(self) -> None:
        """Send what was asked for, deliver what was answered."""
        with self._lock:
            wishes, self._wishes = self._wishes, {}
        for viewer, (wish, deliver) in wishes.items():
            if self._line is None:
                deliver(to_browser(wish.camera, "no worker is heard on this host"))
            else:
                self._line.ask(viewer, wish.camera, wish.tree, partial(_deliver, deliver, wish.camera))
        if self._line is not None:
            self._line.step()


def _deliver(deliver: Deliver, camera: str, answer: HeldClip | str) -> None:
    deliver(to_browser(camera, answer))


def to_browser(camera: str, answer: HeldClip | str) -> bytes:
    """Length of the header (4 bytes, little endian), header (JSON), heats, JPEGs."""
    if isinstance(answer, str):
        header = msgspec.json.encode(HeldHeader(camera, answer))
        return len(header).to_bytes(4, "little") + header
    explanation = answer.explanation
    relevance = every_frame(explanation.map)
    full = max(float(relevance.max()), explanation.peak)
    heat = levels(explanation, relevance, full) if full > 0 else np.zeros(relevance.shape, np.uint8)
    layers = [_whole_range(layer.map) for layer in answer.tree]
    header = msgspec.json.encode(
        HeldHeader(
            camera, "", explanation.epoch, explanation.last_seq, _before(explanation), explanation.model,
            explanation.explainer, explanation.target, explanation.top, explanation.evidence, explanation.motion_share,
            _shape(heat), tuple(TreeHeader(of.below, of.channels, of.of, of.strongest) for of in answer.tree),
            _shape(layers[0]) if layers else (0, 0, 0), tuple(len(jpeg) for jpeg in answer.frames),
        )
    )  # fmt: skip
    heats = [of.tobytes() for of in (heat, *layers)]
    return b"".join((len(header).to_bytes(4, "little"), header, *heats, *answer.frames))


def _before(explanation: Explanation) -> tuple[float, ...]:
    return tuple(round(ms(explanation.t_newest - t), 1) for t in explanation.t_frames)


def _shape(values: NDArray[np.uint8]) -> tuple[int, int, int]:
    frames, height, width = values.shape
    return frames, height, width


def _whole_range(relevance: RelevanceMap) -> NDArray[np.uint8]:
    """A layer's map, its own maximum drawn as full heat: T h w."""
    values = every_frame(relevance, POINTS)
    highest = float(values.max())
    return np.asarray(np.clip(values * (255 / highest if highest > 0 else 0), 0, 255), np.uint8)
