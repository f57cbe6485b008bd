"""What `rtx eval` says of rtx's networks, kept with the results: `python -m benchmarks.studies [STUDY...]`.

A result that is there for the same weights, clips and explainers is left as it is, so that a run that was broken off
goes on; `--anew` measures all again. Films lie beside the project and are no part of it; without them their rows are
left out.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import torch
from safetensors.torch import save_file

import rtx
from benchmarks.record import RESULTS, keep, show
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.examples import examples_of
from rtx.evaluate.studies import STUDIES
from rtx.evaluate.study import Study, about, means, measured
from rtx.fetch import sha256
from rtx.nets import cards
from rtx.nets.zoo import make

SHARED = Path(__file__).parent.parent.parent / "shared"


class Of(NamedTuple):
    """A network and what it is shown."""

    model: str
    clips: str
    only: str = "*"
    """Of a folder's films, those that are called so."""
    explainers: tuple[str, ...] = ()
    """Where not the study's own are asked."""

    def result(self, study: str) -> str:
        """Under which name it is kept."""
        folder = [] if self.clips.isdecimal() else [Path(self.clips).name]
        return "-".join(["eval", study, self.model, *folder])


SEED, CLASSES = 0, 400
"""Of weights that are drawn by lot."""
SCENES = "40"
CLIPS = Of("i3d-k400", str(SHARED / "clips"))
KNOWN = Of("i3d-k400", str(SHARED / "clips"), "*.mp4")
"""Clips whose class is one of the network's, for what takes hundreds of passes a clip."""
FIGHTS = Of("i3d-k400", str(SHARED / "data" / "fight"), "*00[1-4].mp4")
TWIN = Of("hall-twin", SCENES)
NETWORKS = tuple(
    Of(name, KNOWN.clips, KNOWN.only, ("pyramid",))
    for name in ("mfnet", "resnet-50", "resnet-101", "resnet-152", "resnext-101")
)
"""Those of Class Feature Pyramids, Table 1, with random weights: of what explaining costs they say as much."""
ASKED: dict[str, tuple[Of, ...]] = {
    "agreement": (Of("figures", SCENES), TWIN, CLIPS, FIGHTS), "motion": (Of("figures", SCENES), TWIN, CLIPS, FIGHTS),
    "localise": (Of("figures", SCENES),), "overhead": (Of("figures", "10"), KNOWN, *NETWORKS),
    "sanity": (Of("figures", "20"), KNOWN), "faithful": (Of("figures", "20"), KNOWN),
    "cheat": (Of("betrayed", "24"), Of("figures", "24"), Of("shuffled", "24")),
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("studies", nargs="*", metavar="STUDY", choices=[[], *ASKED], help=", ".join(ASKED))
    options.add_argument("--anew", action="store_true")
    chosen = options.parse_args()
    for name in chosen.studies or ASKED:
        for of in ASKED[name]:
            if not of.clips.isdecimal() and not Path(of.clips).is_dir():
                print(f"{name} of {of.model}: left out, there is no folder {of.clips}")
            elif not cards.card(of.model).here:
                print(f"{name} of {of.model}: left out, `rtx models pull {of.model}` fetches it")
            else:
                run(STUDIES[name], of, chosen.anew)


def run(study: Study, of: Of, anew: bool) -> None:
    bare = cards.card(of.model).bare
    backend = drawn(of.model) if bare else rtx.load(of.model, device="cpu")
    explainers = list(of.explainers) or study.fitting(backend)
    material = examples_of(backend, of.clips, study.boxed, study.scene)
    chosen = fnmatch.filter(material.names, of.only)
    weights = {"weights": f"random, seed {SEED}"} if bare else {}
    settings = {**about(backend), **weights, "explainers": explainers, "of": material.says, "clips": chosen}
    name = of.result(study.name)
    path = RESULTS / f"{name}.json"
    if not anew and path.exists() and json.loads(path.read_text())["settings"] == settings:
        print(f"{path.name}: there already")
        return
    found = means(measured(study, backend, explainers, material.load(chosen)), study.middle)
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    lines = [[row, *(mean and round(mean.mean, 3) for mean in (of.get(column) for column in columns))]
             for row, of in found.items()]  # fmt: skip
    show(f"{study.asks} {of.model} ({backend.precision}) on {len(chosen)} of {material.says}", ["", *columns], lines)
    keep(name, {"settings": settings, "means": msgspec.to_builtins(found)})


def drawn(name: str) -> TorchBackend:
    """An architecture of rtx's, with weights drawn by lot, for 400 classes."""
    bare = cards.card(name)
    torch.manual_seed(SEED)
    network = make(bare.architecture, CLASSES, bare.clip, bare.arguments)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file(network.state_dict(), file)
        (Path(folder) / "labels.txt").write_text("\n".join(f"class {number}" for number in range(CLASSES)))
        weights = cards.Weights(sha256(file), "drawn by lot")
        return TorchBackend(msgspec.structs.replace(bare, home=folder, weights=weights), "cpu", "fp32")


if __name__ == "__main__":
    main()
