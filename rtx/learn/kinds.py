"""Small networks of the papers' kinds that learn the hall: does what is true of explainers hold beyond one network?

C3D, an R3D-18 and the twin network of Fuad et al. (2020), each as in `rtx/nets` but thinner. They see what `figures`
learned from: close-ups first, whole pictures at last.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtx.engine.flow import of_clip
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.learn.figures import (
    BATCH,
    FPS,
    LARGE_SHARE,
    SIZE,
    WINDOW,
    Phases,
    Prepare,
    normalised,
    predictions,
    rightly,
    shape,
    stretch,
)  # fmt: skip
from rtx.learn.training import Recipe
from rtx.nets import cards, zoo
from rtx.nets.forward import Staged
from rtx.scenes.actions import LABELS

_ALL = (WINDOW, WINDOW)
PHASES: dict[str, Phases] = {
    "hall-resnet": ((350, 64, _ALL), (100, 88, _ALL), (120, SIZE, _ALL)),
    "hall-c3d": ((300, 64, _ALL), (150, 88, _ALL), (250, SIZE, _ALL)),
    "hall-twin": ((300, 64, _ALL), (150, 88, _ALL), (250, SIZE, _ALL)),
}
_COUNTS_CELLS = ("hall-c3d", "hall-twin")
"""Their heads count a clip's cells: close-ups are enlarged for them."""
_FEW_CELLS = ("hall-c3d", "hall-resnet")
"""Their last layers see 2 x 7 x 7 cells and fewer, where torch's bf16 (2.13, CPU) has gradients of weights that differ
from one time to the next and are infinite now and then: they learn in fp32."""
RATE = 1e-3


def with_flow(name: str) -> Prepare:
    """RGB, and optical flow where the card asks for it."""
    flow = cards.card(name).flow

    def prepared(clips: NDArray[np.uint8]) -> Tensor:
        pixels = normalised(clips)
        if flow is None:
            return pixels
        moved = torch.from_numpy(np.stack([of_clip(clip) for clip in clips])).permute(0, 4, 1, 2, 3)
        seen = torch.cat((pixels, (moved / flow.limit).clamp(-1, 1)), dim=1)
        return seen.contiguous(memory_format=torch.channels_last_3d)

    return prepared


def enlarged(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames T H W 3 at the size of whole pictures."""
    return np.stack([cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for frame in clip])


def batch_of(name: str) -> Callable[[int], tuple[Tensor, Tensor]]:
    """What a step of its training shows, and the actions."""
    prepare = with_flow(name)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        frames, size = shape(step, PHASES[name])
        drawn = [stretch(step * BATCH + i, frames, size) for i in range(BATCH)]
        clips = [enlarged(clip) if name in _COUNTS_CELLS else clip for clip, _ in drawn]
        return prepare(np.stack(clips)), torch.tensor([label for _, label in drawn])

    return batch


def fresh(name: str) -> Staged:
    """The network before training: random weights of a size that carries a signal through all layers."""
    card = cards.card(name)
    network = zoo.make(card.architecture, len(LABELS), card.clip, card.arguments)
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def logits_of(name: str) -> Callable[[Staged, Tensor], Tensor]:
    """What it says of clips while it trains: in bf16 where the CPU has it, and that can be relied on."""
    in_bf16 = cpu_has_bf16() and name not in _FEW_CELLS

    def logits(network: Staged, clips: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bf16):
            features = network.extract(clips)
        return network.classify(features.float())

    return logits


def recipe(name: str) -> Recipe:
    numbers = (BATCH, PHASES[name], FPS, LARGE_SHARE, LABELS)
    steps = sum(steps for steps, _, _ in PHASES[name])
    return Recipe(name, lambda: fresh(name), batch_of(name), logits_of(name), steps, numbers, RATE)


def held_out(name: str, network: Staged, count: int = 300) -> dict[str, float]:
    """The share of whole pictures of held-out scenes that it names rightly."""
    return {"clips": count, "right": rightly(predictions(network, range(count), 15.0, prepare=with_flow(name)))}
