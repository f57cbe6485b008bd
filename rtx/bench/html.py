"""A report as one HTML page that needs nothing from anywhere: tables, and plots drawn as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rtx.bench.results import STAGES, Bench, Measured

COLOURS = ("#5b8ff9", "#61ddaa", "#65789b", "#f6bd16", "#e8684a", "#d43f8d", "#78d3f8", "#9661bc", "#f6903d", "#008685")
WIDTH, HEIGHT = 720, 180
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
.axis { stroke: #8888; } .budget { stroke: #e8684a; stroke-dasharray: 4; }
.none { color: #c60; white-space: normal; text-align: left; }
section { margin-top: 3rem; } dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
"""


def page(bench: Bench) -> str:
    """The whole page."""
    measured = [result for result in bench.results if not result.not_measured]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>rtx bench</title><style>{STYLE}</style></head><body>
<h1>What explaining costs here</h1>
{_about(bench)}
{_table(bench)}
{_most(bench)}
{"".join(_case(result, bench.budget_ms) for result in measured)}
</body></html>
"""


def _about(bench: Bench) -> str:
    machine = bench.machine
    gpus = ", ".join(machine.get("gpus", [])) or "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in machine.get("packages", {}).items())
    facts = {
        "Machine": f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB, {gpus}; "
        f"{machine.get('system')}, Python {machine.get('python')}",
        "Packages": packages, "When": f"{bench.when}, commit {bench.commit or 'of a release'}",
        "Budget": f"heatmaps at most {bench.budget_ms:g} ms old, but for {100 * bench.allowed_misses:g} %",
        "Settings": ", ".join(f"{name}: {value}" for name, value in bench.settings.items() if value),
    }  # fmt: skip
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(str(said))}</dd>' for name, said in facts.items())}</dl>"


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
    return _svg(18 * len(took), bars, f"Medians of the stages: {', '.join(f'{s} {ms:.2f} ms' for s, ms in took)}")


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
        points = " ".join(f"{_x(m.s, end):.1f},{_y(value, top):.1f}" for m, value in zip(moments, values, strict=True))
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        lines.append(f'<text x="{WIDTH - 28}" y="{_y(values[-1], top) + 4:.1f}">{name}</text>')
    axes = _axes(f"{top:.0f} ms", f"{end:.0f} s")
    return _svg(HEIGHT, [*axes, *_budget(budget_ms, top), *lines], "Heatmap age over time")


def _histogram(result: Measured, budget_ms: float) -> str:
    bins = _joined(result.histogram)
    if not bins:
        return "<p>No heatmap was shown.</p>"
    most, last = max(n for _, n in bins), bins[-1][0] * 1.1
    ends = [*(start for start, _ in bins[1:]), last]
    bars = []
    for (start, n), end in zip(bins, ends, strict=True):
        x, y = _x(start, last), _y(n, most)
        width, colour = max(1.0, _x(end, last) - x - 1), COLOURS[4] if start >= budget_ms else COLOURS[0]
        bars.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{HEIGHT - 20 - y:.1f}" fill="{colour}"/>'
        )
    says = "Histogram of heatmap ages; those over the budget are red"
    return _svg(HEIGHT, [*_axes(f"{most}", f"{last:.0f} ms"), *bars], says)


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


def _axes(top: str, right: str) -> list[str]:
    return [
        f'<line class="axis" x1="60" y1="0" x2="60" y2="{HEIGHT - 20}"/>',
        f'<line class="axis" x1="60" y1="{HEIGHT - 20}" x2="{WIDTH - 30}" y2="{HEIGHT - 20}"/>',
        f'<text x="0" y="12">{top}</text><text x="0" y="{HEIGHT - 20}">0</text>',
        f'<text x="{WIDTH - 80}" y="{HEIGHT - 4}">{right}</text>',
    ]


def _budget(budget_ms: float, top: float) -> Iterable[str]:
    if budget_ms <= top:
        y = _y(budget_ms, top)
        yield f'<line class="budget" x1="60" y1="{y:.1f}" x2="{WIDTH - 30}" y2="{y:.1f}"/>'
        yield f'<text x="64" y="{y - 4:.1f}">budget {budget_ms:g} ms</text>'


def _x(value: float, end: float) -> float:
    return 60 + value / end * (WIDTH - 90)


def _y(value: float, top: float) -> float:
    return (HEIGHT - 20) * (1 - value / top)


def _svg(height: int, parts: Iterable[str], says: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(says)}">{"".join(parts)}</svg>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
