"""A report of `rtx bench` as one page: tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rtx.bench.results import STAGES, Bench, Measured
from rtx.show.document import COLOURS, HEIGHT, WIDTH, axes, facts, line, svg, x_of, y_of
from rtx.show.document import page as document


def page(bench: Bench) -> str:
    """The whole page."""
    measured = [result for result in bench.results if not result.not_measured]
    parts = (
        "<h1>What explaining costs here</h1>", _about(bench), _table(bench), _most(bench),
        *(_case(result, bench.budget_ms) for result in measured),
    )  # fmt: skip
    return document("rtx bench", "\n".join(parts))


def _about(bench: Bench) -> str:
    machine = bench.machine
    gpus = ", ".join(machine.get("gpus", [])) or "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in machine.get("packages", {}).items())
    said = {
        "Machine": f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB, {gpus}; "
        f"{machine.get('system')}, Python {machine.get('python')}",
        "Packages": packages, "When": f"{bench.when}, commit {bench.commit or 'of a release'}",
        "Budget": f"heatmaps at most {bench.budget_ms:g} ms old, but for {100 * bench.allowed_misses:g} %",
        "Settings": ", ".join(f"{name}: {value}" for name, value in bench.settings.items() if value),
    }  # fmt: skip
    return facts(said)


def _table(bench: Bench) -> str:
    head = ("", "cameras", "explained /s", "heatmap ms p50", "p95", "p99", "late", "MB", "W", "holds")
    rows = []
    for result in bench.results:
        case, ages = result.case, result.heatmap
        name = f"{case.model} {case.explainer}, {case.backend} {case.device} {result.precision}"
        if result.not_measured:
            rows.append(
                f'<tr><td>{escape(name)}</td><td>{case.cameras}</td><td colspan="8" class="none">not measured: '
                f"{escape(result.not_measured)}</td></tr>"
            )
            continue
        cells = (
            name, case.cameras, f"{result.explained_per_s:.1f}", *map(_number, (ages.p50, ages.p95, ages.p99)),
            f"{100 * result.late:.0f} %", f"{sum(result.rss_mb.values()):.0f}", _number(result.watts),
            "yes" if result.holds else "no",
        )  # fmt: skip
        rows.append(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>")
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{''.join(rows)}</table>"


def _most(bench: Bench) -> str:
    said = (
        f"<li>{escape(f'{case.model} {case.explainer}, {case.backend} {case.device}')}: {most or 'not even one'}</li>"
        for case, most in bench.most_cameras()
    )
    return f"<h2>The most cameras that hold the budget</h2><ul>{''.join(said)}</ul>"


def _case(result: Measured, budget_ms: float) -> str:
    return (
        f"<section><h2>{escape(str(result.case))}</h2>"
        f"<h3>Where the time goes</h3>{_waterfall(result)}"
        "<p>Wire: until the display takes the heatmap, which it does with the next picture.</p>"
        f"<h3>Heatmap age over time</h3>{_over_time(result, budget_ms)}"
        f"<h3>Heatmap ages</h3>{_histogram(result, budget_ms)}</section>"
    )


def _waterfall(result: Measured) -> str:
    """The medians of the stages, one after another."""
    took = [(stage, result.stages[stage].p50 or 0.0) for stage in STAGES]
    whole = sum(ms for _, ms in took) or 1.0
    bars, at = [], 0.0
    for number, (stage, ms) in enumerate(took):
        y, x, width = 18 * number, 110 + at / whole * (WIDTH - 200), ms / whole * (WIDTH - 200)
        bars.append(
            f'<text x="0" y="{y + 13}">{stage}</text>'
            f'<rect x="{x:.1f}" y="{y + 2}" width="{max(1.0, width):.1f}" height="13" fill="{COLOURS[number]}"/>'
            f'<text x="{x + width + 6:.1f}" y="{y + 13}">{ms:.2f} ms</text>'
        )
        at += ms
    return svg(18 * len(took), bars, f"Medians of the stages: {', '.join(f'{s} {ms:.2f} ms' for s, ms in took)}")


def _over_time(result: Measured, budget_ms: float) -> str:
    moments = result.over_time
    if len(moments) < 2:
        return "<p>Too short a run.</p>"
    top = 1.1 * max(budget_ms if budget_ms < 3 * max(m.p95_ms for m in moments) else 0, *(m.p95_ms for m in moments))
    end = moments[-1].s
    lines = []
    for name, colour, values in (
        ("p50", COLOURS[0], [m.p50_ms for m in moments]), ("p95", COLOURS[3], [m.p95_ms for m in moments]),
    ):  # fmt: skip
        lines.append(line([(m.s, value) for m, value in zip(moments, values, strict=True)], end, top, colour))
        lines.append(f'<text x="{WIDTH - 28}" y="{y_of(values[-1], top) + 4:.1f}">{name}</text>')
    around = axes(f"{top:.0f} ms", f"{end:.0f} s")
    return svg(HEIGHT, [*around, *_budget(budget_ms, top), *lines], "Heatmap age over time")


def _histogram(result: Measured, budget_ms: float) -> str:
    bins = _joined(result.histogram)
    if not bins:
        return "<p>No heatmap was shown.</p>"
    most, last = max(n for _, n in bins), bins[-1][0] * 1.1
    ends = [*(start for start, _ in bins[1:]), last]
    bars = []
    for (start, n), end in zip(bins, ends, strict=True):
        x, y = x_of(start, last), y_of(n, most)
        width, colour = max(1.0, x_of(end, last) - x - 1), COLOURS[4] if start >= budget_ms else COLOURS[0]
        bars.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT - 20 - y:.1f}" fill="{colour}"/>'
        )
    says = "Histogram of heatmap ages; those over the budget are red"
    return svg(HEIGHT, [*axes(f"{most}", f"{last:.0f} ms"), *bars], says)


def _joined(bins: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Bins 2 % apart, put together to some forty of the same width."""
    if not bins:
        return []
    low, high = bins[0][0], bins[-1][0] * 1.02
    width = (high - low) / 40 or 1.0
    counts = [0] * 40
    for start, n in bins:
        counts[min(39, int((start - low) / width))] += n
    return [(low + number * width, n) for number, n in enumerate(counts)]


def _budget(budget_ms: float, top: float) -> Iterable[str]:
    if budget_ms <= top:
        y = y_of(budget_ms, top)
        yield f'<line class="budget" x1="60" y1="{y:.1f}" x2="{WIDTH - 30}" y2="{y:.1f}"/>'
        yield f'<text x="64" y="{y - 4:.1f}">budget {budget_ms:g} ms</text>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
