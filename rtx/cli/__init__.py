"""The `rtx` command. Whatever is the user's to mend ends in one line and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from rtx.cli.bench import bench
from rtx.cli.evaluate import evaluate
from rtx.cli.events import events
from rtx.cli.explain import explain
from rtx.cli.models import models
from rtx.cli.options import Backend, Device, Explainer, Layer, ModelName, Precision, Target, settings_of
from rtx.cli.terminal import console
from rtx.config import Pipeline, of_sources, read
from rtx.errors import UserError, unknown
from rtx.redact import redact

app = typer.Typer(
    help="See what a video network looks at, while it looks: live heatmaps for action recognition.",
    no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
)  # fmt: skip
keys = typer.Typer(help="Keys for runs that span several hosts.", no_args_is_help=True)
token = typer.Typer(help="Tokens for a page that is seen from elsewhere.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(token, name="token")
app.add_typer(events, name="events")
app.add_typer(evaluate, name="eval")
app.command()(explain)
app.command()(bench)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's; newer releases of typer bring a click of their own."""

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. [bold]--set camera.mirror=true[/]."),
]


def main() -> NoReturn:
    """Entry of the console script."""
    # OpenCV and its FFmpeg would print lines of their own beside ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        code = app(prog_name="rtx", standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        context = getattr(error, "ctx", None)
        _fail(f"{error.format_message().rstrip('.')}; see `{context.command_path if context else 'rtx'} --help`")  # type: ignore[attr-defined]
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str) -> NoReturn:
    print(f"rtx: {redact(' '.join(text.split()))}", file=sys.stderr)
    sys.exit(2)


@app.command()
def run(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE.toml | SOURCE ...]",
            help="A pipeline, or sources: webcam number, rtsp://..., file, scene:hall, synthetic:, env:NAME.",
        ),
    ] = None,
    model: ModelName = None,
    layer: Layer = None,
    explainer: Explainer = None,
    target: Target = None,
    device: Device = None,
    backend: Backend = None,
    precision: Precision = None,
    show: Annotated[
        str | None, typer.Option(help="Any of page, window, file:OUT.mp4, none; separated by commas.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write what the run came to.")] = None,
    log: Annotated[str, typer.Option(help="text, or json: a line for what happens.")] = "text",
    changes: Changes = None,
) -> None:
    """Explain live: capture, engine and display as processes of their own."""
    settings = settings_of(changes, model, layer, explainer, target, device, backend, precision)
    if show is not None:
        settings.append(f"show.sinks={json.dumps([sink.strip() for sink in show.split(',')])}")
    if log not in ("text", "json"):
        raise unknown("--log", log, ("text", "json"))
    go(_pipeline(what or [], settings), seconds, report, as_json=log == "json")


@app.command()
def demo(
    source: Annotated[
        str | None,
        typer.Argument(help="Webcam number, rtsp://..., or file. [dim](default: a webcam, else the drawn hall)[/]"),
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.")] = None,
    changes: Changes = None,
) -> None:
    """The whole of rtx in one command: opens the page on your webcam, or on a hall that rtx draws itself."""
    from rtx.demo import choose_sources

    sources, looped = choose_sources(source)
    pipeline = of_sources(sources, [*(["camera.loop=true"] if looped else []), *(changes or [])])
    # A browser of the terminal would take the terminal.
    screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    go(pipeline, seconds, None, open_browser=screen)


def go(
    pipeline: Pipeline, seconds: float | None, report: Path | None, open_browser: bool = False, as_json: bool = False
) -> None:
    """Check everything that can be checked, then run until the end, Ctrl-C or SIGTERM."""
    from rtx.preflight import check_pipeline

    check_pipeline(pipeline, console)
    if report is not None:
        _check_report(report)
    from rtx.live import watch

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    came_to = watch(pipeline, stop, seconds, console, webbrowser.open if open_browser else None, as_json)
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(came_to), indent=2) + b"\n")


