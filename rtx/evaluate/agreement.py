"""How alike the maps of two explainers are (Fuad et al. 2020, Table I; Hiley et al. 2020, Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.study import Example, Study, Values, known, maps
from rtx.measure.similarity import agreement, centred, pcc, sim

FLOW = "flow: "
"""How the columns of a twin network's second branch begin."""


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Each pair once; of a twin network, its RGB branch's, and beside them those of flow. UserError without a pair."""
    if len(set(explainers)) < 2:
        raise UserError("rtx eval agreement compares explainers: give --explainer at least two that differ")
    found = maps(backend, explainers, example.frames)
    values: Values = {f"{one} and {other}": {} for one, other in combinations(explainers, 2)}
    for branch, of in (("", found.relevance), (FLOW, found.beside)):
        for one, other in combinations(of, 2):
            a, b = of[one][None], of[other][None]
            values[f"{one} and {other}"] |= {
                f"{branch}SIM": known(sim(a, b)),
                f"{branch}PCC": known(pcc(a, b)),
                f"{branch}in common": known(agreement(centred(a), centred(b))),
            }
    return values


AGREEMENT = Study(
    "agreement",
    ("ksigma", "cam", "saliency", "guided_backprop", "grad_cam", "guided_grad_cam", "dtd"),
    measure,
    "SIM: 1 the same, 0 nothing in common. PCC: Pearson's correlation. in common: of the voxels above the "
    "mean of either map, the share that is above both. Of a twin network: of its RGB branch, and of flow.",
)
