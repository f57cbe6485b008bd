"""`rtx events`: what was recorded, in a terminal."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtx.cli.options import Backend, Device, Layer, ModelName, Precision, Target, settings_of
from rtx.cli.terminal import bars, console
from rtx.config import of_sources
from rtx.errors import UserError
from rtx.events.store import PLAIN, Event, Store, default_folder

events = typer.Typer(help="What was recorded.", no_args_is_help=True)

FolderOption = Annotated[Path | None, typer.Option("--folder", help="As events.folder; without it, the usual one.")]
CameraOption = Annotated[str | None, typer.Option("--camera")]
LabelOption = Annotated[str | None, typer.Option("--class", help="Of this class only.")]
SinceOption = Annotated[datetime | None, typer.Option("--since", help="Local time, e.g. 2026-11-22T18:00:00.")]


def _store(folder: Path | None) -> Store:
    return Store.reading((folder or default_folder()).expanduser())


@events.command("list")
def list_events(
    folder: FolderOption = None, camera: CameraOption = None, label: LabelOption = None, since: SinceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line an event.")] = False,
) -> None:  # fmt: skip
    """Newest first."""
    with _store(folder) as store:
        found = store.events(camera, label, since)
    if as_json:
        for event in found:
            print(json.dumps(event.plain()))
        return
    table = Table(box=None)
    for name, justify in (("no.", "right"), ("begins", "left"), ("lasts", "right"), ("camera", "left"),
                          ("class", "left"), ("peak", "right"), ("motion", "right"), ("state", "left")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for event in found:
        table.add_row(
            str(event.id), f"{event.start.astimezone():%Y-%m-%d %H:%M:%S}", f"{event.seconds:.1f} s",
            escape(event.camera), escape(event.label), f"{100 * event.peak:.0f} %",
            "" if event.motion_share is None else f"{100 * event.motion_share:.0f} %", event.state,
        )  # fmt: skip
    console.print(table if found else "no events")


@events.command("show")
def show_event(number: int, folder: FolderOption = None) -> None:
    """All that is known of one event."""
    with _store(folder) as store:
        event = store.event(number)
    for name, value in (event.plain() | {"start": _local(event.start), "end": _local(event.end)}).items():
        console.print(f"{name:>12}: {'' if value is None else escape(str(value))}", soft_wrap=True, highlight=False)
    for path in sorted(event.clip.iterdir()) if event.clip.is_dir() else ():
        console.print(f"{'':>12}  {escape(path.name)}, {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


@events.command("explain")
def explain_event(
    number: int,
    explainer: Annotated[str, typer.Option(help="As in [bold]rtx run[/], with its steps.")],
    target: Target = None, model: ModelName = None, layer: Layer = None, device: Device = None, backend: Backend = None,
    precision: Precision = None, folder: FolderOption = None,
) -> None:  # fmt: skip
    """The clip again by another explainer; the page's replay offers it then."""
    from rtx.preflight import check_worker

    with _store(folder) as store:
        event = store.event(number)
    settings = settings_of(None, model or event.model, layer, explainer, target, device, backend, precision)
    worker = of_sources([str(event.clip / PLAIN)], [*settings, "worker.continual=false"]).worker
    check_worker(worker, Console(stderr=True))
    from rtx.events.again import explain_again

    with bars() as begin, begin("explaining") as told:
        name = explain_again(event, worker, told)
    with Store((folder or default_folder()).expanduser()) as store:
        store.grown(event)
    console.print(f"event {number} is explained by {escape(name)}, too")


@events.command("export")
def export_events(
    to: Annotated[Path, typer.Argument(help="A .csv, a .json, or a folder for the clips. - is standard output.")],
    number: Annotated[int | None, typer.Option("--event", help="This one only.")] = None,
    folder: FolderOption = None, camera: CameraOption = None, label: LabelOption = None, since: SinceOption = None,
) -> None:  # fmt: skip
    """Events as a table, or their clips with what is known of them."""
    with _store(folder) as store:
        found = [store.event(number)] if number is not None else store.events(camera, label, since)
    if not found:
        raise UserError("no event is chosen, so nothing is exported; see `rtx events list`")
    if to.suffix == ".csv" or str(to) == "-":
        _csv(to, found)
    elif to.suffix == ".json":
        _written(to, json.dumps([event.plain() for event in found], indent=2) + "\n")
    elif to.suffix:
        raise UserError(f"{str(to)!r}: events are exported to a .csv, a .json or a folder")
    else:
        _clips(to, found)
    if str(to) != "-":
        console.print(f"written: {escape(str(to))}, {len(found)} event{'s' if len(found) > 1 else ''}", soft_wrap=True)


def _csv(to: Path, found: list[Event]) -> None:
    rows = [event.plain() for event in found]
    try:
        with sys.stdout if str(to) == "-" else to.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"cannot write {str(to)!r}: {error.strerror}") from None


def _clips(to: Path, found: list[Event]) -> None:
    try:
        for event in found:
            into = to / event.clip.name
            shutil.copytree(event.clip, into, dirs_exist_ok=True)
            (into / "event.json").write_text(json.dumps(event.plain() | {"clip": "."}, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {str(to)!r}: {error.strerror or error}") from None


def _written(to: Path, text: str) -> None:
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {str(to)!r}: {error.strerror}") from None


def _local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
