"""Does the heat lie on who acts? The drawn hall's truth against maps of the network that was trained in it.

Fixed beforehand: the map's maximum at clip resolution, in each frame, lies inside the mask widened by 4 of 112 pixels,
or it does not; over rightly classified clips of held-out scenes. Chance is the widened mask's share of the picture.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rtx
from benchmarks.record import keep, show
from rtx.engine.engine import Engine
from rtx.explain.placing import upsample
from rtx.link.wire import Cells
from rtx.measure.localisation import Hit, hit, rates
from rtx.nets.forward import Forward
from rtx.scenes.actions import LABELS
from rtx.scenes.film import Film, film
from rtx.scenes.person import NUMBERS
from rtx.scenes.scene import EXTRAS, Cast

EXPLAINERS = ("cam", "ksigma", "contrast")
GOAL = 0.9
_FIGURE = [number for part, number in NUMBERS.items() if part != "distractor"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clips", type=int, default=660)
    chosen = options.parse_args()
    model = rtx.load("figures", device="cpu", threads=1)
    engines = {name: Engine(model, name) for name in EXPLAINERS}
    kept: dict[str, list[tuple[str, str, list[Hit]]]] = {name: [] for name in (*EXPLAINERS, "cam, plainly resized")}
    lags: dict[int, list[Hit]] = {lag: [] for lag in range(5)}
    right = 0
    for seed in range(chosen.clips):
        cast = Cast.draw(seed, held_out=True)
        shot = film(cast, 16, 15, 112, 112)
        action = shot.acts[0].action
        for name, engine in engines.items():
            batch = engine.run(shot.frames[None])
            if LABELS[int(batch.forward.logits.argmax())] != action:
                break
            relevance = batch.explained.relevance
            placed = upsample(batch.forward, relevance)[0].numpy()
            kept[name].append((action, cast.extra, _hits(shot, placed)))
            if name == "cam":
                right += 1
                plain = upsample(_plainly(batch.forward), relevance)[0].numpy()
                kept["cam, plainly resized"].append((action, cast.extra, _hits(shot, plain)))
                for lag, found in lags.items():
                    found += _hits(shot, placed, lag)
    result = {name: _summary(found) for name, found in kept.items()}
    rows = [
        [name, of["body"], of["body_chance"], of["acting"], of["acting_chance"], of["frames"]]
        for name, of in result.items()
    ]
    show(f"maximum of the map, {right} of {chosen.clips} clips named rightly",
         ["explainer", "on the body", "chance", "on acting limbs", "chance", "frames"], rows)  # fmt: skip
    by_action = [
        [action, *(result[name]["acting_by_action"].get(action) for name in EXPLAINERS)] for action in LABELS[1:]
    ]
    show("on the limbs that make the action", ["action", *EXPLAINERS], by_action)
    keep("localisation", {
        "goal_body": GOAL, "clips": chosen.clips, "right": round(right / chosen.clips, 4), "explainers": result,
        "cam_by_lag": {str(lag): _rounded(found) for lag, found in lags.items()},
    })  # fmt: skip


def _hits(shot: Film, placed: NDArray[np.float32], lag: int = 0) -> list[Hit]:
    """One a frame; with a lag, each frame's map against the masks of so many frames before."""
    found = []
    for number in range(lag, len(placed)):
        labels, act = shot.labels[number - lag], shot.acts[number - lag]
        acting = np.isin(labels, [NUMBERS[part] for part in act.acting])
        found.append(hit(placed[number], np.isin(labels, _FIGURE), acting))
    return found


def _plainly(forward: Forward) -> Forward:
    """As if cells lay where plain resizing puts them."""
    _, y, x = forward.cells.stride
    return replace(forward, cells=Cells(forward.cells.stride, (0.0, (y - 1) / 2, (x - 1) / 2)))


def _rounded(hits: list[Hit]) -> dict[str, Any]:
    body, acting, body_chance, acting_chance, frames = rates(hits)
    shares = {"body": body, "body_chance": body_chance, "acting": acting, "acting_chance": acting_chance}
    return {name: None if share is None else round(share, 3) for name, share in shares.items()} | {"frames": frames}


def _summary(found: list[tuple[str, str, list[Hit]]]) -> dict[str, Any]:
    def of(action: str | None = None, extra: str | None = None) -> dict[str, Any]:
        chosen = [hits for a, e, hits in found if action in (None, a) and extra in (None, e)]
        return _rounded([hit for hits in chosen for hit in hits])

    by_action = {action: of(action=action) for action in LABELS}
    return of() | {
        "acting_by_action": {action: shares["acting"] for action, shares in by_action.items() if shares["frames"]},
        "acting_chance_by_action": {a: shares["acting_chance"] for a, shares in by_action.items() if shares["frames"]},
        "body_by_action": {action: shares["body"] for action, shares in by_action.items() if shares["frames"]},
        "body_by_distractor": {extra: of(extra=extra)["body"] for extra in EXTRAS},
    }


if __name__ == "__main__":
    main()
