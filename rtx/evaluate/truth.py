"""`rtx eval truth`: explainers on the drawn hall, where the truth is known pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.bootstrap import Mean, mean_of
from rtx.evaluate.examples import regions, shot_of
from rtx.evaluate.study import Places, maps_in, places
from rtx.scenes.actions import LABELS
from rtx.scenes.film import Film

REGIONS = ("acting", "body", "distractor")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One clip of a held-out scene."""

    seed: int
    action: str
    right: bool
    """The network named the action; only then is there something to explain rightly."""
    places: Places = {}
    """Of a twin network, those of its RGB branch, and again of flow."""


class Told(msgspec.Struct, frozen=True):
    """Of one explainer and region, over the clips that were named rightly."""

    explainer: str
    region: str
    hit: Mean | None
    chance: Mean | None
    ratio: Mean | None
    iou: Mean | None


def rows(backend: TorchBackend, explainers: Sequence[str], seeds: Sequence[int]) -> Iterator[Row]:
    """A clip a seed: of a cast that no training has seen, long enough after its scene began. UserError."""
    if backend.labels != LABELS:
        raise UserError(f"{backend.card.name} does not name what the drawn hall shows; `--model figures` does")
    engines = [Engine(backend, name, continual=False) for name in explainers]
    for seed in seeds:
        yield row(engines, seed, shot_of(backend.card.clip, seed))


def row(engines: Sequence[Engine], seed: int, shot: Film) -> Row:
    """One clip, by every engine, in one pass."""
    forward = engines[0].backend.forward(shot.frames[None], [None])
    action = shot.acts[-1].action
    right = LABELS[int(forward.logits[0].argmax())] == action and shot.acts[0].action == action
    if not right:
        return Row(seed, action, False)
    where = regions(shot)
    maps = maps_in(forward, {str(engine.chain): engine for engine in engines})
    by_name = maps.relevance | {f"{name}, flow": of for name, of in maps.beside.items()}
    return Row(seed, action, True, places(by_name, {name: where[name] for name in REGIONS}))


def summary(all_of: Sequence[Row], action: str | None = None) -> list[Told]:
    """By explainer and region, those first whose relevance lies most on the limbs that act."""
    right = [of for of in all_of if of.right and action in (None, of.action)]
    names = list(right[0].places) if right else []
    told = [
        Told(name, region, *(_mean([of.places[name][region][i] for of in right]) for i in range(4)))
        for name in names for region in REGIONS
    ]  # fmt: skip
    ratio = {of.explainer: of.ratio.mean if of.ratio else 0.0 for of in told if of.region == "acting"}
    return sorted(told, key=lambda of: (-ratio[of.explainer], REGIONS.index(of.region)))


def _mean(values: Sequence[float | None]) -> Mean | None:
    return mean_of([np.nan if value is None else value for value in values])
