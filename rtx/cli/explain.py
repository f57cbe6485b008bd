"""`rtx explain`: a clip, a whole film or a folder of them, in this process."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtx.cli.options import Backend, Device, Layer, ModelName, Precision, Target, settings_of
from rtx.cli.terminal import Begin, bars, console
from rtx.clock import NS_PER_S
from rtx.config import Worker, of_sources
from rtx.errors import UserError, unknown

if TYPE_CHECKING:
    from rtx.api import Result
    from rtx.engine.engine import Engine
    from rtx.engine.window import Clip
    from rtx.film.folder import Record
    from rtx.film.found import Film
    from rtx.link.wire import Truth


def explain(
    file: Annotated[
        str, typer.Argument(metavar="FILE|FOLDER", help="A video file, a folder of them, or scene:hall?seed=7.")
    ],
    at: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Time of the clip's newest frame. [dim](default: the middle clip)[/]"),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="All of the file: clips slide over it.")] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0.01, max=86400,
            help="With --whole: from clip to clip. [dim](default: a quarter of a clip)[/]"
        ),
    ] = None,
    model: ModelName = None,
    layer: Layer = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="One of [bold]rtx explainers[/]; then steps: [bold]'ksigma(k=2) | selective(n=4)'[/]. "
            "Given several times: side by side."
        ),
    ] = None,
    target: Target = None,
    device: Device = None,
    backend: Backend = None,
    precision: Precision = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--output", metavar="OUT",
            help="Write OUT.html (report), .mp4, .gif, .png (sheet) or .npz; may be given several times. "
            "Of a folder: the folder to write into.",
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option("--format", help="Of a folder: what to write of each file; separated by commas. "
                     "[dim](default: html)[/]"),
    ] = None,
    display: Annotated[
        str,
        typer.Option(help="heat: colours over the picture; focus: the picture where evidence is, else darkness."),
    ] = "heat",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: a line an explainer; of whole films and folders, a line a file.")
    ] = False,
) -> None:  # fmt: skip
    """Explain a clip of a file, or with --whole all of it; a folder goes on where it stopped."""
    from rtx.film.write import check_all
    from rtx.preflight import check_file, check_worker

    folder = Path(file) if os.path.isdir(file) else None
    check_file(file)
    outputs = output or []
    if display not in ("heat", "focus"):
        raise unknown("display", display, ("heat", "focus"))
    if whole and at is not None:
        raise UserError("--whole explains all of the file, --at one clip of it: leave one out")
    if every is not None and not whole:
        raise UserError("--every is for --whole")
    if whole and file.startswith("scene:"):
        raise UserError(f"{file!r} has no end: --at explains one clip of it")
    if kinds is not None and folder is None:
        raise UserError("--format is for a folder; of a file, -o OUT.html says what to write")
    if folder is None:
        check_all(outputs, file)
    settings = settings_of(None, model, layer, None, target, device, backend, precision)
    worker = of_sources([file], [*settings, "worker.continual=false"]).worker
    explainers = explainer or [worker.explainer]
    for name in explainers:
        check_worker(msgspec.structs.replace(worker, explainer=name), Console(stderr=True))
    work = _Work(worker, explainers, at, whole, every, display, as_json)
    if folder is None:
        with bars() as begin:
            found = work.explain(file, outputs, begin)
        work.tell(found)
        for path in outputs if not as_json else ():
            console.print(f"written: {escape(str(path))}")
    else:
        work.folder(folder, outputs, (kinds or "html").split(","))


class _Found:
    """Of one file."""

    def __init__(self, film: Film, results: list[Result], clip: dict[str, Any]):
        self.film, self.results, self.clip = film, results, clip


class _Work:
    """One command's wishes, done to a file or to each of a folder."""

    def __init__(
        self, worker: Worker, explainers: list[str], at: float | None, whole: bool, every: float | None, display: str,
        as_json: bool,
    ):  # fmt: skip
        self._worker, self._explainers = worker, explainers
        self._at, self._whole, self._every, self._display, self._as_json = at, whole, every, display, as_json
        self._loaded: list[Engine] | None = None

    @property
    def _engines(self) -> list[Engine]:
        from rtx.film.explain import engines_of

        if self._loaded is None:
            self._loaded = engines_of(self._worker, self._explainers)
        return self._loaded

    def explain(self, file: str, outputs: list[Path], begin: Begin) -> _Found:
        """One file, and what is to be written of it."""
        from rtx.film.explain import explain_clip, explain_film
        from rtx.film.read import read_clip
        from rtx.film.write import save
        from rtx.show.view import Look

        with_tree = any(path.suffix == ".html" for path in outputs)
        clip = None if self._whole else read_clip(file, self._worker.model, self._at)
        about: dict[str, Any] = {}
        results: list[Result] = []
        if clip is None:
            with begin("explaining") as told:
                film = explain_film(self._engines, file, self._every, told, with_tree)
        else:
            film, results = explain_clip(self._engines, file, clip, with_tree)
            about = {"at_s": round(clip.at_s, 4), "stretched": clip.stretched, "file": file}
            if clip.clip.truth is not None:
                about["truth"] = _truth(clip.clip, clip.clip.truth, results[0], self._engines[0].labels)
        if outputs:
            with begin("writing") as told:
                save(outputs, film, Look(display=self._display), told)  # type: ignore[arg-type]
        return _Found(film, results, about)

    def tell(self, found: _Found) -> None:
        """Print what was found in one file."""
        if not found.results:
            if self._as_json:
                print(json.dumps(found.film.plain()))
            else:
                _print_film(found.film)
        for number, result in enumerate(found.results):
            about = result.plain() | found.clip
            if self._as_json:
                print(json.dumps(about))
            else:
                _print_result(about, first=number == 0)

    def folder(self, folder: Path, outputs: list[Path], kinds: list[str]) -> None:
        """Each of its files that is not done yet."""
        from rtx.film.folder import Record, videos
        from rtx.film.write import WRITERS

        kinds = [kind.strip().removeprefix(".") for kind in kinds]
        for kind in kinds:
            if f".{kind}" not in WRITERS:
                raise unknown("--format", kind, [suffix[1:] for suffix in WRITERS])
            if kinds.count(kind) > 1:
                raise UserError(f"--format names {kind!r} twice; once is enough")
        if len(outputs) != 1 or (outputs[0].exists() and not outputs[0].is_dir()):
            raise UserError(f"{str(folder)!r} is a folder: name one to write into, -o FOLDER")
        files = videos(folder, outputs[0])
        settings = {
            "model": self._worker.model, "layer": self._worker.layer, "explainers": self._explainers,
            "target": self._worker.target, "backend": self._worker.backend, "precision": self._worker.precision,
            "at": self._at, "whole": self._whole, "every": self._every, "display": self._display,
        }  # fmt: skip
        failed = 0
        with (
            contextlib.closing(Record(outputs[0], settings)) as record,
            bars() as begin,
            begin(f"{len(files)} files") as told,
        ):
            for number, file in enumerate(files):
                failed += not self._one_of(folder, file, outputs[0], kinds, record, begin)
                told((number + 1) / len(files))
        if failed:
            raise UserError(f"{failed} of {len(files)} files could not be explained; the others are done")

    def _one_of(
        self, folder: Path, file: Path, into: Path, kinds: list[str], record: Record, begin: Begin
    ) -> bool:  # fmt: skip
        from rtx.film.folder import Line, state_of

        name = str(file.relative_to(folder))
        # Two files of one name may differ in their endings only.
        outputs = [into / f"{name}.{kind}" for kind in kinds]
        before = record.done(name, file, outputs)
        if before is None:
            state = state_of(file)
            try:
                _make(outputs[0].parent)
                found = self.explain(str(file), outputs, lambda words: begin(f"{name}: {words}"))
            except UserError as error:
                record.add(Line(name, state, str(error)))
                Console(stderr=True).print(f"[red]{escape(name)}[/]: {escape(str(error))}", soft_wrap=True)
                return False
            said: dict[str, Any] = found.film.plain()
            record.add(Line(name, state, found=said))
        else:
            said = before.found
        if self._as_json:
            print(json.dumps(said))
        else:
            rows = said["explainers"][0]["clips"]
            top, count = Counter(row["top"][0]["label"] for row in rows).most_common(1)[0]
            of = f" in {count} of {len(rows)} clips" if len(rows) > 1 else ""
            console.print(f"{escape(name)}: {escape(top)}{of}{' [dim](done before)[/]' if before else ''}")
        return True


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from None


