"""Does the score depend on what maps call relevant? Insertion and deletion, beside maps of noise."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps, probability
from rtx.measure.perturb import BASELINES, deletion, insertion

STEPS = 10
NOISE = "noise"
"""The control: a map drawn by lot, as smooth as a coarse map, in the name's own seed."""


def noise(example: Example) -> torch.Tensor:
    """A map T H W that knows nothing: blocks of 1/7 of a side and 1/4 of the time, drawn by lot."""
    random = np.random.default_rng([0xFA17, zlib.crc32(example.name.encode())])
    frames, height, width = example.frames.shape[:3]
    drawn = torch.from_numpy(random.random((1, 1, 4, 7, 7), np.float32))
    grown = torch.nn.functional.interpolate(drawn, (frames, height, width), mode="trilinear", align_corners=False)
    return grown[0, 0]


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    found = maps(backend, explainers, example.frames)
    clip, score = found.forward.clip, probability(backend, found.top)
    baselines = {name: make(clip) for name, make in BASELINES.items()}
    values: Values = {}
    for name, relevance in {**found.relevance, NOISE: noise(example).to(clip.device)}.items():
        values[name], order = {}, relevance[None]
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
    f"mean colour. {NOISE}: a smooth map drawn by lot, by the clip's name.",
)
