"""From a card to a network with its weights, ready on a device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rtx.errors import UserError
from rtx.nets.cards import Card
from rtx.nets.causal import Causal
from rtx.nets.forward import Staged
from rtx.nets.i3d import I3D
from rtx.nets.weights import check

ARCHITECTURES: dict[str, Callable[..., Staged]] = {"i3d": I3D, "causal": Causal}


def build(card: Card) -> Staged:
    """The card's network, one of rtx's, with its checked weights, in float32 on the CPU, in eval mode."""
    path = check(card)
    with torch.device("meta"):
        network = ARCHITECTURES[card.architecture](classes=len(card.labels), **card.arguments)
    if card.causal and not isinstance(network, Causal):
        raise UserError(f"{card.name}: causal = true, but {card.architecture!r} cannot be followed frame by frame")
    network.to_empty(device="cpu")
    try:
        network.load_folded(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{path}: {error}; run `rtx models pull {card.name}`") from None
    network.chosen = network.named(card.layer)
    return network.eval().requires_grad_(False)
