"""`rtx eval`: how far heatmaps can be trusted, in numbers measured here."""

from __future__ import annotations

import json
from html import escape as quoted
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from rtx.cli.terminal import bars, console
from rtx.errors import UserError

if TYPE_CHECKING:
    from rtx.evaluate.bootstrap import Mean
    from rtx.evaluate.truth import Row, Told

evaluate = typer.Typer(help="How far heatmaps can be trusted.", no_args_is_help=True)
CAPTION = (
    "hit, chance, IoU: of the limbs that act. acting, body, distractor: the share of the relevance there over the "
    "share of the area; 1 is chance."
)
HEAD = ("explainer", "region", "hottest place on it", "chance", "relevance over area", "IoU")


@evaluate.callback()
def _group() -> None:
    """So that there can be more of it than one."""


@evaluate.command("truth")
def truth(
    model: Annotated[str, typer.Option(help="A network that was trained in the drawn hall.")] = "figures",
    explainer: Annotated[
        list[str] | None, typer.Option(help="May be given several times. [dim](default: all, and with selective)[/]")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, max=100_000, help="Scenes that no training has seen.")] = 100,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json|FILE.html", help="Write all of it; one that was broken off goes on."),
    ] = None,
) -> None:  # fmt: skip
    """Explainers on the drawn hall: does the relevance lie on the limbs that act, the figure, or what distracts?"""
    if report is not None and (report.suffix not in (".json", ".html") or not report.parent.is_dir()):
        raise UserError(f"--report {str(report)!r}: name a file in a folder that is there, .json or .html")
    from rtx.api import load
    from rtx.evaluate import truth as measured
    from rtx.explain.chain import chain_for
    from rtx.explain.registry import DECLARED

    alone = [name for name, of in DECLARED.items() if not of.is_step]
    chains = explainer or [f"{name}{step}" for name in alone for step in ("", " | selective")]
    backend = load(model, device="cpu")
    names = [str(chain_for(name, None, backend.labels)[0]) for name in chains]
    rows = _Rows(report, {"model": backend.card.name, "explainers": names, "clips": clips})
    done = {row.seed for row in rows.known}
    with bars() as begin, begin(f"{clips} clips") as told:
        for row in measured.rows(backend, chains, [seed for seed in range(clips) if seed not in done]):
            rows.add(row)
            told(len(rows.known) / clips)
    found = measured.summary(rows.known)
    right = sum(row.right for row in rows.known)
    title = f"{backend.card.name} on {clips} held-out scenes, {right} named rightly; with 95 % intervals over clips"
    _show(title, found)
    if report is not None:
        rows.finish(found, _page(title, found))
        console.print(f"written: {escape(str(report))}")


class _Rows:
    """What is known of each clip; with a report, on disk as soon as it is known, so that another run goes on."""

    def __init__(self, report: Path | None, settings: dict[str, Any]):
        from rtx.evaluate.truth import Row

        self._report, self._settings = report, settings
        self.known: list[Row] = []
        self._part = None if report is None else report.with_name(f".{report.name}.part")
        if self._part is None:
            return
        try:
            lines = self._part.read_bytes().split(b"\n")[:-1] if self._part.exists() else []
            if lines and msgspec.json.decode(lines[0]) == settings:
                self.known = [msgspec.json.decode(line, type=Row) for line in lines[1:]]
            self._write(b"\n".join(msgspec.json.encode(of) for of in (settings, *self.known)) + b"\n", "wb")
        except msgspec.DecodeError as error:
            raise UserError(
                f"{str(self._part)!r}, what a broken off run left, cannot be read: {error}; remove it"
            ) from None

    def add(self, row: Row) -> None:
        self.known.append(row)
        if self._part is not None:
            self._write(msgspec.json.encode(row) + b"\n", "ab")

    def finish(self, found: list[Told], page: str) -> None:
        """The report takes the place of what was kept meanwhile."""
        assert self._report is not None
        assert self._part is not None
        plain = {
            "settings": self._settings,
            "summary": msgspec.to_builtins(found),
            "clips": msgspec.to_builtins(self.known),
        }
        text = page if self._report.suffix == ".html" else json.dumps(plain, indent=1) + "\n"
        try:
            self._report.write_text(text, encoding="utf-8")
            self._part.unlink()
        except OSError as error:
            raise UserError(f"cannot write {str(self._report)!r}: {error.strerror}") from None

    def _write(self, data: bytes, mode: str) -> None:
        assert self._part is not None
        try:
            with self._part.open(mode) as file:
                file.write(data)
        except OSError as error:
            raise UserError(f"cannot write {str(self._part)!r}: {error.strerror}") from None


def _cells(of: Told) -> tuple[str, ...]:
    chance = "" if of.chance is None else f"{of.chance.mean:.2f}"
    return of.explainer, of.region, _said(of.hit), chance, _said(of.ratio), _said(of.iou)


def _said(of: Mean | None) -> str:
    return "" if of is None else f"{of.mean:.2f} ({of.low:.2f} to {of.high:.2f})"


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

    head = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    body = "".join(f"<tr>{''.join(f'<td>{quoted(cell)}</td>' for cell in _cells(of))}</tr>" for of in found)
    return page(
        "rtx eval truth",
        f"<h1>Does the heat lie on who acts?</h1><p>{quoted(title)}</p><table><tr>{head}</tr>{body}</table>",
    )
