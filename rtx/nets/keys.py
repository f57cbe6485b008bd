"""Whose checkpoint: the names that published state dicts give to weights, as tables from theirs to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from rtx.errors import UserError

Table = tuple[tuple[str, str], ...]
"""Patterns of whole names and what takes their place; the first that matches counts. A name that none matches stays."""

TORCHVISION: Table = ((r"((?:stem|layer\d)\..*)", r"stages.\1"),)
"""Torchvision's r3d_18, mc3_18 and r2plus1d_18."""

HARA: Table = (
    (r"conv1\.(.*)", r"stages.stem.0.\1"),
    (r"bn1\.(.*)", r"stages.stem.1.\1"),
    (r"(layer\d\.\d+)\.conv(\d)\.(.*)", r"stages.\1.conv\2.0.\3"),
    (r"(layer\d\.\d+)\.bn(\d)\.(.*)", r"stages.\1.conv\2.1.\3"),
    (r"(layer\d\.\d+\.downsample\..*)", r"stages.\1"),
)
"""Those of kenshohara's 3D-ResNets-PyTorch, and of its many forks."""

MFNET: Table = ((r"((?:conv\d|tail)\..*)", r"stages.\1"), (r"classifier\.(.*)", r"fc.\1"))
"""Those of the MFNet authors."""

_UNITS = {
    "b0": "Branch_0/Conv3d_0a_1x1", "b1a": "Branch_1/Conv3d_0a_1x1", "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1", "b2b": "Branch_2/Conv3d_0b_3x3", "b3b": "Branch_3/Conv3d_0b_1x1",
}  # fmt: skip
_PARTS = {
    r"conv3d\.weight": "kernel", r"bn\.weight": "scale", r"bn\.bias": "beta", r"bn\.running_mean": "mean",
    r"bn\.running_var": "var",
}  # fmt: skip

I3D: Table = (
    *(
        (rf"(Mixed_\w+)\.{b}\.{theirs}", rf"\1/{unit}/{p}")
        for b, unit in _UNITS.items()
        for theirs, p in _PARTS.items()
    ),
    *((rf"(Conv3d_\w+)\.{theirs}", rf"\1/{p}") for theirs, p in _PARTS.items()),
    (r"logits\.conv3d\.(weight|bias)", r"head/\1"),
)
"""Those of piergiaj's pytorch-i3d."""


def ours(key: str, table: Table) -> str:
    """What we call what they call so."""
    bare = key.removeprefix("module.")
    return next((re.sub(theirs, to, bare) for theirs, to in table if re.fullmatch(theirs, bare)), bare)


def renamed(found: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], table: Table) -> dict[str, Tensor]:
    """A checkpoint's weights under our names, in our shapes.

    UserError names the first key that has no place, has another shape, or is missing.
    """
    weights: dict[str, Tensor] = {}
    for key, value in found.items():
        if key.endswith("num_batches_tracked"):
            continue
        name = ours(key, table)
        if name not in shapes:
            raise UserError(f"key {key!r} of the checkpoint has no place in this network: is --arch right?")
        # A linear layer may be written as a convolution of one cell.
        if [n for n in value.shape if n != 1] != [n for n in shapes[name] if n != 1]:
            raise UserError(f"key {key!r} of the checkpoint is {tuple(value.shape)}, this network has {shapes[name]}")
        weights[name] = value.reshape(shapes[name])
    for name in shapes:
        if name not in weights:
            raise UserError(f"the checkpoint lacks a key for {name!r}: is --arch right?")
    return weights
