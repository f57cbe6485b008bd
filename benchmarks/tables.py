"""The tables of TRUTH.md, made from results/: `python -m benchmarks.tables` writes them anew between their marks.

What stands around them is written by hand, and says what follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.record import RESULTS
from benchmarks.truth import ALONE, HONEST, networks
from rtx.evaluate.bootstrap import Mean, mean_of, said
from rtx.evaluate.faithful import NOISE
from rtx.evaluate.study import Means, Row

TRUTH = Path(__file__).with_name("TRUTH.md")


def main() -> None:
    text = TRUTH.read_text(encoding="utf-8")
    for name in TABLES:
        before, _, rest = text.partition(begin(name))
        _, _, after = rest.partition(end(name))
        text = f"{before}{section(name)}{after}"
    TRUTH.write_text(text, encoding="utf-8")


def begin(name: str) -> str:
    return f"<!-- {name}: made by `python -m benchmarks.tables` -->"


def end(name: str) -> str:
    return f"<!-- /{name} -->"


def section(name: str) -> str:
    """A table between its marks."""
    return f"{begin(name)}\n{TABLES[name]()}\n{end(name)}"


def cheat() -> str:
    """Kicks beside a mat: the cheat, the honest network and the one that learned nothing."""
    found = {model: _means(f"eval-cheat-{model}") for model in ("betrayed", HONEST)}
    names = sorted(found["betrayed"], key=lambda name: -_mean(found["betrayed"][name]["mat"]))
    head = ["explainer", *(f"on the mat: `{model}`" for model in ("betrayed", HONEST)),
            *(f"on the acting limbs: `{model}`" for model in found)]  # fmt: skip
    lines = []
    for name in names:
        mats = (found[model][name]["mat"] for model in ("betrayed", HONEST))
        limbs = (found[model][name]["acting"] for model in found)
        lines.append([f"`{name}`", *map(_ratio, (*mats, *limbs))])
    return _table(head, lines)


def actions() -> str:
    """Ratios on the acting limbs, action by action."""
    by_action = json.loads((RESULTS / "eval-truth-figures.json").read_text())["acting_ratio_by_action"]
    first = next(iter(by_action.values()))
    names = [name for name in first if name in ALONE]
    lines = [[f"`{name}`", *(f"{of[name]:.1f}" if name in of else "-" for of in by_action.values())] for name in names]
    return _table(["explainer", *by_action], lines)


def motion() -> str:
    """Precision and what the selective step does to it, clip by clip."""
    columns = {"over chance": "precision, over chance", "gain": "gain by `selective`", "voxels kept": "voxels kept"}
    results = {"hall": "eval-motion-figures", "fights": "eval-motion-i3d-k400-fight"}
    found = {where: _means(name) for where, name in results.items() if (RESULTS / f"{name}.json").exists()}
    head = ["explainer", *(f"{where}: {title}" for where in found for title in columns.values())]
    lines = [[f"`{name}`", *(said(of[name][column]) for of in found.values() for column in columns)]
             for name in found["hall"]]  # fmt: skip
    return _table(head, lines)


def faithful() -> str:
    """What an explainer's order is worth beyond a lot's, of the same clips."""
    result = json.loads((RESULTS / "eval-faithful-figures.json").read_text())
    rows = msgspec.convert(result["clips"], list[Row])
    columns = list(rows[0].values[NOISE])
    lines = [[f"`{name}`", *(said(_over(rows, name, NOISE, column)) for column in columns)]
             for name in rows[0].values if name != NOISE]  # fmt: skip
    return _table(["explainer, less lot", *columns], lines)


def real() -> str:
    """The same of I3D: too few clips for intervals."""
    found = _means("eval-faithful-i3d-k400-clips")
    columns = list(found[NOISE])
    lines = [[f"`{name}`", *(f"{_mean(of[column]):.2f}" for column in columns)] for name, of in found.items()]
    return _table(["explainer", *columns], lines)


def sanity() -> str:
    """Rank correlation with the map of the trained network, as more and more is shuffled."""
    found = _means("eval-sanity-figures")
    columns = list(next(iter(found.values())))
    heads = ["the head", *(f"and {column}" for column in columns[1:])]
    most = max(of.n for row in found.values() for of in row.values() if of)
    lines = [[f"`{name}`", *(_of(of[column], most) for column in columns)] for name, of in found.items()]
    return _table(["explainer", *heads], lines)


TABLES: dict[str, Callable[[], str]] = {
    "actions": actions, "cheat": cheat, "motion": motion, "faithful": faithful, "real": real, "sanity": sanity,
    "networks": networks,
}  # fmt: skip


def _means(name: str) -> Means:
    return msgspec.convert(json.loads((RESULTS / f"{name}.json").read_text())["means"], Means)


def _mean(of: Mean | None) -> float:
    return float("nan") if of is None else of.mean


def _ratio(of: Mean | None) -> str:
    return "-" if of is None else f"{of.mean:.1f}" if of.mean < 10 else f"{of.mean:.0f}"


def _of(of: Mean | None, most: int) -> str:
    return "-" if of is None else f"{of.mean:.2f}{f' of {of.n}' if of.n < most else ''}"


def _over(rows: list[Row], one: str, other: str, column: str) -> Mean | None:
    """How much more one has than the other, of the same clips."""
    return mean_of([_known(row.values[one][column]) - _known(row.values[other][column]) for row in rows])


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _table(head: Iterable[Any], lines: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


if __name__ == "__main__":
    main()
