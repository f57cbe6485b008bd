"""Weights into the user's cache: fetched by hash, opened without running anything in them, kept as safetensors."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from rtx.errors import UserError
from rtx.fetch import fetch, sha256
from rtx.nets.cards import Card, Weights

if TYPE_CHECKING:
    from torch import Tensor

Arrays = dict[str, NDArray[np.float32]]

_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),  # The name up to numpy 1,
    ("numpy._core.multiarray", "_reconstruct"),  # and since.
}


class _ArraysOnly(pickle.Unpickler):
    """Admits numpy arrays in plain containers and nothing else, so that no code in the file can run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise UserError(f"the checkpoint wants to load {module}.{name}: it is not a file of arrays; not opened")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_arrays(path: Path) -> dict[str, Any]:
    """A pickled tree of arrays. UserError where it is cut off, or holds anything but arrays."""
    try:
        with open(path, "rb") as file:
            tree = _ArraysOnly(file).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as error:
        raise UserError(f"{path.name} is no readable checkpoint: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path.name} holds a {type(tree).__name__}, not a tree of arrays")
    return tree


WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
"""Under which trainers keep the weights beside their own state."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, opened without running anything in it."""
    import torch  # Not for those who only check a file.
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a checkpoint (.pth, .pt, .safetensors)") from None
    except SafetensorError as error:
        raise UserError(f"{path} is no checkpoint of weights alone: {error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError):
        # torch's own words advise to run what is in it; other junk ends in errors of any kind.
        raise UserError(f"{path} is no checkpoint of weights alone, and nothing else is opened") from None
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    state = found if isinstance(found, Mapping) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state dict of weights")
    return dict(state)


def from_flax_i3d(tree: dict[str, Any]) -> Arrays:
    """Names and axes of I3D's published arrays as `I3D.load_folded` wants them (kernels O I T H W)."""
    arrays: Arrays = {}
    for layer, parts in _units(tree["params"], ""):
        kernel = np.transpose(parts["Conv_0"]["kernel"], (4, 3, 0, 1, 2))
        if layer.startswith("Logits/"):
            arrays["head/weight"] = np.ascontiguousarray(kernel[:, :, 0, 0, 0])
            arrays["head/bias"] = parts["Conv_0"]["bias"]
        else:
            arrays[f"{layer}/kernel"] = np.ascontiguousarray(kernel)
            arrays[f"{layer}/beta"] = parts["BatchNorm_0"]["bias"].reshape(-1)
    for layer, parts in _units(tree["batch_stats"], ""):
        arrays[f"{layer}/mean"] = parts["BatchNorm_0"]["mean"].reshape(-1)
        arrays[f"{layer}/var"] = parts["BatchNorm_0"]["var"].reshape(-1)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _units(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, below in tree.items():
        if "Conv_0" in below or "BatchNorm_0" in below:
            yield prefix + name, below
        else:
            yield from _units(below, f"{prefix}{name}/")


CONVERTERS: dict[str, Callable[[dict[str, Any]], Arrays]] = {"i3d": from_flax_i3d}


def pull(card: Card) -> Path:
    """The model's weights in the cache, fetched and converted where they are not there yet, whole or not at all."""
    origin = _weights(card)
    if card.file.exists() and sha256(card.file) == origin.sha256:
        return card.file
    if origin.source is None:
        return check(card)
    card.file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=card.file.parent) as folder:
        original, converted = Path(folder) / "original", Path(folder) / "converted"
        fetch(origin.source, original)
        try:
            arrays = CONVERTERS[card.architecture](read_arrays(original))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"the checkpoint of {card.name} is not laid out as expected: {error}") from None
        save_file(arrays, converted)
        os.replace(converted, card.file)
    return check(card)


def _weights(card: Card) -> Weights:
    """Where they come from. UserError for a card that has none to fetch or to check."""
    if card.bare:
        where = card.published or "nobody publishes them"
        raise UserError(
            f"{card.name} is an architecture without weights that rtx can fetch ({where}); bring a "
            f"checkpoint: `rtx models add CHECKPOINT --arch {card.architecture} --labels FILE`"
        )
    if card.weights is None:
        raise UserError(f"{card.name} brings its own weights: there is nothing to fetch or to check")
    return card.weights


def check(card: Card) -> Path:
    """The weights' file, if it is there and whole. UserError says what to do."""
    origin = _weights(card)
    again = "run `rtx models add` again" if card.home else "install rtx again"
    if origin.source is None and not card.file.exists():
        raise UserError(f"{card.file} is missing; {again}")
    if not card.file.exists():
        raise UserError(f"the weights of {card.name} are not here yet; run `rtx models pull {card.name}`")
    found = sha256(card.file)
    if found != origin.sha256:
        mend = f"run `rtx models pull {card.name}` to fetch them again" if origin.source else again
        raise UserError(
            f"the weights of {card.name} are damaged or replaced: sha256 is {found[:16]}..., the card says "
            f"{origin.sha256[:16]}...; {mend}"
        )
    return card.file
