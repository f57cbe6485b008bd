"""Results in the terminal: one table of all, where the time goes, CPU beside GPU, and two reports beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtx.bench.results import STAGES, Bench, Case, Measured, ratio


def show(bench: Bench, console: Console) -> None:
    """All of a report."""
    for group in _groups(bench.results):
        measured = [result for result in group if not result.not_measured]
        name = _name(group[0].case)
        for why in {result.not_measured for result in group if result.not_measured}:
            console.print(f"[bold]{escape(name)}[/]: [yellow]not measured:[/] {escape(why)}", soft_wrap=True)
        if measured:
            how = f"{measured[0].precision}{', clip by clip' if measured[0].clip_by_clip else ''}"
            console.print(f"\n[bold]{escape(name)}, {how}[/]", soft_wrap=True)
            console.print(_ages(measured))
            console.print(_waterfall(measured))
            console.print(_most(measured, bench), soft_wrap=True)
    if beside := _beside(bench.results):
        console.print(beside)


def _groups(results: Iterable[Measured]) -> list[list[Measured]]:
    """Results that differ in the number of cameras alone."""
    found: dict[str, list[Measured]] = {}
    for result in results:
        found.setdefault(_name(result.case), []).append(result)
    return list(found.values())


def _ages(results: Iterable[Measured]) -> Table:
    grid = Table("cameras", "explained /s", "heatmap ms p50", "p95", "p99", "late", "MB", "W", "holds", box=SIMPLE)
    for column in grid.columns:
        column.justify = "right"
    for result in results:
        age = result.heatmap
        grid.add_row(
            str(result.case.cameras), f"{result.explained_per_s:.1f}", _ms(age.p50), _ms(age.p95), _ms(age.p99),
            f"{100 * result.late:.0f} %", f"{sum(result.rss_mb.values()):.0f}",
            "-" if result.watts is None else f"{result.watts:.0f}", "[green]yes[/]" if result.holds else "[red]no[/]",
        )  # fmt: skip
    return grid


def _waterfall(results: Sequence[Measured]) -> Table:
    """Medians of the stages on a heatmap's way, one under the other."""
    grid = Table("ms, medians", box=SIMPLE)
    for result in results:
        grid.add_column(f"{result.case.cameras} camera{'s' * (result.case.cameras > 1)}", justify="right")
        grid.add_column("")
    longest = max((result.stages[stage].p50 or 0.0 for result in results for stage in STAGES), default=0.0) or 1.0
    for stage in STAGES:
        cells: list[str] = []
        for result in results:
            took = result.stages[stage].p50
            cells += (_ms(took, 2), "█" * round((took or 0.0) / longest * max(4, 32 // len(results))))
        grid.add_row(stage, *cells)
    return grid


def _most(results: Sequence[Measured], bench: Bench) -> str:
    held = [result.case.cameras for result in results if result.holds]
    said = f"{max(held)} camera{'s' * (max(held) > 1)}" if held else "not even one camera"
    return (
        f"{said} within {bench.budget_ms:g} ms (at most {100 * bench.allowed_misses:g} % of what is shown may be older)"
    )


def _beside(results: Sequence[Measured]) -> Table | None:
    """The same case on a CPU and on a GPU; None where only one of them was measured."""
    grid = Table(title="CPU beside GPU", title_justify="left", box=SIMPLE)
    for name in ("what", "cpu /s", "cuda /s", "times", "cpu ms p95", "cuda", "times"):
        grid.add_column(name, justify="left" if name == "what" else "right")
    for cpu in results:
        for cuda in results:
            pair = (cpu.case.device, cuda.case.device) == ("cpu", "cuda") and _but_device(cpu) == _but_device(cuda)
            if not pair or cpu.not_measured or cuda.not_measured:
                continue
            grid.add_row(
                escape(f"{cpu.case.model} {cpu.case.explainer}, {cpu.case.backend} x{cpu.case.cameras}"),
                f"{cpu.explained_per_s:.1f}", f"{cuda.explained_per_s:.1f}",
                _times(ratio(cuda.explained_per_s, cpu.explained_per_s)), _ms(cpu.heatmap.p95), _ms(cuda.heatmap.p95),
                _times(ratio(cuda.heatmap.p95, cpu.heatmap.p95)),
            )  # fmt: skip
    return grid if grid.row_count else None


def compare(before: Bench, after: Bench, console: Console) -> None:
    """Ratios of the second report to the first, case by case."""
    known = {str(result.case): result for result in before.results if not result.not_measured}
    grid = Table("what", "", "before", "after", "times", box=SIMPLE)
    for column in grid.columns[2:]:
        column.justify = "right"
    for result in after.results:
        if result.not_measured:
            continue
        earlier = known.pop(str(result.case), None)
        if earlier is None:
            console.print(f"[yellow]only in the second:[/] {escape(str(result.case))}", soft_wrap=True)
            continue
        what = f"{escape(_name(result.case))} x{result.case.cameras}"
        if earlier.precision != result.precision:
            console.print(f"[yellow]{what}: {earlier.precision} against {result.precision}[/]", soft_wrap=True)
        for name, was, present in (
            ("explained /s", earlier.explained_per_s, result.explained_per_s),
            ("heatmap ms, p50", earlier.heatmap.p50, result.heatmap.p50),
            ("heatmap ms, p95", earlier.heatmap.p95, result.heatmap.p95),
            ("forward ms", _p50(earlier, "forward"), _p50(result, "forward")),
            ("explain ms", _p50(earlier, "explain"), _p50(result, "explain")),
        ):
            grid.add_row(what, name, _ms(was, 2), _ms(present, 2), _times(ratio(present, was)))
            what = ""
    for case in known:
        console.print(f"[yellow]only in the first:[/] {escape(case)}", soft_wrap=True)
    if grid.row_count:
        console.print(grid)
    if (before.budget_ms, before.settings) != (after.budget_ms, after.settings):
        console.print("[yellow]They were measured with other settings.[/]")
    keys = ("processor", "cores", "gpus", "packages")
    if changed := [key for key in keys if before.machine.get(key) != after.machine.get(key)]:
        console.print(f"[yellow]The machines differ in {', '.join(changed)}.[/]")


def _p50(result: Measured, stage: str) -> float | None:
    return result.stages[stage].p50 if stage in result.stages else None


def _but_device(result: Measured) -> tuple[str, str, str, int]:
    case = result.case
    return case.backend, case.model, case.explainer, case.cameras


def _name(case: Case) -> str:
    return f"{case.model} {case.explainer}, {case.backend} {case.device}"


def _ms(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"
