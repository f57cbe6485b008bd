"""Do maps say more of the class that is shown than of another? Those of a network that knows nothing cannot."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.study import Example, Study, Values, known, maps, places, regions_of

REGIONS = ("acting", "body")
STILL = "stand"
"""Of it nothing acts: it is neither shown nor the other class, so that each class is as often the one as the other."""


def another(backend: TorchBackend, example: Example, shown: int) -> int:
    """Another class by lot; the clip's name is its seed."""
    others = [number for number, label in enumerate(backend.labels) if number != shown and label != STILL]
    return int(np.random.default_rng([0xC1A5, zlib.crc32(example.name.encode())]).choice(others))


def measure(backend: TorchBackend, explainers: Sequence[str], example: Example) -> Values:
    """Whether the network names it or not. Nothing of a clip that shows none of its classes, two, or none that acts."""
    where = regions_of(example, REGIONS)
    if example.label is None or example.label == STILL:
        return {}
    shown = backend.labels.index(example.label)
    asked = (shown, another(backend, example, shown))
    one, other = (places(maps(backend, explainers, example.frames, of).relevance, where) for of in asked)
    values: Values = {}
    for name in explainers:
        values[name] = {}
        for region in where:
            here, there = (found[name][region][2] for found in (one, other))
            values[name] |= {
                region: here,
                f"{region}, of another": there,
                f"{region}, more": None if here is None or there is None else known(here - there),
            }
        silent = (all(of[name][region][2] is None for region in where) for of in (one, other))
        values[name] |= dict(zip(("silent", "silent of another"), map(float, silent), strict=True))
    return values


CLASSES = Study(
    "classes",
    ("ksigma", "cam", "contrast", "saliency", "guided_backprop", "grad_cam", "grad_cam_pp", "layer_cam",
     "guided_grad_cam", "cam3d", "p3dcam", "dtd", "lrp", "excitation_backprop", "contrastive_mwp", "pyramid"),
    measure,
    "acting, body: the share of the relevance there over the share of the area, asked for the class that is shown; of "
    "another: asked for one by lot (the clip's name is its seed); more: the former less the latter, 0 where the class "
    "makes no difference. silent: how often nothing speaks for the class.",
    boxed=True,
    named=True,
    version=2,
)  # fmt: skip
