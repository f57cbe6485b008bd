"""Model cards: what a network is, what it wants to see, where its weights come from. Readable without torch."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rtx import resources
from rtx.errors import UserError, unknown
from rtx.fetch import Packaged


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clip that the network takes."""

    frames: Annotated[int, Meta(ge=1, le=512)]
    stride_ms: Annotated[float, Meta(gt=0)]
    """Time between two sampled frames."""
    size: Annotated[int, Meta(ge=16, le=2048)]
    """Height and width in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from RGB in 0..255."""
    std: tuple[float, float, float]
    """What the difference is divided by."""


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights come from."""

    sha256: str
    """Of the safetensors file: the one in the model's folder, or what conversion makes of the source in the cache."""
    licence: str
    source: Packaged | None = None
    """Where they are fetched; without it they lie in the model's folder."""


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model: models/NAME/card.toml."""

    name: str
    title: str
    architecture: str
    paper: str
    clip: Clip
    weights: Weights
    causal: bool = False
    """It never looks ahead, so that a stream can be followed frame by frame; each frame has a feature frame."""
    precision: Literal["auto", "fp32"] = "auto"
    """What `auto` means for this model: the quickest that the device has, or fp32."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the architecture."""
    layers: tuple[str, ...] = ()
    """Stages that explainers of several stages look at (3DCam); none: all of them."""
    peaks: dict[str, float] = {}
    """A map's usual maximum on clear evidence, by explainer: what counts as full heat before anything was seen."""

    @property
    def folder(self) -> Path:
        return resources.MODELS / self.name

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple((self.folder / "labels.txt").read_text(encoding="utf-8").splitlines())

    @property
    def file(self) -> Path:
        """The weights: in the model's folder, or converted in the user's cache."""
        if self.weights.source is None:
            return self.folder / "weights.safetensors"
        return resources.cache() / "models" / self.name / "weights.safetensors"


def names() -> list[str]:
    return sorted(path.parent.name for path in resources.MODELS.glob("*/card.toml"))


def card(name: str) -> Card:
    """The card of a model. UserError names the nearest right name."""
    if name not in names():
        raise unknown("model", name, names())
    path = resources.MODELS / name / "card.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Card)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {error}") from None


@cache
def labels_of(name: str) -> tuple[str, ...]:
    """The classes of a model; none of one that is not here."""
    return card(name).labels if name in names() else ()


def class_index(labels: tuple[str, ...], wanted: str) -> int:
    """A class by number or name (case does not matter)."""
    try:
        number = int(wanted)
    except ValueError:
        pass
    else:
        if not 0 <= number < len(labels):
            raise UserError(f"class {number} does not exist: the model has classes 0..{len(labels) - 1}")
        return number
    lowered = [label.lower() for label in labels]
    if wanted.lower() not in lowered:
        raise unknown("class", wanted, labels)
    return lowered.index(wanted.lower())
