"""Does what is found hold for networks that are trained a second time? `python -m benchmarks.again FOLDER`.

The folder is what `python -m rtx.learn.trials --to FOLDER` made, or what it once did: what the networks there know is
kept beside what those in models/ do, and how alike the order of explainers is on the limbs that act.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import rtx
from benchmarks.record import keep, show
from benchmarks.studies import Of
from benchmarks.truth import AGAIN, ALONE, HALL, acting, alike, path_of, told_in
from rtx import resources
from rtx.evaluate.examples import examples_of
from rtx.evaluate.study import fitting
from rtx.evaluate.truth import rows, summary
from rtx.learn.trials import TRIALS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    chosen = options.parse_args()
    found = {name: compared(name, chosen.folder / name) for name in TRIALS if (chosen.folder / name).is_dir()}
    lines = [[name, of["seconds"], of["held_out"], of["first"]["held_out"], of["order"]] for name, of in found.items()]
    show("trained again", ["network", "seconds", "knows", "knew", "order"], lines)
    keep(AGAIN.stem, {"networks": found})


def compared(name: str, folder: Path) -> dict[str, Any]:
    """A network of another training, beside the first, which is the one in models/."""
    first, second = (_trained(of) for of in (resources.MODELS / name, folder))
    return {**second, "first": first, "order": _order(name, folder) if name in HALL else None}


def _trained(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "training.json").read_text())
    return {key: told[key] for key in ("held_out", "seconds", "threads")}


def _order(name: str, folder: Path) -> dict[str, float]:
    """Spearman's correlation of ratios on the acting limbs, by branch; of one branch, of ""."""
    backend = rtx.load(str(folder / "card.toml"), device="cpu", precision="fp32")
    material = examples_of(backend, HALL[name])
    again = summary(list(rows(backend, fitting(backend, ALONE), material, material.names)))
    one, other = (
        {branch: {explainer: ratio.mean for explainer, ratio in of.items()} for branch, of in acting(told).items()}
        for told in (told_in(path_of(Of(name, HALL[name]))), again)
    )
    return {branch: round(alike(one[branch], other[branch]), 3) for branch in one}


if __name__ == "__main__":
    main()
