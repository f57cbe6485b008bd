"""Do maps find who acts? Hit point and weakly supervised localisation (Yudistira et al., Tables 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, maps
from rtx.measure.boxes import Box, hits_box, hits_point

Hits = Callable[[NDArray[np.float32], Box], bool]
_ASKED: dict[str, Hits] = {
    "hit point": hits_point,
    "IoU > 0": lambda frame, box: hits_box(frame, box, 0.0),
    "IoU 0.5": lambda frame, box: hits_box(frame, box, 0.5),
    "IoU 0.6": lambda frame, box: hits_box(frame, box, 0.6),
}


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Over the frames in which who acts is to be seen."""
    called = _called(backend, explainers)
    found = maps(backend, list(called.values()), example.frames)
    right = None if example.label is None else backend.labels[found.top] == example.label
    seen = [(number, box) for number, box in enumerate(example.boxes) if box is not None]
    height, width = example.frames.shape[1:3]
    values: Values = {}
    for name, chain in called.items():
        frames = found.relevance[chain].numpy()
        columns: dict[str, float | None] = {}
        for asked, hits in _ASKED.items():
            share = float(np.mean([hits(frames[number], box) for number, box in seen])) if seen else None
            columns[asked] = share
            columns[f"{asked}, named"] = None if right is None else share if right else 0.0
        columns["chance"] = float(np.mean([box.area / (height * width) for _, box in seen])) if seen else None
        values[name] = columns
    return values


def _called(backend: TorchBackend, explainers: Sequence[str]) -> dict[str, str]:
    """Rows and their explainers: `cam3d` is of one layer, and here of each, as in the paper's ablation."""
    layers = backend.card.layers or backend.network.main
    stages = {f"cam3d, stage {i}": f"cam3d(layer={name!r})" for i, name in enumerate(layers, 1)}
    return {row: chain for name in explainers for row, chain in (stages if name == "cam3d" else {name: name}).items()}


LOCALISE = Study(
    "localise",
    ("grad_cam", "cam3d", "p3dcam", "p3dcam(aggregate='mean')", "ksigma", "cam"),
    measure,
    "Acc over the frames in which who acts is to be seen. hit point: the map's most lies in the true box; chance: the "
    "box's share of the picture. IoU: of the box around the largest contour half way from the map's mean to its most. "
    "named: Acc2, in which a wrong prediction is a miss.",
    boxed=True,
)
