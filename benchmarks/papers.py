"""The papers' tables, each cell beside what was measured here: `python -m benchmarks.papers` writes PAPERS.md.

What stands there comes from results/, which `python -m benchmarks.studies` makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.record import RESULTS
from benchmarks.studies import ASKED
from rtx.evaluate import papers
from rtx.evaluate.bootstrap import SAYS
from rtx.evaluate.papers import PaperRow, PaperTable
from rtx.evaluate.study import Means
from rtx.nets import cards

PAPERS = Path(__file__).with_name("PAPERS.md")
HEAD = f"""# The papers' tables, measured again

Made by `python -m benchmarks.papers` from `benchmarks/results/`; `rtx eval` makes the same of a network and films of
yours. The papers' data sets were not at hand, nor their weights: rows and columns are theirs, networks and clips are
those that a column's head names. So figures need not be equal; what may be compared is which method comes before which.
Ours are means (of times, medians) with {SAYS}. `i3d-k400` has its published
weights; the other networks were trained in the drawn hall. What follows from it: [TRUTH.md](TRUTH.md).
"""


class Here(NamedTuple):
    """One result of a study."""

    says: str
    architecture: str
    found: Means
    clips: int


def main() -> None:
    PAPERS.write_text(text(), encoding="utf-8")


def text() -> str:
    """All tables that a study can fill."""
    return "\n".join([HEAD, *(part for study in ASKED for table in papers.tables(study) for part in _of(table))])


def _of(table: PaperTable) -> list[str]:
    """One paper's table: a block for each column that is measured here, and what the paper alone has in the first."""
    lines = [f"## {table.title}", "", f"The paper: {table.of}.", ""]
    alone = [(number, column) for number, (column, same) in enumerate(table.columns.items()) if not same]
    results = _results(table.study)
    for number, (column, same) in enumerate(table.columns.items()):
        if not same:
            continue
        cells = {of.says: [_cell(table, row, column, of) for row in table.rows.values()] for of in results}
        known = {says: those for says, those in cells.items() if set(those) != {"-"}}
        if any(row.architecture for row in table.rows.values()):
            known = {"here": [_of_its_network(at, known) for at in range(len(table.rows))]}
        lines += _row("", *(name for _, name in alone), f"{column}: paper", *known)
        lines += _row(*["---"] * (2 + len(alone) + len(known)))
        for at, (name, row) in enumerate(table.rows.items()):
            more = (row.said[number] for number, _ in alone)
            lines += _row(name, *more, row.said[number], *(those[at] for those in known.values()))
        lines.append("")
        alone = []
    return lines


def _cell(table: PaperTable, row: PaperRow, column: str, of: Here) -> str:
    return papers.told(table, row, column, of.found, of.architecture, of.clips)


def _of_its_network(at: int, known: dict[str, list[str]]) -> str:
    """A row's cell, where each row is another network: it is that network's, which is named."""
    return next((f"{those[at]}: {says}" for says, those in known.items() if those[at] != "-"), "-")


def _row(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _results(study: str) -> list[Here]:
    found = []
    for of in ASKED[study]:
        path = RESULTS / f"{of.result(study)}.json"
        if not path.exists():
            continue
        kept = json.loads(path.read_text())
        settings, means = kept["settings"], msgspec.convert(kept["means"], Means)
        clips, whole = len(settings["clips"]), settings["of"].partition(": ")[0]
        name = f"`{of.model}`, random weights" if settings["weights"].startswith("random") else f"`{of.model}`"
        says = f"{name}, {whole if f'{clips} ' in whole else f'{clips} of {whole}'}"
        found.append(Here(says, cards.card(of.model).architecture, means, clips))
    return found


if __name__ == "__main__":
    main()
