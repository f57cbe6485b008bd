"""A model's usual peaks: the largest relevance on the newest frame of clips that it is sure of; for its card."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import rtx
from benchmarks.record import keep, show
from rtx.errors import UserError

EXPLAINERS = ("cam", "ksigma", "contrast")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("clips", type=Path, help="folder of video files")
    options.add_argument("--model", default="i3d-k400")
    options.add_argument("--sure", type=float, default=0.9, help="least probability of the top class")
    chosen = options.parse_args()
    model = rtx.load(chosen.model)
    rows: list[list[object]] = []
    for path in sorted(p for p in chosen.clips.iterdir() if p.suffix in (".mp4", ".mkv", ".avi")):
        try:
            clip = rtx.read_clip(path, chosen.model)
        except UserError:
            continue
        results = [rtx.explain(model, clip, name) for name in EXPLAINERS]
        top = results[0].top[0]
        peaks_here = [round(float(result.relevance_full[-1].max()), 1) for result in results]
        rows.append([path.name, top.label, round(top.p, 3), *peaks_here])
    show(f"peaks of {chosen.model}", ["clip", "top class", "p", *EXPLAINERS], rows)
    sure = [row for row in rows if float(str(row[2])) >= chosen.sure]
    peaks = {name: statistics.median(float(str(row[3 + i])) for row in sure) for i, name in enumerate(EXPLAINERS)}
    keep(f"peaks-{chosen.model}", {"sure": len(sure), "peaks": peaks, "clips": rows})


if __name__ == "__main__":
    main()
