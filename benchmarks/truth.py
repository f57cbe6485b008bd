"""Explainers on the drawn hall, whose truth is known, by each network that learned it: what `rtx eval truth` says.

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
from rtx.evaluate.rows import Rows
from rtx.evaluate.study import about, fitting
from rtx.evaluate.truth import REGIONS, Row, Told, rows, summary
from rtx.explain.registry import DECLARED
from rtx.nets import cards
from rtx.scenes.actions import LABELS

HONEST = "figures"
CLIPS = {HONEST: 200, "betrayed": 40, "shuffled": 300, "hall-resnet": 40, "hall-c3d": 40, "hall-twin": 40}
"""Only clips that are named rightly are judged: `shuffled` names few."""
ALONE = [name for name, of in DECLARED.items() if not of.is_step]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("models", nargs="*", metavar="MODEL", choices=[[], *CLIPS], help=", ".join(CLIPS))
    options.add_argument("--anew", action="store_true")
    chosen = options.parse_args()
    for model in chosen.models or CLIPS:
        if not cards.card(model).here:
            print(f"{model}: left out, `python -m rtx.learn.trials {model}` trains it")
        else:
            measure(model, CLIPS[model], chosen.anew)


def _path(model: str) -> Path:
    return RESULTS / ("truth.json" if model == HONEST else f"truth-{model}.json")


def measure(model: str, clips: int, anew: bool) -> None:
    """All of its explainers, and on the honest network each with the selective step, too."""
    backend, path = rtx.load(model, device="cpu"), _path(model)
    settings = {**about(backend), "clips": clips}
    steps = ("", " | selective") if model == HONEST else ("",)
    chains = [f"{name}{step}" for name in fitting(backend, ALONE) for step in steps]
    if not anew and path.exists() and _holds(json.loads(path.read_text()), settings, chains):
        print(f"{path.name}: there already")
        return
    kept = Rows(path, {**settings, "explainers": chains}, Row)
    done = {row.seed for row in kept.known}
    for row in rows(backend, chains, [seed for seed in range(clips) if seed not in done]):
        kept.add(row)
    found = kept.known
    told = summary(found)
    by_action = {action: _acting(summary(found, action)) for action in LABELS[1:]}
    right = sum(of.right for of in found)
    show(f"{model}: {right} of {clips} clips named rightly",
         ["explainer", "region", "hit", "chance", "ratio", "IoU"],
         [[of.explainer, of.region, *(mean and round(mean.mean, 3) for mean in (of.hit, of.chance, of.ratio, of.iou))]
          for of in told])  # fmt: skip
    keep(path.stem, {
        "settings": settings, "right": right, "regions": REGIONS,
        "summary": msgspec.to_builtins(told), "acting_ratio_by_action": by_action,
    })  # fmt: skip
    kept.done()


def _holds(result: dict[str, Any], settings: dict[str, Any], chains: list[str]) -> bool:
    """Is it of these settings, and of all these explainers?"""
    told = {of["explainer"].partition(", ")[0] for of in result["summary"]}
    return bool(result["settings"] == settings) and told == set(chains)


def networks() -> str:
    """Ratios on the acting limbs, by explainer and network; and how alike each network's order is to the honest's."""
    results: dict[str, dict[str, Any]] = {
        model: json.loads(_path(model).read_text()) for model in CLIPS if _path(model).exists()
    }
    ratios: dict[str, dict[str, float]] = {}
    counts: dict[str, list[int]] = {}
    for model, result in results.items():
        for of in msgspec.convert(result["summary"], list[Told]):
            name, _, branch = of.explainer.partition(", ")
            if of.region == "acting" and of.ratio is not None and name in ALONE:
                column = f"{model}, {branch}" if branch else model
                ratios.setdefault(column, {})[name] = of.ratio.mean
                counts.setdefault(column, []).append(of.ratio.n)
    columns = [column for model in CLIPS for column in ratios if column.partition(",")[0] == model]
    names = sorted(ratios[HONEST], key=lambda name: -ratios[HONEST][name])
    lines = [f"| explainer | {' | '.join(f'`{column}`' for column in columns)} |", "| --- |" + " --- |" * len(columns)]
    for name in names:
        cells = [f"{ratios[column][name]:.1f}" if name in ratios[column] else "" for column in columns]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    alike = ["" if column == HONEST else f"{_alike(ratios[HONEST], ratios[column]):.2f}" for column in columns]
    lines.append(f"| order, against `{HONEST}` (Spearman) | {' | '.join(alike)} |")
    judged = [
        f"{min(of)}" if min(of) == max(of) else f"{min(of)} to {max(of)}" for of in map(counts.get, columns) if of
    ]
    lines.append(f"| clips with a map and limbs in sight | {' | '.join(judged)} |")
    return "\n".join(lines)


def _alike(one: dict[str, float], other: dict[str, float]) -> float:
    both = [name for name in one if name in other]
    return float(spearmanr([one[name] for name in both], [other[name] for name in both]).statistic)


def _acting(told: list[Told]) -> dict[str, float]:
    return {of.explainer: round(of.ratio.mean, 3) for of in told if of.region == "acting" and of.ratio is not None}


if __name__ == "__main__":
    main()
