"""What was found in a file: explained clips, and the map of each moment, the mean over the clips that held it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S
from rtx.geometry import Rect
from rtx.link.frames import Frame
from rtx.link.wire import Explanation, TopClass, TreeLayer, pack, unpack_map
from rtx.show.overlay import GRID, certainty, every_frame
from rtx.show.view import Heat, View

if TYPE_CHECKING:
    from rtx.api import Result
    from rtx.film.read import FileClip

FULL = 0.995
"""Full heat begins at this quantile of a clip: of a map of single pixels, the highest would leave all others pale."""
BLUR = 1 / 56
"""Such a map is drawn smoothed: the deviation of the Gaussian, as a share of the clip's height."""

COVERED = 0.98
"""Of less it is said that the rest was not explained."""
NOT_EXPLAINED = "in no clip that was explained"
LEAST = 1e-3
"""What a clip counts at its ends: where it is alone, that is all there is."""


class Row(NamedTuple):
    """One explained clip, without its map."""

    times: tuple[int, ...]
    """Of its frames, ns since the file's first one."""
    top: tuple[TopClass, ...]
    target: str | None
    """The explained class; None where the explainer is class-blind."""
    evidence: bool
    motion_share: float | None
    full: float
    """The `FULL` quantile of what speaks for the class in its map."""

    @property
    def certainty(self) -> float:
        """The share of full heat that its class may have, 0..1."""
        return certainty(self.top, self.target)

    def near(self, time: int) -> bool:
        """Does it hold a frame of that time, or one that is no further off than its own are apart?"""
        apart = (self.times[-1] - self.times[0]) // max(1, len(self.times) - 1)
        return self.times[0] - apart <= time <= self.times[-1] + apart

    def plain(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "from_s": round(self.times[0] / NS_PER_S, 4), "to_s": round(self.times[-1] / NS_PER_S, 4),
            "top": [{"label": of.label, "p": round(of.p, 6)} for of in self.top], "target": self.target,
            "evidence": self.evidence, "motion_share": self.motion_share,
        }  # fmt: skip


class Clips:
    """A file's explained clips, oldest first; their maps lie in a temporary file, for a film may be long."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.smooth = False
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the clips)
        self._ends = [0]

    def add(self, explanation: Explanation, smooth: bool) -> None:
        """The next clip, with its whole map; `smooth` where that is one of single pixels."""
        self.smooth = smooth
        heat = smoothed(every_frame(explanation.map), smooth)
        full = float(np.quantile(np.maximum(heat, 0), FULL)) or max(0.0, float(heat.max()))
        self.rows.append(Row(
            explanation.t_frames, explanation.top, explanation.target, explanation.evidence, explanation.motion_share,
            full if explanation.evidence else 0.0,
        ))  # fmt: skip
        self._file.seek(self._ends[-1])
        self._ends.append(self._ends[-1] + self._file.write(pack(explanation)))

    def __getitem__(self, number: int) -> Explanation:
        begin, end = self._ends[number : number + 2]
        self._file.seek(begin)
        explanation = unpack_map(self._file.read(end - begin))
        assert isinstance(explanation, Explanation)
        return explanation


class Panel(Protocol):
    """What one explainer found in a file."""

    explainer: str
    rows: list[Row]

    def at(self, time: int) -> tuple[Row | None, Heat]:
        """The clip that speaks for a moment (ns since the first frame), if one does, and the heat over its frame."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What an .npz holds of it."""


class Still:
    """What one explainer found in one clip, which has a scale of its own: from nothing, or its least, to its `FULL`."""

    def __init__(self, clip: FileClip, result: Result):
        self.explainer = result.explainer
        self._clip, self._result = clip, result
        self._heat = own_scale(result)
        times = clip.clip.t_frames
        full = float(self._heat.max())
        self.rows = [Row(times, result.top, result.target, result.evidence, result.motion_share, full)]

    def at(self, time: int) -> tuple[Row | None, Heat]:
        clip = self._clip.clip
        values = joined([(clip.t_frames, self._heat)], time)
        return self.rows[0], Heat(values.astype(np.uint8), clip.rect, clip.seen)

    def arrays(self) -> dict[str, NDArray[Any]]:
        clip, result = self._clip.clip, self._result
        return {
            "relevance": result.relevance, "heatmap": result.heatmap, "frames": clip.frames,
            "times_s": np.asarray(clip.t_frames) / NS_PER_S, "rect": np.asarray(clip.rect),
            "labels": np.asarray([top.label for top in result.top]), "p": np.asarray([top.p for top in result.top]),
            "target": np.asarray(result.target or ""), "explainer": np.asarray(result.explainer),
            "model": np.asarray(result.model),
        }  # fmt: skip


