"""A model's usual peaks: the largest relevance on the newest frame of clips that it is sure of; for its card."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import rtx
from benchmarks.record import keep, show
from rtx.errors import UserError

EXPLAINERS = ("cam", "ksigma", "contrast")


def _sources(clips: Path | None) -> list[tuple[str, float | None]]:
    """Files and where to look in them."""
    if clips is None:
        return [(f"scene:hall?seed={seed}&size=398x224", 3.0 + 4.5 * act) for seed in range(8) for act in range(11)]
    return [(str(path), None) for path in sorted(clips.iterdir()) if path.suffix in (".mp4", ".mkv", ".avi")]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("clips", type=Path, nargs="?", help="folder of video files; without it, the drawn hall")
    options.add_argument("--model", default="i3d-k400")
    options.add_argument("--sure", type=float, default=0.9, help="least probability of the top class")
    chosen = options.parse_args()
    model = rtx.load(chosen.model)
    rows: list[list[object]] = []
    for name, at in _sources(chosen.clips):
        try:
            clip = rtx.read_clip(name, chosen.model, at)
        except UserError:
            continue
        results = [rtx.explain(model, clip, explainer) for explainer in EXPLAINERS]
        top = results[0].top[0]
        peaks_here = [round(float(result.relevance_full[-1].max()), 1) for result in results]
        rows.append([Path(name).name, top.label, round(top.p, 3), *peaks_here])
    show(f"peaks of {chosen.model}", ["clip", "top class", "p", *EXPLAINERS], rows)
    sure = [row for row in rows if float(str(row[2])) >= chosen.sure]
    peaks = {name: statistics.median(float(str(row[3 + i])) for row in sure) for i, name in enumerate(EXPLAINERS)}
    keep(f"peaks-{chosen.model}", {"sure": len(sure), "peaks": peaks, "clips": rows})


if __name__ == "__main__":
    main()