def _check_report(report: Path) -> None:
    """Raises UserError where it could not be written after the run. What can be told only by writing is tried."""
    if not report.parent.is_dir():
        raise UserError(f"--report {str(report)!r}: there is no folder {str(report.parent)!r}")
    try:
        new = not report.exists()
        report.open("ab").close()
        if new:  # A run that fails leaves no empty report.
            report.unlink()
    except OSError as error:
        raise UserError(f"--report {str(report)!r} cannot be written: {error.strerror}; name a file") from None


def _pipeline(what: list[str], settings: list[str]) -> Pipeline:
    if len(what) == 1 and what[0].endswith(".toml"):
        from rtx.resources import PIPELINES

        path = Path(what[0])
        shipped = PIPELINES / path.name
        return read(path if path.exists() or not shipped.exists() else shipped, settings)
    if not what:
        raise UserError(
            "nothing to run: name a source (0, rtsp://..., FILE, scene:hall) or a PIPELINE.toml; or try `rtx demo`"
        )
    return of_sources(what, settings)


@app.command("explainers")
def list_explainers(
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="Measure the costs with this model.")
    ] = "figures",
    layer: Layer = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What explainers there are: what each shows, reads and costs on this machine, its parameters, its paper."""
    from rtx.api import costs
    from rtx.explain.registry import DECLARED

    with Console(stderr=True).status(f"measuring with {model}"):
        ms, forward_ms = costs(model, layer)
    if as_json:
        about = [
            of.plain | {"ms": ms.get(of.name), "forward_ms": forward_ms, "model": model} for of in DECLARED.values()
        ]
        print(json.dumps(about))
        return
    console.print(f"Costs: beyond the forward pass of {model}, which takes {forward_ms:.0f} ms here.\n")
    for of in DECLARED.values():
        cost = ms.get(of.name)
        found = f"{cost:.1f} ms" if isinstance(cost, float) else f"not with {model}: {cost}"
        what = "a step, after |" if of.is_step else f"reads {of.reads}, {found}"
        console.print(f"[bold]{of.name}[/]: {what}{', class-blind' if of.class_blind else ''}")
        for line in (
            of.summary,
            *(parameter.said for parameter in of.parameters.values()),
            f"[dim]{escape(of.paper)}[/]",
        ):
            console.print(f"    {line if line.startswith('[dim]') else escape(line)}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """What this machine has for rtx, and what to do about what is missing."""
    from rtx.doctor import examine

    signs = {"ok": "[green]ok[/]     ", "note": "[yellow]note[/]   ", "missing": "[red]missing[/]"}
    for finding in examine():
        way_out = f" [dim]-> {escape(finding.way_out)}[/]" if finding.way_out else ""
        console.print(f"{signs[finding.verdict]} {finding.what}: {escape(finding.found)}{way_out}", soft_wrap=True)


@keys.command("new")
def new_keys(file: Path) -> None:
    """Make a key file for tcp links; copy it to every host, over a safe way."""
    from rtx.link.sockets import new_keys as make

    make(file)
    console.print(f"written: {escape(str(file))}; set link.keys to it on every host", soft_wrap=True)


@token.command("new")
def new_token(file: Path) -> None:
    """Make a file with two tokens for the page: one to steer, one to watch."""
    from rtx.show.page.tokens import new_tokens

    new_tokens(file)
    console.print(f"written: {escape(str(file))}; set page.token to it, and see `rtx token show`", soft_wrap=True)


@token.command("show")
def show_token(
    file: Path,
    address: Annotated[str, typer.Option(help="Where the page is, as `rtx run` says.")] = "http://HOST:8642/",
) -> None:
    """The addresses to open once in each browser: the token then stays in a cookie."""
    from rtx.show.page.tokens import read_tokens

    tokens = read_tokens(str(file))
    for says, one in (("to steer", tokens.steer), ("to watch", tokens.watch)):
        print(f"{says}: {address.rstrip('/')}/?token={one}")
