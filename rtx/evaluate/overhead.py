"""What does explaining cost? (Fuad et al. 2020, Table II; Hiley et al. 2020, Table 4; Stergiou et al. 2019, Table 1)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtx.engine.engine import Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values
from rtx.measure.overhead import Explain, overhead

TURNS = 3
"""A clip; before them all that takes part has run once."""


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    clip = example.frames[None]

    def classify() -> None:
        assert backend.forward(clip, [None]).logits is not None
        backend.finish()

    def explaining(chain: str) -> Explain:
        engine = Engine(backend, chain, continual=False)
        return lambda: engine.run(clip).ms["explain"]

    values: Values = {}
    classify()
    for name in explainers:
        works = [explaining(f"{name}{step}") for step in ("", " | selective")]
        for work in works:
            work()
        plain, selective = overhead(classify, works, TURNS)
        values[name] = {
            "classify, ms": round(plain.classify_ms, 3),
            "explain, ms": round(plain.explain_ms, 3),
            "both, ms": round(plain.classify_ms + plain.explain_ms, 3),
            "ratio": round(plain.ratio, 5),
            "passes differ, ms": round(plain.differs_ms, 3),
            "selective too, ms": round(selective.explain_ms, 3),
            "ratio with selective": round(selective.ratio, 5),
        }
    return values


OVERHEAD = Study(
    "overhead",
    ("ksigma", "cam", "saliency", "grad_cam", "guided_backprop", "guided_grad_cam", "dtd", "pyramid"),
    measure,
    "Medians over clips, of medians of turns: a pass that only classifies, then one that explains, too. explain: what "
    "the latter takes more or, where that is less than what passes differ by, what was timed apart once the scores "
    "were there; both: with the pass; ratio: that over the pass. Clips are already decoded and of the network's size.",
    middle=np.median,
    version=3,
)
