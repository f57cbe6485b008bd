"""Every explainer on the drawn hall, whose truth is known: what `rtx eval truth` says, kept with the results."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

import rtx
from benchmarks.record import keep, show
from rtx.evaluate.truth import REGIONS, rows, summary
from rtx.explain.registry import DECLARED
from rtx.scenes.actions import LABELS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clips", type=int, default=200)
    clips = options.parse_args().clips
    alone = [name for name, of in DECLARED.items() if not of.is_step]
    chains = [f"{name}{step}" for name in alone for step in ("", " | selective")]
    found = list(rows(rtx.load("figures", device="cpu"), chains, range(clips)))
    told = summary(found)
    by_action = {action: _acting(summary(found, action)) for action in LABELS[1:]}
    shown = [
        [of.explainer, of.region, *(mean and round(mean.mean, 3) for mean in (of.hit, of.chance, of.ratio, of.iou))]
        for of in told
    ]
    show(f"{sum(of.right for of in found)} of {clips} clips named rightly",
         ["explainer", "region", "hit", "chance", "ratio", "IoU"], shown)  # fmt: skip
    keep("truth", {
        "clips": clips, "right": sum(of.right for of in found), "regions": REGIONS,
        "summary": msgspec.to_builtins(told), "acting_ratio_by_action": by_action,
    })  # fmt: skip


def _acting(told: list[Any]) -> dict[str, float]:
    return {of.explainer: round(of.ratio.mean, 3) for of in told if of.region == "acting" and of.ratio is not None}


if __name__ == "__main__":
    main()
