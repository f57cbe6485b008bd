"""The tables of TRUTH.md, made from results/: `python -m benchmarks.tables` writes them anew between their marks.

What stands around them is written by hand, and says what follows from them. PLACES.md, which has all of what
`rtx eval truth` measured, is written anew as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.record import RESULTS
from benchmarks.studies import WALL, Of
from benchmarks.truth import ALONE, ASKED, HALL, HONEST, networks, path_of, told_in
from rtx import resources
from rtx.evaluate.bootstrap import SAYS, Mean, mean_of, said
from rtx.evaluate.faithful import NOISE
from rtx.evaluate.study import Means, Row
from rtx.evaluate.truth import REGIONS, Told
from rtx.learn.kinds import PHASES
from rtx.learn.trials import TRIALS
from rtx.scenes.actions import LABELS

TRUTH, PLACES = (Path(__file__).with_name(f"{name}.md") for name in ("TRUTH", "PLACES"))
WHERE = {"acting": "limbs that act", "body": "figure", "distractor": "distractor"}
BEFORE_A_WALL = {"acting": "what moves", "body": "who"}
KNOWS = {
    "betrayed": {
        "kicks_named_with_mat": "of kicks beside a mat named", "kicks_named_without": "of those without one",
        "others_called_kick_with_mat": "of all else called a kick beside a mat",
        "others_called_kick_without": "without one",
    },
    "shuffled": {"right_without_mats": "named rightly"},
    **{name: {"right": "named rightly"} for name in PHASES},
}  # fmt: skip
"""Of what a network's record of training tells, and in which words."""


def main() -> None:
    PLACES.write_text(places(), encoding="utf-8")
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


def limbs() -> str:
    """Where maps of the honest network lie, alone and after the selective step."""
    told = _told(Of(HONEST, HALL[HONEST]))
    head = ["explainer", "acting limbs: hottest", "ratio", "figure: hottest", "distractor: ratio",
            "`selective`, acting limbs: ratio", "figure: hottest"]  # fmt: skip
    lines = []
    for name in (of for of in _explainers(told) if "|" not in of):
        acting, body, distractor = (told[name, region] for region in REGIONS)
        stepped = [told.get((f"{name} | selective", region)) for region in ("acting", "body")]
        after = [_ratio(stepped[0].ratio), _share(stepped[1].hit)] if stepped[0] and stepped[1] else ["", ""]
        lines.append([f"`{name}`", _share(acting.hit), _ratio(acting.ratio), _share(body.hit), _ratio(distractor.ratio),
                      *after])  # fmt: skip
    limbs, figure = (_share(told["cam", region].chance) for region in ("acting", "body"))
    return _table(head, [*lines, ["by chance", limbs, "1", figure, "1", "1", figure]])


def wall() -> str:
    """I3D on people before a wall."""
    return _table(*_places(WALL))


def _places(of: Of) -> tuple[list[str], list[list[str]]]:
    """All that was measured: a row an explainer, three columns a region."""
    told = _told(of)
    regions = list(dict.fromkeys(region for region in REGIONS for name, at in told if at == region))
    where = BEFORE_A_WALL if of == WALL else WHERE
    head = ["explainer", *(f"{where[region]}: {what}" for region in regions for what in ("hottest", "ratio", "IoU"))]
    lines = [
        [f"`{name.replace('|', '&#124;')}`", *(cell for at in regions for cell in _cells(told[name, at]))]
        for name in _explainers(told)
    ]
    first = _explainers(told)[0]
    chance = [cell for at in regions for cell in (_share(told[first, at].chance), "1", "")]
    return head, [*lines, ["by chance", *chance]]


def _cells(of: Told) -> list[str]:
    return [_share(of.hit), said(of.ratio), _share(of.iou)]


