"""Do maps lie where something moves, and what does the selective step leave of them? (Hiley et al. 2020, 5.1, 5.2.)"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rtx.engine.flow import of_clip
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps
from rtx.measure.motion import motion_precision, selectivity

LEAST = 0.5
"""Pixels a sample: what moves no faster stands still. Dense flow is nowhere exactly 0, as the paper's count has it."""


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    found = maps(backend, [f"{name}{step}" for name in explainers for step in ("", " | selective")], example.frames)
    flow = torch.from_numpy(of_clip(example.frames))[None].to(found.forward.clip.device)
    moving = (flow.norm(dim=-1) > LEAST).double().mean()
    values: Values = {}
    for name in explainers:
        whole, chosen = found.relevance[name][None], found.relevance[f"{name} | selective"][None]
        plain, selective = (motion_precision(of, flow, LEAST) for of in (whole, chosen))
        kept = selectivity(chosen, whole)
        values[name] = {
            "precision": known(plain), "chance": known(moving), "over chance": known(plain - moving),
            "precision, selective": known(selective), "gain": known(selective - plain),
            "voxels kept": known(kept.voxels), "relevance kept": known(kept.relevance),
        }  # fmt: skip
    return values


MOTION = Study(
    "motion",
    ("ksigma", "cam", "dtd", "grad_cam", "guided_backprop", "guided_grad_cam"),
    measure,
    f"precision: of the voxels above the map's mean, the share that moves by more than {LEAST} pixels a sample (DIS); "
    "chance: the share of all voxels that do. gain: of the selective step, clip by clip. kept: what that step leaves "
    "of the voxels above the map's mean, and of their relevance.",
    version=2,
)
