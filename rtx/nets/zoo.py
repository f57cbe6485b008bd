"""What networks there are, and how one with its weights comes from a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rtx.errors import UserError, unknown
from rtx.nets import keys
from rtx.nets.c3d import C3D
from rtx.nets.cards import Card, Clip
from rtx.nets.causal import Causal
from rtx.nets.forward import Staged
from rtx.nets.gated import gated_i3d, gated_resnext_101
from rtx.nets.hara import resnet_18, resnet_34, resnet_50, resnet_101, resnet_152, resnext_101
from rtx.nets.i3d import I3D
from rtx.nets.mfnet import MFNet
from rtx.nets.resnet3d import mc3_18, r2plus1d_18, r3d_18
from rtx.nets.tstcnn import TSTCNN
from rtx.nets.weights import check


class Architecture(NamedTuple):
    """A network and the names that those who publish weights for it have."""

    make: Callable[..., Staged]
    """`make(classes=M, **arguments)`."""
    names: keys.Table = ()
    sized: bool = False
    """It counts the cells of a clip: it is made for the card's `frames` and `size`."""


ARCHITECTURES: dict[str, Architecture] = {
    "c3d": Architecture(C3D),
    "causal": Architecture(Causal),
    "gated_i3d": Architecture(gated_i3d, sized=True),
    "gated_resnext_101": Architecture(gated_resnext_101, sized=True),
    "i3d": Architecture(I3D, keys.I3D),
    "mc3_18": Architecture(mc3_18, keys.TORCHVISION),
    "mfnet": Architecture(MFNet, keys.MFNET),
    "r2plus1d_18": Architecture(r2plus1d_18, keys.TORCHVISION),
    "r3d_18": Architecture(r3d_18, keys.TORCHVISION),
    "resnet_18": Architecture(resnet_18, keys.HARA),
    "resnet_34": Architecture(resnet_34, keys.HARA),
    "resnet_50": Architecture(resnet_50, keys.HARA),
    "resnet_101": Architecture(resnet_101, keys.HARA),
    "resnet_152": Architecture(resnet_152, keys.HARA),
    "resnext_101": Architecture(resnext_101, keys.HARA),
    "tstcnn": Architecture(TSTCNN, sized=True),
}


def make(architecture: str, classes: int, clip: Clip, arguments: Mapping[str, Any]) -> Staged:
    """A network of rtx's, with random weights, for clips like this. UserError where there is none such."""
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    chosen = ARCHITECTURES[architecture]
    sized = {"frames": clip.frames, "size": clip.size} if chosen.sized else {}
    try:
        return chosen.make(classes=classes, **sized, **arguments)
    except TypeError as error:
        raise UserError(f"{architecture} takes no such argument: {error}") from None


def build(card: Card) -> Staged:
    """The card's network, one of rtx's, with its checked weights, in float32 on the CPU, in eval mode."""
    path = check(card)
    with torch.device("meta"):
        network = make(card.architecture, len(card.labels), card.clip, card.arguments)
    if card.causal and not isinstance(network, Causal):
        raise UserError(f"{card.name}: causal = true, but {card.architecture!r} cannot be followed frame by frame")
    network.to_empty(device="cpu")
    try:
        network.load_folded(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path}: {error}; run `rtx models pull {card.name}`") from None
    network.chosen = network.named(card.layer)
    return network.eval().requires_grad_(False)
