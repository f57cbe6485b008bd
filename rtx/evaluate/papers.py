"""What the papers found, as data, and the same rows and columns as they were measured here."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from rtx.evaluate.bootstrap import Mean, said
from rtx.evaluate.study import Means


class PaperRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a paper's table."""

    ours: str
    """The study's row that is the same; empty: none."""
    said: tuple[str, ...]
    """As printed, a cell a column."""
    architecture: str = ""
    """Of which network it speaks, where the table's rows are networks."""


class PaperTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table as its paper prints it."""

    study: str
    title: str
    of: str
    """Network, data, and what is behind a mean."""
    columns: dict[str, str]
    """The paper's columns, and the study's that are the same; empty: none."""
    rows: dict[str, PaperRow]
    unit: Literal["", "%", "ms", "s"] = ""
    """Of the cells of columns that are measured here, too: that is a share, or in ms."""

    def here(self, value: float) -> float:
        """What was measured, in the paper's unit."""
        return value * {"": 1.0, "%": 100.0, "ms": 1.0, "s": 1e-3}[self.unit]


class _Papers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: tuple[PaperTable, ...]


@cache
def tables(study: str) -> tuple[PaperTable, ...]:
    """The papers' tables that ask what this study asks."""
    text = resources.files("rtx.evaluate").joinpath("papers.toml").read_text(encoding="utf-8")
    return tuple(of for of in msgspec.convert(tomllib.loads(text), _Papers).table if of.study == study)


def told(table: PaperTable, row: PaperRow, column: str, found: Means, architecture: str, clips: int) -> str:
    """In words, in the paper's unit, with an interval; of fewer than all clips, of how many. "-": nothing was."""
    of = measured(table, row, column, found, architecture)
    if of is None:
        return "-"
    mean, low, high = map(table.here, (of.mean, of.low, of.high))
    return said(Mean(mean, low, high, of.n), clips, table.unit)


def measured(table: PaperTable, row: PaperRow, column: str, found: Means, architecture: str) -> Mean | None:
    """What was found here in the place of one of the paper's cells."""
    if row.architecture and row.architecture != architecture:
        return None
    one, _, other = row.ours.partition(" and ")
    here = found.get(row.ours) or found.get(f"{other} and {one}") or {}
    return here.get(table.columns[column])
