"""`rtx eval`: how far heatmaps can be trusted, in numbers measured here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape as quoted
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast, get_args

import msgspec
import typer
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from rtx.cli.terminal import bars, console
from rtx.config import DeviceName, PrecisionName
from rtx.errors import UserError, unknown
from rtx.evaluate.questions import QUESTIONS

if TYPE_CHECKING:
    from rtx.engine.torch_backend import TorchBackend
    from rtx.evaluate.bootstrap import Mean
    from rtx.evaluate.papers import PaperTable
    from rtx.evaluate.rows import Rows
    from rtx.evaluate.study import Means, Study
    from rtx.evaluate.truth import Told

evaluate = typer.Typer(help="How far heatmaps can be trusted.", no_args_is_help=True)
CAPTION = (
    "hit: the share of frames whose hottest place lies there; chance: that by lot. IoU: of it and where the map is "
    "more than half way from its mean to its most. Relevance over area: the share of the positive relevance there over "
    "the share of the area; 1 is chance."
)
SHORT = "hit, chance, IoU: of the first of the regions. acting, body, distractor: relevance over area."
FEWER = "of N: of so many clips; of the others nothing can be said."
HEAD = ("explainer", "region", "hit", "chance", "relevance over area", "IoU")

DEVICES, PRECISIONS = get_args(DeviceName), get_args(PrecisionName)
ModelName = Annotated[str, typer.Option(help="A model's name or its card's file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Clips = Annotated[
    str, typer.Option(metavar="DIR|N", help="A folder of films or of a data set; or how many scenes to draw.")
]
Explainers = Annotated[list[str] | None, typer.Option(help="May be given several times.")]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE.json|FILE.html", help="Write all of it; one that was broken off goes on.")
]


@evaluate.command("truth")
def truth(
    model: ModelName = "figures",
    explainer: Explainers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    clips: Clips = "100",
    report: Report = None,
) -> None:
    """Does the relevance lie on the limbs that act, the figure, what distracts? Where each pixel is known."""
    _check(report)
    from rtx.evaluate import bootstrap
    from rtx.evaluate import truth as measured
    from rtx.evaluate.examples import examples_of
    from rtx.evaluate.rows import Rows
    from rtx.evaluate.study import about, fitting
    from rtx.explain.chain import chain_for
    from rtx.explain.registry import DECLARED

    backend = _loaded(model, device, precision)
    alone = fitting(backend, (name for name, of in DECLARED.items() if not of.is_step))
    chains = explainer or [f"{name}{step}" for name in alone for step in ("", " | selective")]
    names = [str(chain_for(name, None, backend.labels)[0]) for name in chains]
    material = examples_of(backend, clips, boxed=True)
    settings = {"study": "truth", "version": measured.VERSION, **about(backend), "explainers": names,
                "of": material.says, "clips": list(material.names)}  # fmt: skip
    with Rows(report, settings, measured.Row) as rows:
        fill(rows, material.names, lambda names: measured.rows(backend, chains, material, names))
        found, judged = measured.summary(rows.known), len(measured.judged(rows.known))
        named = f"{judged} named rightly" if material.named else "of which it names nothing"
        title = (
            f"{backend.card.name} ({backend.precision}) on {material.says}{_lacking(rows)}, {named}; {bootstrap.SAYS}"
        )
        _show(title, found, judged)
        said = {"title": title, "summary": msgspec.to_builtins(found), "clips": msgspec.to_builtins(rows.known)}
        _finish(report, rows, {"settings": settings, **said}, lambda: _page(title, found, judged))


def _loaded(model: str, device: str, precision: str) -> TorchBackend:
    from rtx.api import load

    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    return load(model, cast(DeviceName, device), cast(PrecisionName, precision))


def study(name: str, asks: str) -> None:
    """A command for one of the studies."""

    def command(
        model: ModelName = "figures",
        explainer: Explainers = None,
        device: Device = "auto",
        precision: Precision = "auto",
        clips: Clips = "20",
        report: Report = None,
    ) -> None:
        _check(report)
        from rtx.evaluate.studies import STUDIES

        _run(STUDIES[name], _loaded(model, device, precision), explainer, clips, report)

    command.__doc__ = asks
    evaluate.command(name)(command)


for _name, _asks in QUESTIONS.items():
    study(_name, _asks)


def _check(report: Path | None) -> None:
    if report is not None and (report.suffix not in (".json", ".html") or not report.parent.is_dir()):
        raise UserError(f"--report {str(report)!r}: name a file in a folder that is there, .json or .html")


def _run(study: Study, backend: TorchBackend, explainer: list[str] | None, clips: str, report: Path | None) -> None:
    from rtx.evaluate import bootstrap
    from rtx.evaluate.examples import examples_of
    from rtx.evaluate.rows import Rows
    from rtx.evaluate.study import Row, about, means, measured
    from rtx.explain.chain import chain_for

    explainers = explainer or study.fitting(backend)
    for name in explainers:
        chain_for(name, None, backend.labels)
    material = examples_of(backend, clips, study.boxed, study.scene, study.named)
    settings = {"study": study.name, "version": study.version, **about(backend), "explainers": list(explainers),
                "of": material.says, "clips": list(material.names)}  # fmt: skip
    with Rows(report, settings, Row) as rows:
        fill(rows, material.names, lambda names: measured(study, backend, explainers, material, names))
        found = means(rows.known, study.middle)
        title = f"{backend.card.name} ({backend.precision}) on {material.says}{_lacking(rows)}; {bootstrap.SAYS}"
        of = f"{backend.card.name} on {material.says}"
        here = _Here(title, study, found, len(rows.known) - len(rows.unread), backend.card.architecture, of)
        here.show()
        said = {"title": title, "caption": here.caption, "means": msgspec.to_builtins(found), "papers": here.papers()}
        _finish(report, rows, {"settings": settings, **said, "clips": msgspec.to_builtins(rows.known)}, here.page)


def fill(rows: Rows[Any], clips: Sequence[str], measured: Callable[[list[str]], Iterable[Any]]) -> None:
    """Measure the clips that are not known yet, with a bar. UserError where none of them can be read."""
    count = len(clips)
    with bars() as begin, begin(f"{count} clips") as told:
        for row in measured([name for name in clips if name not in rows.names]):
            rows.add(row)
            told(len(rows.known) / count)
    if len(rows.unread) == count:
        first = rows.unread[0]
        rows.done()
        raise UserError(f"none of {count} clips can be read, first {first.name}: {first.why}")
    for row in rows.unread:
        console.print(f"left out: {escape(row.name)}: {escape(row.why)}")


def _lacking(rows: Rows[Any]) -> str:
    return f", of which {len(rows.unread)} cannot be read" if rows.unread else ""


def _finish(report: Path | None, rows: Rows[Any], found: dict[str, Any], page: Callable[[], str]) -> None:
    """The report, if one is wanted, takes the place of what was kept meanwhile."""
    if report is None:
        return
    text = page() if report.suffix == ".html" else json.dumps(found, indent=1) + "\n"
    try:
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {str(report)!r}: {error.strerror}") from None
    rows.done()
    console.print(f"written: {escape(str(report))}")


class _Here(NamedTuple):
    """What a study has found, and the papers' tables beside it."""

    title: str
    study: Study
    found: Means
    clips: int
    arch: str
    """The network's architecture: papers name kinds."""
    of: str
    """Network and clips, in words."""

    @property
    def caption(self) -> str:
        return f"{self.study.caption} {FEWER}" if self._fewer else self.study.caption

    def show(self) -> None:
        """In the terminal; intervals are in the report."""
        from rtx.evaluate import papers

        title = f"{self.study.asks} {self.title}"
        table = Table(box=None)
        table.add_column("", no_wrap=True)
        for column in self._columns:
            table.add_column(column, justify="right")
        for row, of in self.found.items():
            table.add_row(escape(row), *(_number(of.get(column), self.clips) for column in self._columns))
        _print(title, table, self.caption)
        for paper in papers.tables(self.study.name):
            head, lines = self._beside(paper)
            table = Table(*(Column(escape(name), overflow="fold") for name in head), box=None)
            for line in lines:
                table.add_row(*map(escape, line))
            _print(f"\n{paper.title}: {paper.of}. Here: {self.of}", table)

    def papers(self) -> list[dict[str, Any]]:
        """The papers' tables, each of their cells beside what was found."""
        from rtx.evaluate import papers

        found = []
        for of in papers.tables(self.study.name):
            head, lines = self._beside(of)
            found.append({"title": of.title, "of": of.of, "columns": head, "rows": lines})
        return found

    def page(self) -> str:
        """The same as HTML, with intervals."""
        from rtx.evaluate import papers
        from rtx.evaluate.bootstrap import said
        from rtx.show.document import page

        lines = [
            [row, *(said(of.get(column), self.clips) for column in self._columns)] for row, of in self.found.items()
        ]
        body = f"<h1>{quoted(self.study.asks)}</h1><p>{quoted(self.title)}</p><p>{quoted(self.caption)}</p>"
        body += _html(["", *self._columns], lines)
        for paper in papers.tables(self.study.name):
            about = f"Paper: {paper.of}. Here: {self.of}, with intervals of 95 %."
            body += f"<h2>{quoted(paper.title)}</h2><p>{quoted(about)}</p>{_html(*self._beside(paper))}"
        return page(f"rtx eval {self.study.name}", body)

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys(column for of in self.found.values() for column in of))

    @property
    def _fewer(self) -> bool:
        """Of some clips nothing can be said."""
        return any(of is not None and of.n < self.clips for row in self.found.values() for of in row.values())

    def _beside(self, paper: PaperTable) -> tuple[list[str], list[list[str]]]:
        """A paper's table, each of its cells beside what was found here, where that is asked here, too."""
        from rtx.evaluate.papers import told

        head = [""]
        for column, same in paper.columns.items():
            head += [f"{column}: paper", "here"] if same else [column]
        lines = []
        for name, row in paper.rows.items():
            line = [name]
            for (column, same), theirs in zip(paper.columns.items(), row.said, strict=True):
                line.append(theirs)
                if same:
                    line.append(told(paper, row, column, self.found, self.arch, self.clips))
            lines.append(line)
        return head, lines


