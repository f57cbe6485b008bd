"""Measures one case: a run of all processes over sources that do not wait, what it came to after its warm-up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from rtx.bench.results import Case, Measured, Moment
from rtx.clock import NS_PER_S, now
from rtx.config import Pipeline
from rtx.errors import UserError
from rtx.machine import ask_gpus
from rtx.measure.ages import Ages, Summary
from rtx.process import Role
from rtx.report import summarise
from rtx.supervise import Supervisor

START_S = 120.0
"""A first heatmap must have come by then; graphs and compilers take their time."""
SETTLE_S = 2.5
"""After the first heatmap: ages and rates count from then."""
MOMENT_S = 1.0

_OF: dict[str, tuple[Role, str]] = {
    "capture": ("grabber", "capture"), "pickup": ("worker", "pickup"), "resize": ("worker", "resize"),
    "waited": ("worker", "wait"), "forward": ("worker", "forward"), "explain": ("worker", "explain"),
    "wire": ("display", "wire"), "upsample": ("display", "upsample"), "overlay": ("display", "overlay"),
    "show": ("display", "show"), "heatmap": ("display", "heatmap"),
}  # fmt: skip


class _Snapshot:
    """What all processes had told by now."""

    def __init__(self, run: Supervisor):
        self.at = now()
        self.ages = {name: _ages(run, *of) for name, of in _OF.items()}
        self.cpu_s = {child.name: child.status.cpu_s for child in run.children if child.status}
        self._counts = {child.name: dict(child.status.counts) for child in run.children if child.status}

    def count(self, name: str) -> int:
        return sum(counts.get(name, 0) for counts in self._counts.values())

    def rate(self, before: _Snapshot, name: str) -> float:
        """Per second, summed over processes, each from its own first to its own last one."""
        found = 0.0
        for child, counts in self._counts.items():
            then = before._counts.get(child, {})
            # What has stopped is not as quick as it was; what goes on was told half a second ago.
            spent = counts.get(f"{name}_last_ns", 0) - then.get(f"{name}_last_ns", 0)
            spent = max(spent, self.at - before.at - NS_PER_S)
            if name in then and spent > 0:
                found += (counts[name] - then[name]) * NS_PER_S / spent
        return found


def measure(case: Case, pipeline: Pipeline, seconds: float, tick: Callable[[float], None]) -> Measured:
    """Run it for so long after the warm-up; `tick` hears of the seconds that have gone by.

    What cannot be had here (a GPU, a package) is told in the result, not raised.
    """
    try:
        with _power(case.device == "cuda") as power, Supervisor(pipeline) as run:
            before = _warm(run, tick)
            moments: list[Moment] = []
            last = before
            power.start()
            while run.step() and (left := seconds - (now() - before.at) / NS_PER_S) > 0:
                if now() - last.at >= MOMENT_S * NS_PER_S:
                    tick((now() - last.at) / NS_PER_S)
                    last = _moment(run, before, last, moments)
                if any(child.restarts for child in run.children):
                    raise UserError("; ".join(run.messages()) or f"a process died with {left:.0f} s to go")
            after = _Snapshot(run)
            rss = {child.name: round(child.status.rss_mb, 1) for child in run.children if child.status}
            report = summarise(run)
    except UserError as error:
        return Measured(case=case, not_measured=str(error))
    ages = {name: of.since(before.ages[name]) for name, of in after.ages.items()}
    shown = max(1, after.count("shown_measured") - before.count("shown_measured"))
    late = sum(after.count(name) - before.count(name) for name in ("deadline_misses", "shown_without_heatmap")) / shown
    spent = (after.at - before.at) / NS_PER_S
    return Measured(
        case=case, device=report.device, precision=report.precision, seconds=round(spent, 1),
        explained_per_s=round(after.rate(before, "explained"), 2), shown_per_s=round(after.rate(before, "shown"), 2),
        heatmap=ages["heatmap"].summary(), stages=_stages(ages), late=round(late, 4),
        first_heatmap_s=report.first_heatmap_s,
        over_time=moments, histogram=ages["heatmap"].bins(), rss_mb=rss,
        cpu_share={name: round((cpu - before.cpu_s.get(name, 0)) / spent, 3) for name, cpu in after.cpu_s.items()},
        watts=power.watts, gpu_mb=power.mb,
    )  # fmt: skip


def _warm(run: Supervisor, tick: Callable[[float], None]) -> _Snapshot:
    """Until heatmaps have come for a while."""
    begun = last = now()
    since: int | None = None
    while run.step():
        if now() - last > NS_PER_S // 5:
            tick(0.0)
            last = now()
        if since is None and summarise(run).first_heatmap_s is not None:
            since = now()
        if since is not None and now() - since > SETTLE_S * NS_PER_S:
            return _Snapshot(run)
        if since is None and now() - begun > START_S * NS_PER_S:
            break
    states = ", ".join(f"{child.name}: {child.state}" for child in run.children)
    raise UserError(f"no heatmap within {START_S:.0f} s ({states})")


def _moment(run: Supervisor, before: _Snapshot, last: _Snapshot, moments: list[Moment]) -> _Snapshot:
    present = _Snapshot(run)
    summary = present.ages["heatmap"].since(last.ages["heatmap"]).summary()
    if summary.p50 is None or summary.p95 is None:
        return last  # Nothing was told meanwhile.
    moments.append(Moment(round((present.at - before.at) / NS_PER_S, 2), summary.p50, summary.p95))
    return present


def _stages(ages: dict[str, Ages]) -> dict[str, Summary]:
    found = {name: of.summary() for name, of in ages.items() if name != "heatmap"}
    pickup, waited = found.pop("pickup"), found.pop("waited")
    # Both are counted from the capture: what lies between them and the stage before is the stage.
    found["hand-over"] = _less(pickup, found["capture"])
    found["wait"] = _less(_less(waited, pickup), found["resize"])
    return found


def _less(whole: Summary, part: Summary) -> Summary:
    """What is left of a stage without one within it; percentiles of differences are not known, and so are left out."""
    if whole.p50 is None or part.p50 is None:
        return whole
    return Summary(round(max(0.0, whole.p50 - part.p50), 2), None, None, None, whole.n)


def _ages(run: Supervisor, role: Role, name: str) -> Ages:
    merged = Ages()
    for child in run.children:
        if child.role == role:
            merged.merge(child.ages(name))
    return merged


class _Power:
    """What the GPU draws and holds, once a second, from another thread."""

    def __init__(self) -> None:
        self._ended, self._begun = threading.Event(), threading.Event()
        self._watts: list[float] = []
        self._mb: list[float] = []

    def watch(self) -> None:
        while not self._ended.wait(1.0):
            for watts, mb in ask_gpus("power.draw", "memory.used")[:1]:
                if self._begun.is_set():
                    self._watts += _numbers(watts)
                    self._mb += _numbers(mb)

    def start(self) -> None:
        self._begun.set()

    def end(self) -> None:
        self._ended.set()

    @property
    def watts(self) -> float | None:
        return round(median(self._watts), 1) if self._watts else None

    @property
    def mb(self) -> float | None:
        return max(self._mb, default=None)


def _numbers(said: str) -> list[float]:
    """The driver says `[N/A]` of what it does not know."""
    try:
        return [float(said)]
    except ValueError:
        return []


@contextmanager
def _power(has_gpu: bool) -> Iterator[_Power]:
    power = _Power()
    thread = threading.Thread(target=power.watch, daemon=True)
    if has_gpu:
        thread.start()
    try:
        yield power
    finally:
        power.end()
        if has_gpu:
            thread.join(15)
