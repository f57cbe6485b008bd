"""The `rtx` command. Whatever is the user's to mend ends in one line and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtx.cli.bench import bench
from rtx.cli.events import events
from rtx.cli.models import models
from rtx.cli.terminal import console
from rtx.config import Pipeline, of_sources, read
from rtx.errors import UserError, unknown
from rtx.redact import redact

if TYPE_CHECKING:
    from rtx.api import Result
    from rtx.engine.window import Clip
    from rtx.link.wire import Truth

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
app.command()(bench)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's; newer releases of typer bring a click of their own."""

Explainer = Annotated[
    str | None, typer.Option(help="One of [bold]rtx explainers[/]; then steps: [bold]'ksigma(k=2) | selective(n=4)'[/]")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="Model, see [bold]rtx models list[/]; or your own: [bold]FOLDER/card.toml[/], [bold]module:factory[/]."
    ),
]
Layer = Annotated[
    str | None, typer.Option(help="Layer that gives the features. [dim](default: the last with time and space)[/]")
]
Target = Annotated[
    str | None, typer.Option(help="Class to explain, by name or number. [dim](default: the top class)[/]")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Backend = Annotated[
    str | None,
    typer.Option(help="torch, compile, graphs, onnx or openvino."),
]
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
    show: Annotated[
        str | None, typer.Option(help="Any of page, window, file:OUT.mp4, none; separated by commas.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write what the run came to.")] = None,
    log: Annotated[str, typer.Option(help="text, or json: a line for what happens.")] = "text",
    changes: Changes = None,
) -> None:
    """Explain live: capture, engine and display as processes of their own."""
    settings = _settings(changes, model, layer, explainer, target, device, backend)
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


def _settings(
    changes: list[str] | None, model: str | None, layer: str | None, explainer: str | None, target: str | None,
    device: str | None, backend: str | None,
) -> list[str]:  # fmt: skip
    """Options that have a name of their own, as `--set` would say them."""
    given = {
        "model": model, "layer": layer, "explainer": explainer, "target": target, "device": device, "backend": backend,
    }  # fmt: skip
    named = [f"worker.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return [*(changes or []), *named]


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


@app.command()
def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A video file, or the drawn hall: scene:hall?seed=7.")],
    at: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Time of the clip's newest frame. [dim](default: the middle clip)[/]"),
    ] = None,
    model: ModelName = None,
    layer: Layer = None,
    explainer: Explainer = None,
    target: Target = None,
    device: Device = None,
    backend: Backend = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT", help="Write OUT.png, OUT.mp4 or OUT.npz.")
    ] = None,
    display: Annotated[
        str,
        typer.Option(help="heat: colours over the picture; focus: the picture where evidence is, else darkness."),
    ] = "heat",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain one clip of a file, in this process."""
    from rtx.preflight import check_explain, check_file

    check_file(file)
    if display not in ("heat", "focus"):
        raise unknown("display", display, ("heat", "focus"))
    settings = _settings(None, model, layer, explainer, target, device, backend)
    worker = of_sources([file], [*settings, "worker.continual=false"]).worker
    check_explain(worker, output, Console(stderr=True))
    from rtx.api import read_clip, result_of
    from rtx.engine.engine import Engine

    clip = read_clip(file, worker.model, at)
    engine = Engine.of(worker)
    engine.warm_up()
    result = result_of(engine, engine.run(clip.clip.frames[None]))
    if output is not None:
        from rtx.film.write import save
        from rtx.show.view import Look

        save(output, clip, result, Look(display=display))  # type: ignore[arg-type]
    about: dict[str, Any] = result.plain() | {
        "at_s": round(clip.at_s, 4),
        "stretched": clip.stretched,
        "file": file,
    }
    if clip.clip.truth is not None:
        about["truth"] = _truth(clip.clip, clip.clip.truth, result, engine.labels)
    if as_json:
        print(json.dumps(about))
    else:
        _print_result(about, output)


def _truth(clip: Clip, truth: Truth, result: Result, labels: tuple[str, ...]) -> dict[str, Any]:
    """What the newest frame really shows, and whether the map's maximum lies there."""
    from rtx.measure.localisation import judge, named_rightly

    hit = judge(result.relevance_full[-1], truth, clip.rect)
    right = named_rightly(result.top[0].label, truth, clip.t_frames[-1] - clip.t_frames[0], labels)
    return {
        "action": truth.action, "acting": list(truth.acting), "right": right,
        # A map of nothing has no hottest place.
        "hit": {"body": hit.body if result.evidence else None, "acting": hit.acting if result.evidence else None},
        "chance": {"body": round(hit.chance_body, 4), "acting": round(hit.chance_acting, 4)},
    }  # fmt: skip


def _print_result(about: dict[str, Any], output: Path | None) -> None:
    console.print(
        f"[bold]{escape(about['file'])}[/] at {about['at_s']:.2f} s, "
        f"{about['model']} ({about['backend']}, {about['device']}, {about['precision']})"
    )
    if about["stretched"]:
        console.print("[yellow]Less than a clip's duration of frames was there: they were stretched over the clip.[/]")
    grid = Table(show_header=False, box=None, padding=(0, 1))
    for top in about["top"][:3]:
        grid.add_row(escape(top["label"]), "█" * round(30 * top["p"]) or "▏", f"{100 * top['p']:.1f} %")
    console.print(grid)
    relevance, found = (
        about["map"],
        "" if about["map"]["evidence"] else ": [yellow]no evidence above threshold[/]",
    )
    of = f" of {about['target']!r}" if about["target"] else " (class-blind)"
    console.print(
        f"{escape(about['explainer'])}{escape(of)}: map {'x'.join(map(str, relevance['shape']))}, "
        f"{relevance['min']:.3g} .. {relevance['max']:.3g}{found}; "
        f"forward {about['ms']['forward']:.0f} ms, explain {about['ms']['explain']:.2f} ms"
    )
    if about["motion_share"] is not None:
        console.print(f"motion share {100 * about['motion_share']:.0f} %")
    if about["lost"]:
        console.print(f"{100 * about['lost']:.2g} % of the score fell where nothing but a bias had made an output")
    if truth := about.get("truth"):
        said = {True: "right", False: "wrong", None: "not judged"}[truth["right"]]
        hit = truth["hit"]
        where = f"on the figure: {_yes(hit['body'])}, on the limbs that act: {_yes(hit['acting'])}"
        hottest = f"hottest place {where}" if about["map"]["evidence"] else "no place is hottest"
        console.print(f"truth: {truth['action']} ({said}); {hottest}", soft_wrap=True)
    if output is not None:
        console.print(f"written: {escape(str(output))}")


def _yes(hit: bool | None) -> str:
    return "none in sight" if hit is None else "yes" if hit else "no"


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
