"""What a run came to: one object for `--report`, and the live table."""

from __future__ import annotations

from collections import Counter

import msgspec
from rich.table import Table

from rtx.clock import NS_PER_S, now
from rtx.health import faithfulness_of
from rtx.link.wire import Faithfulness
from rtx.measure.ages import Ages, Summary
from rtx.redact import redact
from rtx.supervise import Child, Supervisor


class AgesMs(msgspec.Struct, frozen=True):
    """Ages of what is shown, and what each stage took."""

    heatmap: Summary
    misalignment: Summary
    frame: Summary
    capture: Summary
    """From a frame's capture until its grabber had let go of it."""
    pickup: Summary
    """From a frame's capture until the worker had it."""
    resize: Summary
    wait: Summary
    """From the capture of a clip's newest frame until its pass began."""
    forward: Summary
    explain: Summary
    wire: Summary
    upsample: Summary
    overlay: Summary
    """Drawing over a picture; nothing where a browser does it."""
    show: Summary
    """Handing a picture to where it is shown."""


class TruthReport(msgspec.Struct, frozen=True):
    """How class and heat fared where the truth is known. Shares 0..1; hits over frames with the right class."""

    judged: int
    right: float
    body: float | None
    body_chance: float | None
    acting: float | None
    acting_chance: float | None


class RunReport(msgspec.Struct, frozen=True):
    """The whole run; ages leave out the first seconds after the first heatmap."""

    model: str
    explainer: str
    device: str
    backend: str
    precision: str
    seconds: float
    captured: int
    shown: int
    display_fps: float
    explained: int
    explained_per_s: float
    largest_batch: int
    first_heatmap_s: float | None
    ages_ms: AgesMs
    deadline_misses: int
    budget_ms: float
    degraded: str
    """What was given up at the end to keep within the budget."""
    steps: list[str]
    """When what was given up, or taken back."""
    drops: dict[str, int]
    restarts: dict[str, int]
    cpu_ms_per_frame: dict[str, float]
    rss_mb: dict[str, float]
    states: dict[str, str]
    truth: TruthReport | None
    """Of drawn sources."""
    faithfulness: dict[str, Faithfulness]
    """By camera, where it was measured."""
    faithfulness_passes: int
    """Passes that went into that; each takes the place of a clip."""


def summarise(run: Supervisor) -> RunReport:
    """The report of a run, as far as it has come."""
    by_role = {
        role: [child for child in run.children if child.role == role] for role in ("grabber", "worker", "display")
    }

    def total(role: str, name: str) -> int:
        return sum(child.all_counts(name) for child in by_role[role])

    def ages(role: str, name: str) -> Summary:
        merged = Ages()
        for child in by_role[role]:
            merged.merge(child.ages(name))
        return merged.summary()

    worker = run.pipeline.worker
    facts = next(
        (status.facts for child in by_role["worker"] for status in reversed(child.lives()) if status.facts),
        {},
    )
    seconds = (now() - run.started_at) / NS_PER_S
    steps = [
        step
        for child in by_role["worker"]
        for status in child.lives()
        for step in status.facts.get("steps", "").split("\n")
        if step
    ]
    captured = total("grabber", "captured")
    drops: Counter[str] = Counter()
    for child in run.children:
        for status in child.lives():
            drops.update(status.drops)
    return RunReport(
        model=facts.get("model", worker.model), explainer=facts.get("explainer", worker.explainer),
        device=facts.get("device", ""), backend=facts.get("backend", ""), precision=facts.get("precision", ""),
        seconds=round(seconds, 3), captured=captured, shown=total("display", "shown"),
        display_fps=_rate(by_role["display"], "shown"), explained=total("worker", "explained"),
        explained_per_s=_rate(by_role["worker"], "explained"),
        largest_batch=max((s.counts.get("largest_batch", 0) for c in by_role["worker"] for s in c.lives()), default=0),
        first_heatmap_s=_first_heatmap(run, by_role["display"]),
        ages_ms=AgesMs(
            **{name: ages("display", name) for name in ("heatmap", "misalignment", "frame")},
            capture=ages("grabber", "capture"),
            **{name: ages("worker", name) for name in ("pickup", "resize", "wait", "forward", "explain")},
            **{name: ages("display", name) for name in ("wire", "upsample", "overlay", "show")},
        ),
        deadline_misses=total("display", "deadline_misses"), budget_ms=run.pipeline.budget.heatmap_age_ms,
        degraded=facts.get("degraded", ""), steps=steps,
        drops={cause: n for cause, n in sorted(drops.items()) if n},
        restarts={child.name: child.restarts for child in run.children},
        cpu_ms_per_frame={c.name: round(_cpu_ms(c) / max(1, captured), 3) for c in run.children},
        rss_mb={child.name: round(child.status.rss_mb, 1) for child in run.children if child.status},
        states={child.name: redact(child.state) for child in run.children},
        truth=_truth({name: total("display", f"truth_{name}") for name in _TRUTH}),
        faithfulness=faithfulness_of(facts), faithfulness_passes=total("worker", "faithfulness_passes"),
    )  # fmt: skip