def own_scale(result: Result) -> NDArray[np.float32]:
    """T H W, 0..255: what speaks for the class, from the clip's least, or nothing, to its `FULL` quantile."""
    heat = np.zeros_like(result.relevance_full)
    if result.evidence:
        heat = np.maximum(result.relevance_full - max(0.0, float(result.relevance_full.min())), 0)
    if result.relevance.shape == heat.shape:
        heat = smoothed(heat)
    full = float(np.quantile(heat, FULL)) or float(heat.max()) or 1.0
    return np.asarray(np.clip(heat * (255 / full), 0, 255), np.float32)


class Sliding:
    """One explainer's clips over a film: at each moment, the mean of the maps of the clips that held it.

    Only clips that explain the same class as the one whose middle is nearest: the sum of two answers answers nothing.
    A film has one scale: full heat is the usual strength of its clips, and each has as much as its class is certain.
    """

    def __init__(self, explainer: str, clips: Clips):
        self.explainer = explainer
        self.rows = clips.rows
        self._clips = clips
        self._begins = np.asarray([row.times[0] for row in self.rows])
        self._ends = np.asarray([row.times[-1] for row in self.rows])
        self._full = usual([row.full for row in self.rows], [row.certainty for row in self.rows])
        self._loaded: dict[int, tuple[Explanation, NDArray[np.float32]]] = {}

    def at(self, time: int) -> tuple[Row | None, Heat]:
        nearest = int(np.abs(self._begins + self._ends - 2 * time).argmin())
        row = self.rows[nearest]
        holding = range(int(np.searchsorted(self._ends, time)), int(np.searchsorted(self._begins, time, "right")))
        chosen = [i for i in holding if self.rows[i].target == row.target] or [nearest]
        self._loaded = {i: self._loaded.get(i) or self._load(i) for i in {nearest, *chosen}}
        of, _ = self._loaded[nearest]
        rect, seen = Rect(*of.rect), None if of.seen is None else Rect(*of.seen)
        if not row.near(time):
            return None, Heat(np.zeros((GRID, GRID), np.uint8), rect, seen)
        mean = joined([(self.rows[i].times, self._loaded[i][1]) for i in chosen], time)
        values = np.clip(mean * (255 / self._full), 0, 255) if self._full > 0 else np.zeros((GRID, GRID))
        return row, Heat(values.astype(np.uint8), rect, seen)

    def arrays(self) -> dict[str, NDArray[Any]]:
        first = self._clips[0]
        most = max(len(row.top) for row in self.rows)
        tops = [[*row.top, *[TopClass("", 0.0)] * (most - len(row.top))] for row in self.rows]
        return {
            "relevance": self._relevance(), "times_s": np.asarray([row.times for row in self.rows]) / NS_PER_S,
            "cells": np.asarray([first.map.cells.stride, first.map.cells.centre]),
            "input_size": np.asarray(first.map.input_size), "rect": np.asarray(first.rect),
            "labels": np.asarray([[top.label for top in row] for row in tops]),
            "p": np.asarray([[top.p for top in row] for row in tops]),
            "target": np.asarray([row.target or "" for row in self.rows]),
            "motion_share": np.asarray([np.nan if row.motion_share is None else row.motion_share for row in self.rows]),
            "full": np.asarray(self._full), "explainer": np.asarray(self.explainer), "model": np.asarray(first.model),
        }  # fmt: skip

    def _relevance(self) -> NDArray[np.float32]:
        """Every clip's map K t h w, in a temporary file, not normalised."""
        shape = (len(self.rows), *self._clips[0].map.shape)
        with tempfile.TemporaryFile() as file:
            # Written before it is mapped: a full disk is an error here, and the end of the process there.
            for number in range(len(self.rows)):
                file.write(self._clips[number].map.array().tobytes())
            file.flush()
            return np.memmap(file, np.float32, "r", shape=shape)

    def _load(self, number: int) -> tuple[Explanation, NDArray[np.float32]]:
        """A clip and its heat T GRID GRID, as far as its class is certain."""
        of = self._clips[number]
        return of, smoothed(every_frame(of.map), self._clips.smooth) * np.float32(self.rows[number].certainty)


