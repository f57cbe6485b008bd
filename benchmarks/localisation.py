"""Does the heat lie on who acts? The drawn hall's truth against maps of the network that was trained in it.

Fixed beforehand: the map's maximum at clip resolution, in each frame, lies inside the mask widened by 4 of 112 pixels,
or it does not; over rightly classified clips of held-out scenes. Chance is the widened mask's share of the picture.

Each clip is seen as it is live, by a network that has followed the scene for as long before; and once cold, as a file's
first clip is.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import rtx
from benchmarks.record import keep, show
from rtx.engine.engine import Engine
from rtx.explain.chain import chain_for
from rtx.explain.placing import upsample
from rtx.explain.run import explain
from rtx.link.wire import Cells
from rtx.measure.localisation import Hit, hit, rates
from rtx.nets.causal import Past
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
    engine = Engine(rtx.load("figures", device="cpu", threads=1), "cam")
    frames = engine.card.clip.frames
    kept: dict[str, list[Judged]] = {name: [] for name in (*EXPLAINERS, "cam, plainly resized", "cam, cold")}
    lags: dict[int, list[Hit]] = {lag: [] for lag in range(5)}
    right = 0
    for seed in range(chosen.clips):
        cast = Cast.draw(seed, held_out=True)
        shot = film(cast, 2 * frames, 15, 112, 112)
        action = shot.acts[0].action
        past = Past(frames)
        for picture in shot.frames:
            followed = engine.run(picture[None, None], pasts=[past]).forward
        if LABELS[int(followed.logits.argmax())] == action:
            right += 1
            maps = {name: _map(name, followed) for name in EXPLAINERS}
            for name, relevance in maps.items():
                kept[name].append((action, cast.extra, _hits(shot, upsample(followed, relevance)[0].numpy())))
            plain = upsample(_plainly(followed), maps["cam"])[0].numpy()
            kept["cam, plainly resized"].append((action, cast.extra, _hits(shot, plain)))
            placed = upsample(followed, maps["cam"])[0].numpy()
            for lag, found in lags.items():
                found += _hits(shot, placed, lag)
        cold = engine.run(shot.frames[None, frames:])
        if LABELS[int(cold.forward.logits.argmax())] == action:
            placed = upsample(cold.forward, cold.explained.relevance)[0].numpy()
            kept["cam, cold"].append((action, cast.extra, _hits(shot, placed)))
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


Judged = tuple[str, str, list[Hit]]
"""Action, distractor, and a hit for each frame."""


def _map(explainer: str, forward: Forward) -> Tensor:
    chain, _ = chain_for(explainer, None, LABELS)
    return explain(chain, forward).relevance


def _hits(shot: Film, placed: NDArray[np.float32], lag: int = 0) -> list[Hit]:
    """One for each of the clip's last frames; with a lag, its map against the masks of so many frames before."""
    found = []
    first = len(shot.labels) - len(placed) - lag
    for relevance, labels, act in zip(placed, shot.labels[first:], shot.acts[first:], strict=False):
        acting = np.isin(labels, [NUMBERS[part] for part in act.acting])
        found.append(hit(relevance, np.isin(labels, _FIGURE), acting))
    return found


def _plainly(forward: Forward) -> Forward:
    """As if cells lay where plain resizing puts them."""
    _, y, x = forward.cells.stride
    return replace(forward, cells=Cells(forward.cells.stride, (0.0, (y - 1) / 2, (x - 1) / 2)))


def _rounded(hits: list[Hit]) -> dict[str, Any]:
    body, acting, body_chance, acting_chance, frames = rates(hits)
    shares = {"body": body, "body_chance": body_chance, "acting": acting, "acting_chance": acting_chance}
    return {name: None if share is None else round(share, 3) for name, share in shares.items()} | {"frames": frames}


def _summary(found: list[Judged]) -> dict[str, Any]:
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