_TRUTH = (
    "judged", "right", "body_n", "body_hits", "body_chance_ppm", "acting_n", "acting_hits", "acting_chance_ppm",
)  # fmt: skip


def _truth(counts: dict[str, int]) -> TruthReport | None:
    if not counts["judged"]:
        return None

    def share(name: str, of: str, unit: float = 1.0) -> float | None:
        return round(counts[name] / unit / counts[of], 4) if counts[of] else None

    return TruthReport(
        counts["judged"], round(counts["right"] / counts["judged"], 4), share("body_hits", "body_n"),
        share("body_chance_ppm", "body_n", 1e6), share("acting_hits", "acting_n"),
        share("acting_chance_ppm", "acting_n", 1e6),
    )  # fmt: skip


def _cpu_ms(child: Child) -> float:
    return 1e3 * sum(status.cpu_s for status in child.lives())


def _rate(children: list[Child], name: str) -> float:
    """Per second, from the first to the last one (start-up and clean-up are no part of it)."""
    events, spent = 0, 0
    for child in children:
        for status in child.lives():
            first, last = status.counts.get(f"{name}_first_ns", 0), status.counts.get(f"{name}_last_ns", 0)
            if last > first:
                events, spent = events + status.counts[name] - 1, spent + last - first
    return round(events * NS_PER_S / spent, 2) if spent else 0.0


def _first_heatmap(run: Supervisor, displays: list[Child]) -> float | None:
    times = [t for child in displays for status in child.lives() if (t := status.counts.get("first_heatmap_ns"))]
    return round((min(times) - run.started_at) / NS_PER_S, 2) if times else None


def table(run: Supervisor, title: str) -> Table:
    """Each process in a row: its state, rate, age, drops by cause."""
    grid = Table(title=title, title_justify="left", expand=True)
    for name, justify in (
        ("process", "left"),
        ("state", "left"),
        ("rate", "right"),
        ("age p50 / p95", "right"),
        ("drops", "left"),
        ("MB", "right"),
    ):
        grid.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    about = {
        "grabber": ("captured", None), "worker": ("explained", "wait"), "display": ("shown", "heatmap"),
        "recorder": ("events", None),
    }  # fmt: skip
    for child in run.children:
        counted, age = about[child.role]
        summary = child.ages(age).summary() if age else None
        shown = (
            f"{summary.p50:.0f} / {summary.p95:.0f} ms"
            if summary and summary.p50 is not None and summary.p95 is not None
            else ""
        )
        drops = child.status.drops if child.status else {}
        grid.add_row(
            child.name + (f" (restarted {child.restarts}x)" if child.restarts else ""),
            redact(child.state),
            f"{_rate([child], counted):.1f} /s",
            shown,
            ", ".join(f"{cause} {n}" for cause, n in sorted(drops.items()) if n),
            f"{child.status.rss_mb:.0f}" if child.status else "",
        )
    return grid
