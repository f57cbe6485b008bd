"""Model cards: what a network is, what it wants to see, where its weights come from. Readable without torch."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rtx import resources
from rtx.errors import UserError, unknown
from rtx.fetch import Packaged

Scale = Annotated[float, Meta(gt=0)]


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clip that the network takes."""

    frames: Annotated[int, Meta(ge=1, le=512)]
    stride_ms: Annotated[float, Meta(gt=0)]
    """Time between two sampled frames."""
    size: Annotated[int, Meta(ge=16, le=2048)]
    """Height and width in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from RGB in 0..255."""
    std: tuple[Scale, Scale, Scale]
    """What the difference is divided by."""

    @property
    def input_size(self) -> tuple[int, int, int]:
        """T H W."""
        return self.frames, self.size, self.size


class Flow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optical flow that the network takes, in -1..1: divided by mean + 3 deviations, and cut off there."""

    mean: Scale
    """Of the largest magnitudes in the data that it was trained on: pixels of the clip, from one sample to the next."""
    deviation: Annotated[float, Meta(ge=0)] = 0.0
    alone: bool = False
    """Without RGB beside it."""

    @property
    def limit(self) -> float:
        """The flow that becomes 1 (Fuad et al. 2020, Eq. 2)."""
        return self.mean + 3 * self.deviation


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights come from."""

    sha256: str
    """Of the safetensors file: the one in the model's folder, or what conversion makes of the source in the cache."""
    licence: str
    source: Packaged | None = None
    """Where they are fetched; without it they lie in the model's folder."""


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights that rtx cannot fetch; `rtx models add` takes them."""

    by: str
    files: tuple[str, ...]
    classes: str
    licence: str
    sha256: str = ""
    """How the file's hash begins, where its publisher says so."""

    def __str__(self) -> str:
        begins = f", sha256 {self.sha256}..." if self.sha256 else ""
        return f"published by {self.by}: {', '.join(self.files)}; {self.classes}; {self.licence}{begins}"


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model: models/NAME/card.toml."""

    name: str
    title: str
    architecture: str
    """One of rtx's, or `module:factory`: a Python module and what in it makes a network."""
    paper: str
    clip: Clip
    flow: Flow | None = None
    """Without it the network sees RGB alone."""
    published: Published | None = None
    """Weights that others publish for this architecture; None: nobody does, under names that rtx knows."""
    weights: Weights | None = None
    """Without them the network brings its own."""
    causal: bool = False
    """It never looks ahead, so that a stream can be followed frame by frame; each frame has a feature frame."""
    precision: Literal["auto", "fp32"] = "auto"
    """What `auto` means for this model: the quickest that the device has, or fp32."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the architecture."""
    smaller: tuple[Annotated[int, Meta(ge=16, le=2048)], ...] = ()
    """Sizes of a clip, largest first, at which it still is of use where a machine is too slow."""
    layers: tuple[str, ...] = ()
    """Stages that explainers of several stages look at (3DCam); none: all of them."""
    layer: str | None = None
    """The layer that gives the features; None: the last one that has time and space."""
    home: str = ""
    """The card's folder, where that is not one of rtx's own."""
    theta: Annotated[float, Meta(ge=0, le=1)] = 0.6
    """From which share on a Class Feature Pyramid follows a channel."""
    peaks: dict[str, float] = {}
    """A map's usual maximum on clear evidence, by explainer: what counts as full heat before anything was seen."""

    @property
    def folder(self) -> Path:
        return Path(self.home) if self.home else resources.MODELS / self.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names; none where a foreign network brings none."""
        path = self.folder / "labels.txt"
        if self.bare or (self.foreign and not (self.home and path.exists())):
            return ()
        return tuple(path.read_text(encoding="utf-8").splitlines())

    @property
    def foreign(self) -> bool:
        """The network is none of rtx's."""
        return ":" in self.architecture

    @property
    def bare(self) -> bool:
        """An architecture, whose weights somebody has to bring."""
        return self.weights is None and not self.foreign

    @property
    def arch(self) -> str:
        """What `rtx models add` calls it; of one architecture there may be several cards (I3D for RGB and for flow)."""
        return self.name.replace("-", "_")

    @property
    def here(self) -> bool:
        """Nothing of it must be fetched."""
        return self.weights is None or self.file.exists()

    @property
    def file(self) -> Path:
        """The weights: in the model's folder, or converted in the user's cache."""
        if self.weights is None or self.weights.source is None:
            return self.folder / "weights.safetensors"
        return resources.cache() / "models" / self.name / "weights.safetensors"


def names() -> list[str]:
    """rtx's own models and the user's."""
    folders = (resources.MODELS, resources.own_models())
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/card.toml")})


KINETICS = Clip(16, 66.667, 112, (110.2, 100.64, 96.0), (58.15, 56.47, 55.33))
"""What a network that comes without a card is shown: what most of those trained on Kinetics want to see."""


def card(name: str, layer: str | None = None) -> Card:
    """The card of a model: by its name, by its file (`FOLDER/card.toml`), or of `module:factory`.

    `layer` takes the place of the card's. UserError names the nearest right name.
    """
    if name.endswith(".toml"):
        found = _read(Path(name))
        found = msgspec.structs.replace(found, home=str(Path(name).resolve().parent))
    elif re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        found = Card(name=name, title="a network of your own", architecture=name, paper="", clip=KINETICS)
    elif (path := resources.MODELS / name / "card.toml").exists() and name in names():
        found = _read(path)
    elif name in names():
        path = resources.own_models() / name / "card.toml"
        found = msgspec.structs.replace(_read(path), home=str(path.parent.resolve()))
    else:
        raise unknown("model", name, names(), "; or FOLDER/card.toml, or module:factory")
    return found if layer is None else msgspec.structs.replace(found, layer=layer)


def _read(path: Path) -> Card:
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Card)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a model's name, its card.toml, or module:factory") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: {error}") from None
    return found


@cache
def labels_of(name: str) -> tuple[str, ...]:
    """The classes of a model; none of one that is not here."""
    return card(name).labels if name in names() else ()


def class_index(labels: tuple[str, ...], wanted: str | int) -> int:
    """A class by its name (case does not matter) or number; a name that is a number is a name first."""
    if isinstance(wanted, str) and wanted in labels:
        return labels.index(wanted)
    try:
        number = int(wanted)
    except ValueError:
        pass
    else:
        if not 0 <= number < len(labels):
            raise UserError(f"class {number} does not exist: the model has classes 0..{len(labels) - 1}")
        return number
    assert isinstance(wanted, str)
    lowered = [label.lower() for label in labels]
    if wanted.lower() not in lowered:
        raise unknown("class", wanted, labels)
    return lowered.index(wanted.lower())