def _print_film(film: Film) -> None:
    from rtx.film.found import COVERED

    console.print(
        f"[bold]{escape(film.file)}[/] {film.end / NS_PER_S:.1f} s, "
        f"{film.model} ({film.backend}, {film.device}, {film.precision})"
    )
    if film.covered < COVERED:
        console.print(f"[yellow]{100 * (1 - film.covered):.0f} % of it lies in no clip that was explained.[/]")
    if film.stretched:
        console.print(SHORT)
    rows = film.panels[0].rows
    grid = Table(show_header=False, box=None, padding=(0, 1))
    named = Counter(row.top[0].label for row in rows)
    for label, count in named.most_common(5):
        surest = max(row.top[0].p for row in rows if row.top[0].label == label)
        grid.add_row(escape(label), "█" * round(30 * count / len(rows)) or "▏", f"{count} of {len(rows)} clips",
                     f"at most {100 * surest:.1f} %")  # fmt: skip
    console.print(grid)
    for panel in film.panels:
        found = sum(row.evidence for row in panel.rows)
        shares = [row.motion_share for row in panel.rows if row.motion_share is not None]
        motion = f"; motion share {100 * sum(shares) / len(shares):.0f} % on average" if shares else ""
        console.print(f"{escape(panel.explainer)}: evidence in {found} of {len(panel.rows)} clips{motion}")


