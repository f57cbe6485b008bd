"""`rtx eval`: how far heatmaps can be trusted, in numbers measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape as quoted
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from rtx.cli.terminal import bars, console
from rtx.errors import UserError
from rtx.evaluate.questions import QUESTIONS

if TYPE_CHECKING:
    from rtx.evaluate.bootstrap import Mean
    from rtx.evaluate.papers import PaperTable
    from rtx.evaluate.study import Means, Study
    from rtx.evaluate.truth import Told

evaluate = typer.Typer(help="How far heatmaps can be trusted.", no_args_is_help=True)
CAPTION = (
    "hit, chance, IoU: of the limbs that act. acting, body, distractor: the share of the relevance there over the "
    "share of the area; 1 is chance."
)
HEAD = ("explainer", "region", "hottest place on it", "chance", "relevance over area", "IoU")

Explainers = Annotated[list[str] | None, typer.Option(help="May be given several times.")]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE.json|FILE.html", help="Write all of it; one that was broken off goes on.")
]
Kept = TypeVar("Kept", bound=msgspec.Struct)


@evaluate.command("truth")
def truth(
    model: Annotated[str, typer.Option(help="A network that was trained in the drawn hall.")] = "figures",
    explainer: Explainers = None,
    clips: Annotated[int, typer.Option(min=1, max=100_000, help="Scenes that no training has seen.")] = 100,
    report: Report = None,
) -> None:
    """Explainers on the drawn hall: does the relevance lie on the limbs that act, the figure, or what distracts?"""
    _check(report)
    from rtx.api import load
    from rtx.evaluate import truth as measured
    from rtx.explain.chain import chain_for
    from rtx.explain.registry import DECLARED

    alone = [name for name, of in DECLARED.items() if not of.is_step]
    chains = explainer or [f"{name}{step}" for name in alone for step in ("", " | selective")]
    backend = load(model, device="cpu")
    names = [str(chain_for(name, None, backend.labels)[0]) for name in chains]
    rows = _Rows(report, {"model": backend.card.name, "explainers": names, "clips": clips}, measured.Row)
    done = {row.seed for row in rows.known}
    with bars() as begin, begin(f"{clips} clips") as told:
        for row in measured.rows(backend, chains, [seed for seed in range(clips) if seed not in done]):
            rows.add(row)
            told(len(rows.known) / clips)
    found = measured.summary(rows.known)
    right = sum(row.right for row in rows.known)
    title = f"{backend.card.name} on {clips} held-out scenes, {right} named rightly; with 95 % intervals over clips"
    _show(title, found)
    rows.finish({"summary": msgspec.to_builtins(found)}, lambda: _page(title, found))


def study(name: str, asks: str) -> None:
    """A command for one of the studies."""

    def command(
        model: Annotated[str, typer.Option(help="A model's name or its card's file.")] = "figures",
        explainer: Explainers = None,
        clips: Annotated[
            str, typer.Option(metavar="DIR|N", help="A folder of films or of a data set; or how many scenes to draw.")
        ] = "20",
        report: Report = None,
    ) -> None:
        _check(report)
        from rtx.evaluate.studies import STUDIES

        _run(STUDIES[name], model, explainer, clips, report)

    command.__doc__ = asks
    evaluate.command(name)(command)


for _name, _asks in QUESTIONS.items():
    study(_name, _asks)


def _check(report: Path | None) -> None:
    if report is not None and (report.suffix not in (".json", ".html") or not report.parent.is_dir()):
        raise UserError(f"--report {str(report)!r}: name a file in a folder that is there, .json or .html")


def _run(study: Study, model: str, explainer: list[str] | None, clips: str, report: Path | None) -> None:
    from rtx.api import load
    from rtx.evaluate.examples import examples_of
    from rtx.evaluate.study import Row, means
    from rtx.explain.chain import chain_for

    backend = load(model, device="cpu")
    explainers = explainer or study.fitting(backend)
    for name in explainers:
        chain_for(name, None, backend.labels)
    material = examples_of(backend, clips, study.boxed, study.scene)
    settings = {"study": study.name, "model": backend.card.name, "explainers": list(explainers), "of": material.says,
                "clips": list(material.names)}  # fmt: skip
    rows = _Rows(report, settings, Row)
    done = {row.name for row in rows.known}
    with bars() as begin, begin(f"{len(material.names)} clips") as told:
        for example in material.load([name for name in material.names if name not in done]):
            rows.add(Row(example.name, study.measure(backend, explainers, example)))
            told(len(rows.known) / len(material.names))
    found = means(rows.known, study.middle)
    title = f"{study.asks} {backend.card.name} ({backend.precision}) on {material.says}; 95 % intervals over clips"
    _print(study, title, found, backend.card.arch)
    rows.finish({"means": msgspec.to_builtins(found)}, lambda: _tables(study, title, found, backend.card.arch))


class _Rows(Generic[Kept]):
    """What is known of each clip; with a report, on disk as soon as it is known, so that another run goes on."""

    def __init__(self, report: Path | None, settings: dict[str, Any], kind: type[Kept]):
        self._report, self._settings = report, settings
        self.known: list[Kept] = []
        self._part = None if report is None else report.with_name(f".{report.name}.part")
        if self._part is None:
            return
        try:
            lines = self._part.read_bytes().split(b"\n")[:-1] if self._part.exists() else []
            if lines and msgspec.json.decode(lines[0]) == settings:
                self.known = [msgspec.json.decode(line, type=kind) for line in lines[1:]]
            self._write(b"\n".join(msgspec.json.encode(of) for of in (settings, *self.known)) + b"\n", "wb")
        except msgspec.DecodeError as error:
            raise UserError(
                f"{str(self._part)!r}, what a broken off run left, cannot be read: {error}; remove it"
            ) from None

    def add(self, row: Kept) -> None:
        self.known.append(row)
        if self._part is not None:
            self._write(msgspec.json.encode(row) + b"\n", "ab")

    def finish(self, found: dict[str, Any], page: Callable[[], str]) -> None:
        """The report, if one is wanted, takes the place of what was kept meanwhile."""
        if self._report is None or self._part is None:
            return
        plain = {"settings": self._settings, **found, "clips": msgspec.to_builtins(self.known)}
        text = page() if self._report.suffix == ".html" else json.dumps(plain, indent=1) + "\n"
        try:
            self._report.write_text(text, encoding="utf-8")
            self._part.unlink()
        except OSError as error:
            raise UserError(f"cannot write {str(self._report)!r}: {error.strerror}") from None
        console.print(f"written: {escape(str(self._report))}")

    def _write(self, data: bytes, mode: str) -> None:
        assert self._part is not None
        try:
            with self._part.open(mode) as file:
                file.write(data)
        except OSError as error:
            raise UserError(f"cannot write {str(self._part)!r}: {error.strerror}") from None


def _print(study: Study, title: str, found: Means, model: str) -> None:
    """What was found, and then the papers' tables beside it."""
    from rtx.evaluate import papers

    columns = list(dict.fromkeys(column for of in found.values() for column in of))
    table = Table(title=title, title_justify="left", box=None, caption=study.caption, caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for row, of in found.items():
        table.add_row(escape(row), *(_number(of.get(column)) for column in columns))
    console.print(table)
    for paper in papers.tables(study.name):
        head, lines = _beside(paper, found, model)
        table = Table(*head, title=f"\n{paper.title}: {paper.of}", title_justify="left", box=None)
        for line in lines:
            table.add_row(*map(escape, line))
        console.print(table)


def _tables(study: Study, title: str, found: Means, model: str) -> str:
    """The same as a page, with intervals."""
    from rtx.evaluate import papers
    from rtx.show.document import page

    columns = list(dict.fromkeys(column for of in found.values() for column in of))
    lines = [[row, *(_said(of.get(column)) for column in columns)] for row, of in found.items()]
    body = f"<h1>{quoted(study.asks)}</h1><p>{quoted(title)}</p><p>{quoted(study.caption)}</p>"
    body += _html(["", *columns], lines)
    for paper in papers.tables(study.name):
        body += f"<h2>{quoted(paper.title)}</h2><p>{quoted(paper.of)}</p>{_html(*_beside(paper, found, model))}"
    return page(f"rtx eval {study.name}", body)


def _beside(paper: PaperTable, found: Means, model: str) -> tuple[list[str], list[list[str]]]:
    """A paper's table, each of its cells beside what was found here."""
    from rtx.evaluate.papers import measured

    head = ["", *(cell for column in paper.columns for cell in (f"{column}: paper", "here"))]
    lines = []
    for name, row in paper.rows.items():
        line = [name]
        for column, said in zip(paper.columns, row.said, strict=True):
            line += [said, _said(measured(paper, row, column, found, model)) or "-"]
        lines.append(line)
    return head, lines


def _html(head: list[str], lines: list[list[str]]) -> str:
    top = "".join(f'<th scope="col">{quoted(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{quoted(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cells(of: Told) -> list[str]:
    chance = "" if of.chance is None else f"{of.chance.mean:.2f}"
    return [of.explainer, of.region, _said(of.hit), chance, _said(of.ratio), _said(of.iou)]


def _said(of: Mean | None) -> str:
    if of is None:
        return ""
    digits = 1 if abs(of.mean) >= 100 else 2
    return f"{of.mean:.{digits}f} ({of.low:.{digits}f} to {of.high:.{digits}f})"


def _show(title: str, found: list[Told]) -> None:
    """A row an explainer; intervals are in the report."""
    table = Table(title=title, title_justify="left", box=None, caption=CAPTION, caption_justify="left")
    for name in ("explainer", "hit", "chance", "acting", "body", "distractor", "IoU"):
        table.add_column(name, justify="left" if name == "explainer" else "right", no_wrap=True)
    by = {(of.explainer, of.region): of for of in found}
    for name in dict.fromkeys(of.explainer for of in found):
        acting = by[name, "acting"]
        ratios = (by[name, region].ratio for region in ("acting", "body", "distractor"))
        table.add_row(escape(name), *(_number(of) for of in (acting.hit, acting.chance, *ratios, acting.iou)))
    console.print(table)


def _number(of: Mean | None) -> str:
    return "-" if of is None else f"{of.mean:.2f}"


def _page(title: str, found: list[Told]) -> str:
    from rtx.show.document import page

    table = _html(list(HEAD), [_cells(of) for of in found])
    return page("rtx eval truth", f"<h1>Does the heat lie on who acts?</h1><p>{quoted(title)}</p>{table}")
