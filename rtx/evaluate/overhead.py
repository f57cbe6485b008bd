"""What does explaining cost? (Fuad et al. 2020, Table II; Hiley et al. 2020, Table 4; Stergiou et al. 2019, Table 1)"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values
from rtx.measure.overhead import overhead

TURNS = 3
"""A clip; before them all that takes part has run once."""


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    clip = example.frames[None]

    def classify() -> None:
        assert backend.forward(clip, [None]).logits is not None
        backend.finish()

    values: Values = {}
    classify()
    for name in explainers:
        engines = [Engine(backend, f"{name}{step}", continual=False) for step in ("", " | selective")]
        for engine in engines:
            engine.run(clip)
        plain, selective = overhead(classify, [partial(engine.run, clip) for engine in engines], TURNS)
        values[name] = {
            "classify, ms": round(plain.classify_ms, 3),
            "explain, ms": round(plain.explain_ms, 3),
            "both, ms": round(plain.classify_ms + plain.explain_ms, 3),
            "ratio": round(plain.ratio, 5),
            "selective too, ms": round(selective.explain_ms, 3),
            "ratio with selective": round(selective.ratio, 5),
        }
    return values


OVERHEAD = Study(
    "overhead",
    ("ksigma", "cam", "saliency", "grad_cam", "guided_backprop", "guided_grad_cam", "dtd", "pyramid"),
    measure,
    "Medians over clips, of medians of turns: a pass that classifies, and one that explains, too. ratio: the latter "
    "over the former; both: their sum. Clips are already decoded and of the network's size.",
    middle=np.median,
    version=2,
)
