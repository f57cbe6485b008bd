"""Explainers where the truth is known, in the drawn hall and before a plain wall: what `rtx eval truth` says.

`python -m benchmarks.truth [MODEL...]` measures networks of whose weights there are no results yet (`--anew`: all).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
from scipy.stats import spearmanr

import rtx
from benchmarks.record import RESULTS, keep, show
from benchmarks.studies import WALL, Of
from rtx.cli.evaluate import fill
from rtx.evaluate.bootstrap import Mean
from rtx.evaluate.examples import examples_of
from rtx.evaluate.rows import Rows
from rtx.evaluate.study import about, fitting
from rtx.evaluate.truth import VERSION, Row, Told, judged, rows, summary
from rtx.explain.registry import DECLARED

HONEST = "figures"
HALL = {HONEST: "100", "betrayed": "40", "hall-resnet": "40", "hall-c3d": "40", "hall-twin": "40"}
"""Scenes. Only those that are named rightly are judged."""
ASKED = (*(Of(model, scenes) for model, scenes in HALL.items()), WALL)
STEPPED = (HONEST, "hall-twin")
"""Whose maps are judged after the selective step, too."""
AGAIN = RESULTS / "again.json"
"""Of `benchmarks.again`."""
ALONE = [name for name, of in DECLARED.items() if not of.is_step]
LESS_REST = {"ksigma": "ksigma(rest=True)", "cam": "cam(rest=True)"}
"""What is no paper's, and is judged beside what is."""


def main() -> None:
    models = [of.model for of in ASKED]
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("models", nargs="*", metavar="MODEL", choices=[[], *models], help=", ".join(models))
    options.add_argument("--anew", action="store_true")
    chosen = options.parse_args()
    for of in ASKED:
        if chosen.models and of.model not in chosen.models:
            continue
        if of.missing:
            print(f"truth of {of.model}: left out, {of.missing}")
        else:
            measure(of, chosen.anew)


def path_of(of: Of) -> Path:
    return RESULTS / f"{of.result('truth')}.json"


def measure(of: Of, anew: bool) -> None:
    """All of its explainers."""
    backend, path = rtx.load(of.model, device="cpu", precision="fp32"), path_of(of)
    material = examples_of(backend, of.clips, boxed=True)
    settings = {"version": VERSION, **about(backend), "of": material.says, "clips": len(material.names)}
    steps = ("", " | selective") if of.model in STEPPED else ("",)
    alone = fitting(backend, ALONE)
    chains = [f"{name}{step}" for name in alone for step in steps]
    chains += [more for name, more in LESS_REST.items() if name in alone]
    if not anew and path.exists() and _holds(json.loads(path.read_text()), settings, chains):
        print(f"{path.name}: there already")
        return
    with Rows(path, {**settings, "explainers": chains}, Row) as kept:
        fill(kept, material.names, lambda names: rows(backend, chains, material, names))
        found, told = kept.known, summary(kept.known)
        kinds = dict.fromkeys(row.shows for row in judged(found))
        show(f"{of.model}: {len(judged(found))} of {material.says}",
             ["explainer", "region", "hit", "chance", "ratio", "IoU"],
             [[of.explainer, of.region, *(of and round(of.mean, 3) for of in (of.hit, of.chance, of.ratio, of.iou))]
              for of in told])  # fmt: skip
        keep(path.stem, {
            "settings": settings, "judged": len(judged(found)), "summary": msgspec.to_builtins(told),
            "acting_ratio_by_action": {kind: ratio for kind in kinds if (ratio := _by_explainer(summary(found, kind)))},
        })  # fmt: skip
        kept.done()


def _holds(result: dict[str, Any], settings: dict[str, Any], chains: list[str]) -> bool:
    """Is it of these settings, and of all these explainers?"""
    told = {of["explainer"].partition(", ")[0] for of in result["summary"]}
    return bool(result["settings"] == settings) and told == set(chains)


def networks() -> str:
    """Ratios on the acting limbs, by explainer and network; and how alike each network's order is to the honest's."""
    ratios: dict[str, dict[str, float]] = {}
    counts: dict[str, list[int]] = {}
    again = json.loads(AGAIN.read_text())["networks"] if AGAIN.exists() else {}
    second: dict[str, float] = {}
    for model, scenes in HALL.items():
        path = path_of(Of(model, scenes))
        for branch, found in (acting(told_in(path)) if path.exists() else {}).items():
            column = f"{model}, {branch}" if branch else model
            ratios[column] = {name: of.mean for name, of in found.items()}
            counts[column] = [of.n for of in found.values()]
            if model in again:
                second[column] = again[model]["order"][branch]
    columns = list(ratios)
    names = sorted(ratios[HONEST], key=lambda name: -ratios[HONEST][name])
    lines = [f"| explainer | {' | '.join(f'`{column}`' for column in columns)} |", "| --- |" + " --- |" * len(columns)]
    for name in names:
        cells = [f"{ratios[column][name]:.1f}" if name in ratios[column] else "" for column in columns]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    orders = ["" if column == HONEST else f"{alike(ratios[HONEST], ratios[column]):.2f}" for column in columns]
    lines.append(f"| order, against `{HONEST}` (Spearman) | {' | '.join(orders)} |")
    orders = [f"{second[column]:.2f}" if column in second else "" for column in columns]
    lines.append(f"| order, against the same trained again | {' | '.join(orders)} |")
    judged = [
        f"{min(of)}" if min(of) == max(of) else f"{min(of)} to {max(of)}" for of in map(counts.get, columns) if of
    ]
    lines.append(f"| clips with a map and limbs in sight | {' | '.join(judged)} |")
    return "\n".join(lines)


def told_in(path: Path) -> list[Told]:
    """What a result says."""
    return msgspec.convert(json.loads(path.read_text())["summary"], list[Told])


def acting(told: list[Told]) -> dict[str, dict[str, Mean]]:
    """Ratios on the acting limbs of what is asked alone, by branch; a network of one branch has that of ""."""
    found: dict[str, dict[str, Mean]] = {}
    for of in told:
        name, _, branch = of.explainer.partition(", ")
        if of.region == "acting" and of.ratio is not None and name in ALONE:
            found.setdefault(branch, {})[name] = of.ratio
    return found


def alike(one: dict[str, float], other: dict[str, float]) -> float:
    """Spearman's correlation of what both have."""
    both = [name for name in one if name in other]
    return float(spearmanr([one[name] for name in both], [other[name] for name in both]).statistic)


def _by_explainer(told: list[Told]) -> dict[str, float]:
    return {of.explainer: round(of.ratio.mean, 3) for of in told if of.region == "acting" and of.ratio is not None}


if __name__ == "__main__":
    main()
