"""How alike the maps of two explainers are (Fuad et al. 2020, Table I; Hiley et al. 2020, Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps
from rtx.measure.similarity import agreement, pcc, sim


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Each pair once."""
    found = {name: of[None] for name, of in maps(backend, explainers, example.frames).relevance.items()}
    return {
        f"{one} and {other}": {
            "SIM": known(sim(found[one], found[other])),
            "PCC": known(pcc(found[one], found[other])),
            "in common": known(agreement(found[one] - found[one].mean(), found[other] - found[other].mean())),
        }
        for one, other in combinations(explainers, 2)
    }


AGREEMENT = Study(
    "agreement",
    "How alike are the maps of two explainers?",
    ("ksigma", "cam", "saliency", "guided_backprop", "grad_cam", "guided_grad_cam", "dtd"),
    measure,
    "SIM: 1 the same, 0 nothing in common. PCC: Pearson's correlation. in common: of the voxels above the "
    "mean of either map, the share that is above both.",
)
