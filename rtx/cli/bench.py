"""`rtx bench`: what explaining costs here, in numbers measured here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtx.cli.terminal import console
from rtx.config import BackendName, DeviceName, choices
from rtx.errors import UserError, unknown

if TYPE_CHECKING:
    from rtx.bench.results import Bench

START_S = 10.0
"""What the start of a case is expected to take, for the progress bar."""


def bench(
    device: Annotated[str, typer.Option(help="cpu, cuda; separated by commas.")] = "cpu,cuda",
    model: Annotated[str, typer.Option(help="Models, see [bold]rtx models list[/]; separated by commas.")] = "figures",
    backend: Annotated[
        str, typer.Option(help="torch, compile, graphs, onnx, openvino; separated by commas.")
    ] = "torch",
    explainer: Annotated[str, typer.Option(help="Explainers with their steps; separated by commas.")] = "cam",
    cameras: Annotated[str, typer.Option(help="How many cameras at a time; separated by commas.")] = "1",
    seconds: Annotated[float, typer.Option(min=3, help="Of each run, after its warm-up.")] = 15,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write all that was measured.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write it as a page with plots.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A.json B.json", help="Measure nothing; B over A.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in [bold]rtx run[/], e.g. budget.heatmap_age_ms=400."),
    ] = None,
) -> None:
    """Measure what explaining costs on this machine: rates, ages, stages; on CPU and GPU, with ever more cameras."""
    from rtx.bench import tables
    from rtx.bench.results import read

    if compare is not None:
        tables.compare(read(compare[0]), read(compare[1]), console)
        return
    from rtx.bench.html import page
    from rtx.bench.plan import plan, run
    from rtx.explain.registry import parse_several

    for path, ending in ((report, ".json"), (html, ".html")):
        if path is not None and (path.suffix != ending or not path.parent.is_dir()):
            raise UserError(f"{str(path)!r}: name a file that ends in {ending}, in a folder that is there")
    devices = tuple(name for name in choices(DeviceName) if name != "auto")
    cases = plan(
        _named("device", device, devices), _listed("model", model), _named("backend", backend, choices(BackendName)),
        [str(chain) for chain in parse_several(explainer)], _counts(cameras),
    )  # fmt: skip
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    with progress:
        whole = progress.add_task("", total=len(cases) * (seconds + START_S))
        each = seconds + START_S

        def tick(case: object, gone_s: float) -> None:
            progress.update(whole, description=str(case), advance=gone_s)

        def done(found: Bench) -> None:
            """Kept after each case: who breaks it off after an hour has what was measured in it."""
            progress.update(whole, completed=len(found.results) * each)
            if report is not None:
                report.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
            if html is not None:
                html.write_text(page(found), encoding="utf-8")

        found = run(cases, changes or [], seconds, tick, done, console)
    tables.show(found, console)
    for path in (report, html):
        if path is not None:
            console.print(f"written: {path}", soft_wrap=True)
    if all(result.not_measured for result in found.results):
        raise typer.Exit(1)


def _listed(what: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"--{what} {text!r}: name at least one")
    return parts


def _named(what: str, text: str, known: tuple[str, ...]) -> list[str]:
    names = _listed(what, text)
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
    return names


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in _listed("cameras", text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > 64:
        raise UserError(f"--cameras {text!r}: numbers from 1 to 64, separated by commas: 1,2,4")
    return counts
