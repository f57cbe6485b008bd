"""`rtx eval truth`: explainers where the truth is known pixel by pixel: on the drawn hall, and before a plain wall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.bootstrap import Mean, mean_of
from rtx.evaluate.study import Example, Material, Places, maps_in, places, regions_of
from rtx.explain.chain import chain_for
from rtx.explain.registry import Chain

VERSION = 2
"""Of what is measured, and how: results of another are measured anew."""
REGIONS = ("acting", "body", "distractor")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One clip."""

    name: str
    shows: str
    right: bool | None
    """The network named what it shows; None where it has no name for that."""
    places: Places = {}
    """Nothing of a clip that was named wrongly. Of a twin network, those of its RGB branch, and again of flow."""
    why: str = ""
    """Nothing was measured, because it could not be read."""


class Told(msgspec.Struct, frozen=True):
    """Of one explainer and region, over the clips that were explained."""

    explainer: str
    region: str
    hit: Mean | None
    chance: Mean | None
    ratio: Mean | None
    iou: Mean | None


def rows(backend: TorchBackend, explainers: Sequence[str], material: Material, names: Sequence[str]) -> Iterator[Row]:
    """Of these of the clips. One of another class than the network says is not explained: what would be right there?

    Where it has names for none of what they show, each is explained for the class that it says, whatever that is.
    UserError where nobody knows what is where.
    """
    chains = {str(chain): chain for chain in (chain_for(name, None, backend.labels)[0] for name in explainers)}
    for name in names:
        try:
            example = material.load(name)
        except UserError as error:
            yield Row(name, "", None, why=str(error))
        else:
            yield row(backend, chains, example, material.named)


def row(backend: TorchBackend, chains: Mapping[str, Chain], example: Example, named: bool) -> Row:
    """One clip, by every chain, in one pass."""
    where = regions_of(example, REGIONS)
    forward = backend.forward(example.frames[None], [None])
    right = backend.labels[int(forward.logits[0].argmax())] == example.label if named else None
    if right is False:
        return Row(example.name, example.shows, right)
    maps = maps_in(forward, chains)
    by_name = maps.relevance | {f"{name}, flow": of for name, of in maps.beside.items()}
    return Row(example.name, example.shows, right, places(by_name, where))


def judged(all_of: Iterable[Row]) -> list[Row]:
    """Those that were explained."""
    return [of for of in all_of if of.places]


def summary(all_of: Sequence[Row], shows: str | None = None) -> list[Told]:
    """By explainer and region, those first whose relevance lies most on the limbs that act."""
    those = [of for of in judged(all_of) if shows in (None, of.shows)]
    found = those[0].places if those else {}
    told = [
        Told(name, region, *(_mean([of.places[name][region][i] for of in those]) for i in range(4)))
        for name, regions in found.items() for region in regions
    ]  # fmt: skip
    ratio = {of.explainer: of.ratio.mean if of.ratio else 0.0 for of in told if of.region == "acting"}
    return sorted(told, key=lambda of: (-ratio[of.explainer], REGIONS.index(of.region)))


def _mean(values: Sequence[float | None]) -> Mean | None:
    return mean_of([np.nan if value is None else value for value in values])