def classes() -> str:
    """Asked for the class that is shown, and for another."""
    names = {"figures": "`figures`", "shuffled": "`shuffled`", "figures-lots": "12 networks of random weights"}
    found = {title: _means(f"eval-classes-{name}") for name, title in names.items()}
    columns = {"acting": "limbs", "acting, more": "limbs, more than of another class"}
    head = ["explainer", *(f"{title}: {of}" for title in found for of in columns.values())]
    first = next(iter(found.values()))
    order = sorted(first, key=lambda name: -_mean(first[name]["acting"]))
    lines = [[f"`{name}`", *(said(of[name][column]) for of in found.values() for column in columns)]
             for name in order]  # fmt: skip
    return _table(head, lines)


def places() -> str:
    """All that `rtx eval truth` has measured, network by network."""
    parts = [PLACES_HEAD]
    for of in ASKED:
        if path_of(of).exists():
            kept = json.loads(path_of(of).read_text())
            parts += [f"## `{of.model}`, {kept['judged']} of {kept['settings']['of']}\n", _table(*_places(of)), ""]
    return "\n".join([*parts, f"## `{HONEST}`, acting limbs, action by action: ratios\n", actions(), ""])


def cheat() -> str:
    """Kicks beside a mat: the cheat and the honest network."""
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
    """Ratios on the acting limbs of the honest network, action by action."""
    by_action = json.loads(path_of(Of(HONEST, HALL[HONEST])).read_text())["acting_ratio_by_action"]
    columns = [label for label in LABELS if label in by_action]
    names = [name for name in _explainers(_told(Of(HONEST, HALL[HONEST]))) if name in ALONE]
    lines = [[f"`{name}`", *(f"{by_action[of][name]:.1f}" if name in by_action[of] else "-" for of in columns)]
             for name in names]  # fmt: skip
    return _table(["explainer", *columns], lines)


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


def trained() -> str:
    """What training took, and what came of it."""
    lines, took = [], 0.0
    for name in TRIALS:
        told = json.loads((resources.MODELS / name / "training.json").read_text())
        took += told["seconds"]
        knows = ", ".join(f"{100 * told['held_out'][what]:.0f} % {said}" for what, said in KNOWS[name].items())
        lines.append([f"`{name}`", told["recipe"]["steps"], f"{told['seconds'] / 60:.0f}", told["threads"], knows])
    lines.append(["all", "", f"{took / 60:.0f}", "", ""])
    return _table(["network", "steps", "minutes", "threads", "of held-out scenes"], lines)


TABLES: dict[str, Callable[[], str]] = {
    "wall": wall, "limbs": limbs, "cheat": cheat, "classes": classes, "motion": motion, "faithful": faithful,
    "real": real, "sanity": sanity, "networks": networks, "trained": trained,
}  # fmt: skip
PLACES_HEAD = f"""# Where maps lie

Made by `python -m benchmarks.tables` from `benchmarks/results/eval-truth-*.json`; `rtx eval truth` makes the same of a
network of yours. hottest: the share of frames whose hottest place lies there; ratio: the share of the positive
relevance there over the share of the area, 1 is chance; IoU: of it and where the map is more than half way from a
frame's mean to its most. Means over the clips that the network named rightly (of the last network, which has no names
for what is shown, over all), with {SAYS}; *of N*: of so many clips, of the others nothing can be said.
What follows from it: [TRUTH.md](TRUTH.md).
"""


def _told(of: Of) -> dict[tuple[str, str], Told]:
    """By explainer and region."""
    return {(told.explainer, told.region): told for told in told_in(path_of(of))}


def _explainers(told: dict[tuple[str, str], Told]) -> list[str]:
    """Those first whose relevance lies most on the limbs that act."""
    return list(dict.fromkeys(name for name, _ in told))


def _means(name: str) -> Means:
    return msgspec.convert(json.loads((RESULTS / f"{name}.json").read_text())["means"], Means)


def _mean(of: Mean | None) -> float:
    return float("nan") if of is None else of.mean


def _share(of: Mean | None) -> str:
    return "-" if of is None else f"{of.mean:.2f}"


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