def _html(head: list[str], lines: list[list[str]]) -> str:
    top = "".join(f'<th scope="col">{quoted(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{quoted(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cells(of: Told, clips: int) -> list[str]:
    from rtx.evaluate.bootstrap import said

    chance = "" if of.chance is None else f"{of.chance.mean:.2f}"
    return [of.explainer, of.region, said(of.hit, clips), chance, said(of.ratio, clips), said(of.iou, clips)]


def _about(found: list[Told], clips: int) -> str:
    """What columns mean; of fewer clips, where the region is not to be seen in all."""
    fewer = any(of.hit is not None and of.hit.n < clips for of in found)
    return f"{CAPTION} {FEWER}" if fewer else CAPTION


def _show(title: str, found: list[Told], clips: int) -> None:
    """A row an explainer; intervals are in the report."""
    table = Table(box=None)
    regions = list(dict.fromkeys(of.region for of in found))
    for name in ("explainer", "hit", "chance", *regions, "IoU"):
        table.add_column(name, justify="left" if name == "explainer" else "right", no_wrap=True)
    for name in dict.fromkeys(of.explainer for of in found):
        first, *others = (of for of in found if of.explainer == name)
        ratios = (of.ratio for of in (first, *others))
        table.add_row(escape(name), *(_number(of, clips) for of in (first.hit, first.chance, *ratios, first.iou)))
    _print(title, table, f"{SHORT} {_about(found, clips)}")


def _print(title: str, table: Table, caption: str = "") -> None:
    """Title and caption are as wide as the terminal, whatever the table is."""
    console.print(Text(title, style="italic"))
    console.print(table)
    if caption:
        console.print(Text(caption, style="dim italic"))


def _number(of: Mean | None, clips: int = 0) -> str:
    if of is None:
        return "-"
    return f"{of.mean:.2f} of {of.n}" if of.n < clips else f"{of.mean:.2f}"


def _page(title: str, found: list[Told], clips: int) -> str:
    from rtx.show.document import page

    said = f"<p>{quoted(title)}</p><p>{quoted(_about(found, clips))}</p>"
    table = _html(list(HEAD), [_cells(of, clips) for of in found])
    return page("rtx eval truth", f"<h1>Does the heat lie on who acts?</h1>{said}{table}")
