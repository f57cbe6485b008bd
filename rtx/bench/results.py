"""What was measured: one struct for the JSON file, read back to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rtx.errors import UserError
from rtx.measure.ages import Summary

STAGES = ("capture", "hand-over", "resize", "wait", "forward", "explain", "wire", "upsample", "overlay", "show")
"""The way of a frame, and of the heatmap over it."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to measure."""

    device: str
    backend: str
    model: str
    explainer: str
    cameras: int

    def __str__(self) -> str:
        cameras = f"{self.cameras} camera" + "s" * (self.cameras > 1)
        return f"{self.model}, {self.explainer}, {self.backend} on {self.device}, {cameras}"


class Moment(msgspec.Struct, frozen=True):
    """Heatmap ages around one moment."""

    s: float
    p50_ms: float
    p95_ms: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one case came to; ages in ms, all after the warm-up."""

    case: Case
    not_measured: str = ""
    """Why not; nothing else is then known."""
    device: str = ""
    """That of the run, as the worker told."""
    precision: str = ""
    seconds: float = 0.0
    explained_per_s: float = 0.0
    """Over all cameras."""
    shown_per_s: float = 0.0
    heatmap: Summary = Summary(None, None, None, None, 0)
    """Its age at the display, with each frame shown."""
    stages: dict[str, Summary] = {}
    late: float = 0.0
    """Share of the displays whose heatmap was older than the budget, or that had none."""
    clip_by_clip: bool = False
    """A network that could be followed frame by frame was not, because this backend cannot."""
    holds: bool = False
    """No more late ones than the budget allows."""
    first_heatmap_s: float | None = None
    over_time: list[Moment] = []
    histogram: list[tuple[float, int]] = []
    """Heatmap ages: lower end of a bin in ms, displays."""
    rss_mb: dict[str, float] = {}
    cpu_share: dict[str, float] = {}
    """Cores that each process kept busy."""
    gpu_mb: float | None = None
    watts: float | None = None
    """Of the GPU, where its driver tells."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """A report."""

    when: str
    commit: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    budget_ms: float
    allowed_misses: float
    results: list[Measured]

    def most_cameras(self) -> list[tuple[Case, int | None]]:
        """Of each device, backend, model and explainer: the most cameras that held the budget; None: not even one."""
        found: dict[tuple[str, ...], tuple[Case, int | None]] = {}
        for result in self.results:
            case = result.case
            if result.not_measured:
                continue
            key = (case.device, case.backend, case.model, case.explainer)
            _, most = found.get(key, (case, None))
            found[key] = case, max(most or 0, case.cameras) if result.holds else most
        return list(found.values())


def read(path: Path) -> Bench:
    """A report from its file. UserError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bench)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a report of `rtx bench --report`") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no report of `rtx bench`: {error}") from None


def ratio(after: float | None, before: float | None) -> float | None:
    """How many times as much; None where one is not known."""
    return None if after is None or not before else after / before