def usual(values: Sequence[float], weights: Sequence[float]) -> float:
    """The median of those above 0, each counted by its weight; 0 where there is none."""
    counted = sorted((value, weight) for value, weight in zip(values, weights, strict=True) if value > 0)
    half, passed = sum(weight for _, weight in counted) / 2, 0.0
    for value, weight in counted:
        passed += weight
        if passed >= half:
            return value
    return 0.0


def joined(clips: Sequence[tuple[Sequence[int], NDArray[np.float32]]], time: int) -> NDArray[np.float32]:
    """The mean at a time over clips (times of their frames, maps T h w), each linear between its frames: h w.

    A clip counts most at its middle and next to nothing at its ends, so that nothing leaps where one comes or goes.
    """
    total, weights = np.zeros(clips[0][1].shape[1:], np.float32), 0.0
    for times, maps in clips:
        at = float(np.interp(time, times, np.arange(len(times))))
        low = int(at)
        high, part = min(low + 1, len(times) - 1), at - low
        half = max(1, times[-1] - times[0]) / 2
        weight = max(LEAST, 1 - abs(time - times[0] - half) / half)
        total += weight * (maps[low] * (1 - part) + maps[high] * part)
        weights += weight
    return np.asarray(total / weights, np.float32)


def smoothed(heat: NDArray[np.float32], smooth: bool = True) -> NDArray[np.float32]:
    """A map of single pixels T h w as it is drawn."""
    if not smooth:
        return heat
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), BLUR * len(frame)), np.float32) for frame in heat])


class Pyramid(NamedTuple):
    """What the class of one clip, the one with the clearest evidence, rests on."""

    row: Row
    frames: NDArray[np.uint8]
    """The clip as the network saw it: T H W 3, BGR."""
    layers: tuple[TreeLayer, ...]
    why: str
    """There are none."""


@dataclass(frozen=True)
class Film:
    """A file or one of its clips, explained."""

    file: str
    model: str
    backend: str
    device: str
    precision: str
    height: int
    width: int
    begin: int
    """Time of the first frame that is shown, ns since the file's first."""
    end: int
    """Of the last one."""
    panels: tuple[Panel, ...]
    """One an explainer."""
    frames: Callable[[], Iterable[Frame]]
    """All that is shown, to be gone through again."""
    whole: bool = False
    """All of the file, and not one clip of it."""
    stretched: bool = False
    """There was less than a clip's duration: its frames were spread over the clip."""
    pyramid: Pyramid | None = None
    """Where it was asked for."""

    def moments(self, most: int) -> list[int]:
        """Times, ns: the clip's frames, or evenly over a whole film."""
        if self.whole:
            return [self.begin + round((i + 0.5) * (self.end - self.begin) / most) for i in range(most)]
        times = self.panels[0].rows[0].times
        return [times[round(i)] for i in np.linspace(0, len(times) - 1, min(most, len(times)))]

    def views(self) -> Iterator[tuple[View, ...]]:
        """Each frame, as each explainer heats it."""
        for frame in self.frames():
            yield tuple(self._view(panel, frame) for panel in self.panels)

    def _view(self, panel: Panel, frame: Frame) -> View:
        row, heat = panel.at(frame.t_capture)
        view = View(
            "file", frame.pixels, frame.seq, 0, frame.t_capture, 0.0, "live", "explaining", heat,
            explainer=panel.explainer,
        )  # fmt: skip
        if row is None:
            return replace(view, worker_state=NOT_EXPLAINED)
        return replace(view, evidence=row.evidence, top=row.top, target=row.target, motion_share=row.motion_share)

    @property
    def covered(self) -> float:
        """The share of its time that lies in some explained clip, 0..1."""
        covered, reached = 0, self.begin
        for row in self.panels[0].rows:
            covered += max(0, row.times[-1] - max(reached, row.times[0]))
            reached = max(reached, row.times[-1])
        return min(1.0, covered / max(1, self.end - self.begin))

    def plain(self) -> dict[str, object]:
        """What `rtx explain --whole --json` prints of it."""
        return {
            "file": self.file, "model": self.model, "backend": self.backend, "device": self.device,
            "precision": self.precision, "end_s": round(self.end / NS_PER_S, 4), "covered": round(self.covered, 4),
            "stretched": self.stretched,
            "explainers": [
                {"explainer": panel.explainer, "clips": [row.plain() for row in panel.rows]} for panel in self.panels
            ],
        }  # fmt: skip
