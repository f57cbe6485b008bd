"""What every study of `rtx eval` shares: clips, what is measured of each, and the means that make a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.bootstrap import Mean, Middle, mean_of
from rtx.evaluate.questions import QUESTIONS
from rtx.explain.chain import chain_for
from rtx.explain.placing import upsample
from rtx.explain.registry import Chain
from rtx.explain.run import Ran, begin, step_on
from rtx.measure.boxes import Box
from rtx.measure.places import place
from rtx.nets.cards import Clip
from rtx.nets.forward import Forward
from rtx.nets.tstcnn import apart
from rtx.scenes.film import Film


@dataclass(frozen=True)
class Example:
    """One clip to measure on."""

    name: str
    frames: NDArray[np.uint8]
    """T H W 3, BGR, as the network takes it."""
    label: str | None = None
    """The class that it shows, where that is known and one of the network's."""
    shows: str = ""
    """What it shows in the words of its data set; empty where that is not known, or more than one thing."""
    boxes: tuple[Box | None, ...] = ()
    """Around who acts, in each frame, where that is known; None in frames where nobody is to be seen."""
    regions: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """What is where, T H W, by name, where that is known."""


class Material(NamedTuple):
    """Clips to measure on."""

    says: str
    """What they are."""
    names: tuple[str, ...]
    load: Callable[[str], Example]
    """The one of that name. UserError where it cannot be read."""
    named: bool
    """Has the network a name for what any of them shows?"""


Values = dict[str, dict[str, float | None]]
"""By a table's row and column; None: nothing can be said."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was measured of one clip."""

    name: str
    values: Values = {}
    why: str = ""
    """Nothing was, because it could not be read."""


Scene = Callable[[Clip, int], Film]
"""A clip of the drawn hall, for a network that wants such a clip, by a seed."""
Measure = Callable[[TorchBackend, Sequence[str], Example], Values]
"""Of one clip, by these explainers."""


class Study(NamedTuple):
    """One question about explainers."""

    name: str
    explainers: tuple[str, ...]
    """Those that are asked, unless others are named: those of the papers and rtx's two fast ones."""
    measure: Measure
    caption: str
    """What the columns mean."""
    boxed: bool = False
    """It needs to know where who acts is."""
    named: bool = False
    """It asks for the class that is shown: the network must have a name for it."""
    scene: Scene | None = None
    """What it is measured on, where nothing else will do."""
    middle: Middle = np.mean
    """What stands for many clips: their mean, or their median."""
    version: int = 1
    """Of what it measures, and how: results of another are measured anew."""

    @property
    def asks(self) -> str:
        """In one line."""
        return QUESTIONS[self.name]

    def fitting(self, backend: TorchBackend) -> list[str]:
        """Those of its explainers that this network can be asked for."""
        return fitting(backend, self.explainers)


NEED_LINEAR = ("cam", "contrast", "pyramid")
"""Explainers that need a head of pooling and one linear layer."""


def fitting(backend: TorchBackend, explainers: Iterable[str]) -> list[str]:
    """Those that this network can be asked for."""
    linear = backend.network.linear is not None
    return [name for name in explainers if linear or name not in NEED_LINEAR]


def about(backend: TorchBackend) -> dict[str, str]:
    """What results are of: the same name with other weights, or in another precision, is another network."""
    weights = backend.card.weights
    return {"model": backend.card.name, "weights": weights.sha256 if weights else "",
            "device": backend.device.type, "precision": backend.precision}  # fmt: skip


Means = dict[str, dict[str, Mean | None]]
"""By row and column, over clips."""


def measured(
    study: Study, backend: TorchBackend, explainers: Sequence[str], material: Material, names: Iterable[str]
) -> Iterator[Row]:  # fmt: skip
    """These of the clips, one after another; of one that cannot be read, why."""
    for name in names:
        try:
            example = material.load(name)
        except UserError as error:
            yield Row(name, why=str(error))
        else:
            yield Row(name, study.measure(backend, explainers, example))


def means(rows: Sequence[Row], middle: Middle = np.mean) -> Means:
    """Rows and columns in the order in which they first came."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for of in rows:
        for row, columns in of.values.items():
            for column, value in columns.items():
                gathered.setdefault(row, {}).setdefault(column, []).append(np.nan if value is None else value)
    return {row: {column: mean_of(of, middle) for column, of in columns.items()} for row, columns in gathered.items()}


class Maps(NamedTuple):
    """One clip, explained by several from one pass."""

    forward: Forward
    relevance: dict[str, Tensor]
    """By explainer, at the clip's resolution: T H W, float32, where the network is. Of a twin, its RGB branch's."""
    beside: dict[str, Tensor]
    """Of a twin network, its flow branch's."""

    @property
    def top(self) -> int:
        """The class that the network named."""
        return int(self.forward.logits[0].argmax())


def maps(
    backend: TorchBackend, explainers: Sequence[str], frames: NDArray[np.uint8], target: int | None = None
) -> Maps:  # fmt: skip
    """Maps of a clip's top class, or of another, from one pass."""
    chains = {name: chain_for(name, None, backend.labels)[0] for name in explainers}
    return maps_in(backend.forward(frames[None], [target]), chains)


@torch.no_grad()
def maps_in(forward: Forward, chains: Mapping[str, Chain]) -> Maps:
    """Maps of a pass of one clip; an explainer is run once, whatever steps follow it."""
    found: tuple[dict[str, Tensor], ...] = {}, {}
    for of, seen in zip(found, apart(forward), strict=False):
        begun: dict[str, Ran] = {}
        for name, chain in chains.items():
            first = str(chain.calls[0])
            if first not in begun:
                begun[first] = begin(chain, seen)
            of[name] = upsample(seen, step_on(chain, seen, begun[first]).relevance)[0].float()
    return Maps(forward, *found)


Places = dict[str, dict[str, tuple[float | None, float | None, float | None, float | None]]]
"""By explainer and region: hit, chance, ratio, iou, as `Place` has them; None where nothing can be said."""


def regions_of(example: Example, wanted: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Of these regions, those of which it is known where they are. UserError where none is."""
    known_ones = {name: example.regions[name] for name in wanted if name in example.regions}
    if not known_ones:
        raise UserError(f"{example.name}: what is where in it, nobody says; give a number of scenes to draw")
    return known_ones


def places(relevance: Mapping[str, Tensor], regions: Mapping[str, NDArray[np.bool_]]) -> Places:
    """Where the relevance of one clip's maps T H W lies, by explainer, of its regions T H W."""
    maps = torch.stack(list(relevance.values()))
    found: Places = {explainer: {} for explainer in relevance}
    for region, mask in regions.items():
        of = place(maps, torch.from_numpy(mask).to(maps.device)[None])
        for i, explainer in enumerate(relevance):
            hit, chance, ratio, iou = (known(values[i]) for values in of)
            found[explainer][region] = hit, chance, ratio, iou
    return found


def known(value: Tensor | float) -> float | None:
    """A number to keep; None for NaN."""
    number = float(value)
    return None if np.isnan(number) else round(number, 6)


def probability(backend: TorchBackend, target: int) -> Callable[[Tensor], Tensor]:
    """Of clips N C T H W as the network takes them, how likely this class is: N."""

    @torch.inference_mode()
    def score(clips: Tensor) -> Tensor:
        _, logits = backend.run(clips)
        return logits.softmax(dim=1)[:, target]

    return score
