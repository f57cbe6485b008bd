"""Do maps depend on what was learned? Layers are randomised one after another, the last first (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.study import Example, Study, Values, known, maps
from rtx.measure.perturb import cascade
from rtx.measure.similarity import rank_correlation
from rtx.nets.forward import Network, Staged


def layers(network: Network) -> list[str]:
    """What is randomised, first to last: stages with weights, then the head's. UserError for others' networks."""
    if not isinstance(network, Staged):
        raise UserError("rtx eval sanity randomises rtx's own networks stage by stage; this one is somebody else's")
    stages = [f"stages.{name}" for name, stage in network.stages.items() if any(True for _ in stage.parameters())]
    head = [name for name, weight in network.named_parameters() if not name.startswith("stages.") and weight.dim() > 1]
    return stages + head


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Rank correlation with the map of the network as it was, for the class that it named."""
    before = maps(backend, explainers, example.frames)
    values: Values = {name: {} for name in explainers}
    for layer, changed in cascade(backend.network, layers(backend.network)):
        other = copy.copy(backend)
        assert isinstance(changed, Staged)
        other.network, other.run = changed, changed.run
        after = maps(other, explainers, example.frames, before.top)
        for name in explainers:
            alike = rank_correlation(before.relevance[name][None], after.relevance[name][None])
            values[name][layer.removeprefix("stages.")] = known(alike)
    return values


SANITY = Study(
    "sanity",
    ("ksigma", "cam", "grad_cam", "guided_backprop", "dtd"),
    measure,
    "Spearman's rank correlation with the map of the trained network, after the weights of this layer and of all "
    "behind it were shuffled (seed 0): it must fall towards 0. A map that stays alike owes little to what was learned.",
)