SHORT = "[yellow]Less than a clip's duration of frames was there: they were stretched over the clip.[/]"


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


def _print_result(about: dict[str, Any], first: bool) -> None:
    if first:
        _print_classes(about)
    relevance, found = (
        about["map"],
        "" if about["map"]["evidence"] else ": [yellow]no evidence above threshold[/]",
    )
    forward = f"forward {about['ms']['forward']:.0f} ms, " if first else ""
    of = f" of {about['target']!r}" if about["target"] else " (class-blind)"
    console.print(
        f"{escape(about['explainer'])}{escape(of)}: map {'x'.join(map(str, relevance['shape']))}, "
        f"{relevance['min']:.3g} .. {relevance['max']:.3g}{found}; "
        f"{forward}explain {about['ms']['explain']:.2f} ms"
    )
    if about["motion_share"] is not None:
        console.print(f"motion share {100 * about['motion_share']:.0f} %")
    if about["lost"]:
        console.print(f"{100 * about['lost']:.2g} % of the score fell where nothing but a bias had made an output")
    if first and (truth := about.get("truth")):
        said = {True: "right", False: "wrong", None: "not judged"}[truth["right"]]
        hit = truth["hit"]
        where = f"on the figure: {_yes(hit['body'])}, on the limbs that act: {_yes(hit['acting'])}"
        hottest = f"hottest place {where}" if about["map"]["evidence"] else "no place is hottest"
        console.print(f"truth: {truth['action']} ({said}); {hottest}", soft_wrap=True)


def _yes(hit: bool | None) -> str:
    return "none in sight" if hit is None else "yes" if hit else "no"


def _print_classes(about: dict[str, Any]) -> None:
    console.print(
        f"[bold]{escape(about['file'])}[/] at {about['at_s']:.2f} s, "
        f"{about['model']} ({about['backend']}, {about['device']}, {about['precision']})"
    )
    if about["stretched"]:
        console.print(SHORT)
    grid = Table(show_header=False, box=None, padding=(0, 1))
    for top in about["top"][:3]:
        grid.add_row(escape(top["label"]), "█" * round(30 * top["p"]) or "▏", f"{100 * top['p']:.1f} %")
    console.print(grid)
