"""A model's usual peaks: the largest relevance on the newest frame of clips that it is sure of; for its card."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import rtx
from benchmarks.record import keep, show
from rtx.engine.engine import Engine
from rtx.errors import UserError
from rtx.explain.registry import DECLARED
from rtx.nets import cards
from rtx.scenes.actions import LABELS
from rtx.scenes.motion import ACT_S
from rtx.show.overlay import newest_frame

EXPLAINERS = tuple(of.name for of in DECLARED.values() if not of.is_step)


def _sources(clips: Path | None) -> list[tuple[str, float | None]]:
    """Files and where to look in them."""
    if clips is None:
        middles = [ACT_S * (act + 0.7) for act in range(len(LABELS))]
        return [(f"scene:hall?seed={seed}&size=398x224", at) for seed in range(4) for at in middles]
    return [(str(path), None) for path in sorted(clips.iterdir()) if path.suffix in (".mp4", ".mkv", ".avi")]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("clips", type=Path, nargs="?", help="folder of video files; without it, the drawn hall")
    options.add_argument("--model", help="without it, I3D for files and the hall's own network for the hall")
    options.add_argument("--sure", type=float, default=0.9, help="least probability of the top class")
    chosen = options.parse_args()
    name = chosen.model or ("i3d-k400" if chosen.clips else "figures")
    model = rtx.load(name)
    rows: list[list[object]] = []
    for source, at in _sources(chosen.clips):
        try:
            clip = rtx.read_clip(source, name, at)
        except UserError:
            continue
        explanations = [Engine(model, explainer, continual=False).explain([clip.clip])[0] for explainer in EXPLAINERS]
        top = explanations[0].top[0]
        # As it travels and is drawn: of a map of single pixels, means over some.
        here = [float(f"{newest_frame(of.map).max():.4g}") for of in explanations]
        rows.append([Path(source).name, top.label, round(top.p, 3), *here])
    show(f"peaks of {name}", ["clip", "top class", "p", *EXPLAINERS], rows)
    sure = [row for row in rows if float(str(row[2])) >= chosen.sure]
    peaks = {of: statistics.median(float(str(row[3 + i])) for row in sure) for i, of in enumerate(EXPLAINERS)}
    keep(f"peaks-{name}", {"sure": len(sure), "peaks": peaks, "clips": rows})
    _write(cards.card(name).folder / "card.toml", peaks)


def _write(card: Path, peaks: dict[str, float]) -> None:
    """Into the card's last section; where nothing was found there is no usual peak."""
    before, section, _ = card.read_text(encoding="utf-8").partition("[peaks]\n")
    lines = (f"{explainer} = {peak:.4g}\n" for explainer, peak in peaks.items() if peak > 0)
    card.write_text(before + section + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
