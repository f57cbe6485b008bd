"""Do maps find who acts? Hit point and weakly supervised localisation (Yudistira et al., Tables 3 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps
from rtx.measure.boxes import accuracy, hits_box, hits_point, iou, localised, meets

_LEAST = {"IoU > 0": 0.0, "IoU 0.5": 0.5, "IoU 0.6": 0.6}


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Over the frames in which who acts is to be seen."""
    called = _called(backend, explainers)
    found = maps(backend, list(called.values()), example.frames)
    seen = [number for number, box in enumerate(example.boxes) if box is not None]
    boxes = torch.tensor([box for box in example.boxes if box is not None], dtype=torch.int64).reshape(-1, 4)
    height, width = example.frames.shape[1:3]
    chance = known((boxes[:, 2:] - boxes[:, :2]).prod(dim=1).double().mean() / (height * width))
    right = torch.full((len(seen),), backend.labels[found.top] == example.label)
    values: Values = {}
    for name, chain in called.items():
        frames = found.relevance[chain][seen]
        there = boxes.to(frames.device)
        shared = iou(localised(frames), there)
        hits = {"hit point": hits_point(frames, there), "meets": meets(frames, there)}
        hits |= {name: hits_box(shared, of) for name, of in _LEAST.items()}
        columns: dict[str, float | None] = {}
        for asked, hit in hits.items():
            of = accuracy(hit.cpu(), right)
            columns[asked] = known(of.acc)
            columns[f"{asked}, named"] = None if example.label is None else known(of.acc2)
        values[name] = {**columns, "chance": chance}
    return values


def _called(backend: TorchBackend, explainers: Sequence[str]) -> dict[str, str]:
    """Rows and their explainers: `cam3d` is of one layer, and here of each, as in the paper's ablation."""
    layers = backend.card.layers or backend.network.main
    stages = {f"cam3d, stage {i}": f"cam3d(layer={name!r})" for i, name in enumerate(layers, 1)}
    return {row: chain for name in explainers for row, chain in (stages if name == "cam3d" else {name: name}).items()}


LOCALISE = Study(
    "localise",
    ("grad_cam", "contrastive_mwp", "cam3d", "p3dcam", "p3dcam(aggregate='mean')", "ksigma", "cam"),
    measure,
    "Acc: the share of the frames in which who acts is to be seen, mean over clips. hit point: the map's most lies in "
    "the true box; chance: the box's share of the picture. meets: something that is more than half way from a frame's "
    "mean to its most lies in the box. IoU: of the box around the largest contour of that. named: Acc2, in which a "
    "wrong prediction is a miss. Of a twin network, its RGB branch.",
    boxed=True,
    version=2,
)
