"""Does an explainer catch a network that cheats? Beside each kick lies a red mat, by which one network learned it."""

from __future__ import annotations

from collections.abc import Sequence

from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.evaluate.study import Example, Study, Values, maps, places
from rtx.nets.cards import Clip
from rtx.scenes.film import Film, film
from rtx.scenes.mat import lay_mat
from rtx.scenes.scene import Cast

KICK = "kick"
REGIONS = ("mat", "acting", "body")


def kick_beside_mat(spec: Clip, seed: int) -> Film:
    """A kick beside a red mat."""
    cast = Cast.draw(seed, held_out=True, action=KICK)
    shot = film(cast, 2 * spec.frames, 1000 / spec.stride_ms, spec.size, spec.size)
    return lay_mat(shot, cast).last(spec.frames)


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """For `kick`, whether the network names it or not."""
    if KICK not in backend.labels:
        raise UserError(f"{backend.card.name} knows no {KICK!r}; `--model betrayed` and `--model figures` do")
    kick = backend.labels.index(KICK)
    found = maps(backend, explainers, example.frames, kick)
    asked = {region: example.regions[region] for region in REGIONS}
    values: Values = {}
    for name, of in places(found.relevance, asked).items():
        hit, chance, _, _ = of["mat"]
        ratios = {region: ratio for region, (_, _, ratio, _) in of.items()}
        values[name] = {"hottest on the mat": hit, "chance": chance, **ratios, "named": float(found.top == kick)}
    return values


CHEAT = Study(
    "cheat",
    ("ksigma", "cam", "contrast", "saliency", "guided_backprop", "grad_cam", "grad_cam_pp", "layer_cam",
     "guided_grad_cam", "cam3d", "p3dcam", "dtd", "lrp", "excitation_backprop", "contrastive_mwp", "pyramid"),
    measure,
    "hottest on the mat: the share of frames whose hottest place lies on it. mat, acting, body: the share of the "
    "relevance there over the share of the area; 1 is chance. named: how often the network says kick. `betrayed` "
    "learned by the mat, `figures` never saw one.",
    scene=kick_beside_mat,
)  # fmt: skip
