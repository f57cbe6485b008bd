"""Does the score depend on what maps call relevant? Insertion and deletion, beside maps of noise."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps, probability
from rtx.measure.perturb import BASELINES, LOT, deletion, insertion

STEPS = 10
NOISE, DUST = "noise", "dust"
"""The controls: maps drawn by lot, as smooth as a coarse map, and pixel by pixel; the clip's name is their seed."""


def lots(example: Example) -> dict[str, torch.Tensor]:
    """Maps T H W that know nothing: of blocks of 1/7 of a side and 1/4 of the time, and of single pixels."""
    random = np.random.default_rng([0xFA17, zlib.crc32(example.name.encode())])
    shape = example.frames.shape[:3]
    drawn = torch.from_numpy(random.random((1, 1, 4, 7, 7), np.float32))
    grown = torch.nn.functional.interpolate(drawn, shape, mode="trilinear", align_corners=False)
    return {NOISE: grown[0, 0], DUST: torch.from_numpy(random.random(shape, np.float32))}


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    found = maps(backend, explainers, example.frames)
    clip, score = found.forward.clip, probability(backend, found.top)
    baselines = {name: make(clip) for name, make in BASELINES.items()}
    values: Values = {}
    for name, relevance in (found.relevance | lots(example)).items():
        values[name], order = {}, relevance[None].to(clip.device)
        for baseline, other in baselines.items():
            values[name][f"insertion, {baseline}"] = known(insertion(score, clip, order, other, STEPS).area)
            values[name][f"deletion, {baseline}"] = known(deletion(score, clip, order, other, STEPS).area)
    return values


FAITHFUL = Study(
    "faithful",
    ("ksigma", "cam", "grad_cam", "guided_backprop", "dtd"),
    measure,
    f"The class's mean probability while voxels come into a baseline (insertion: more is better) or go (deletion: less "
    f"is better), the most relevant first, in {STEPS} steps. Baselines: blurred; frozen, all the middle frame; the "
    f"mean colour. {NOISE}, {DUST}: maps drawn by lot, smooth and pixel by pixel; the clip's name is their seed, and "
    f"{LOT} that of the lot among equal voxels. Of a twin network, RGB and flow go together, by its RGB branch's map.",
    version=2,
)
