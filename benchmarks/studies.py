"""What `rtx eval` says of rtx's networks, kept with the results: `python -m benchmarks.studies [STUDY...]`.

A result that is there for the same weights, clips and explainers is left as it is, and one that was broken off goes on
at the next clip; `--anew` measures all again. Films lie beside the project and are no part of it; without them their
rows are left out.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import torch
from safetensors.torch import save_file

import rtx
from benchmarks.record import RESULTS, keep, show
from rtx.cli.evaluate import fill
from rtx.engine.torch_backend import TorchBackend
from rtx.evaluate.examples import examples_of
from rtx.evaluate.rows import Rows
from rtx.evaluate.studies import STUDIES
from rtx.evaluate.study import Row, Study, about, known, means, measured
from rtx.fetch import sha256
from rtx.learn import trials
from rtx.nets import cards
from rtx.nets.zoo import make

SHARED = Path(__file__).parent.parent.parent / "shared"


class Of(NamedTuple):
    """A network and what it is shown."""

    model: str
    clips: str
    only: tuple[str, ...] = ("*",)
    """Of a folder's films, those that are called so."""
    explainers: tuple[str, ...] = ()
    """Where not the study's own are asked."""
    lots: int = 0
    """So many networks as training begins with them, of other random weights each; means over clips are kept."""

    def result(self, study: str) -> str:
        """Under which name it is kept."""
        more = ["lots"] if self.lots else [] if self.clips.isdecimal() else [Path(self.clips).name]
        return "-".join(["eval", study, self.model, *more])

    @property
    def missing(self) -> str:
        """Why it cannot be asked here; empty: it can."""
        if not self.clips.isdecimal() and not Path(self.clips).is_dir():
            return f"there is no folder {self.clips}"
        if not cards.card(self.model).here:
            return f"`rtx models pull {self.model}` fetches it"
        return ""


EARLIER = {"version": 1, "device": "cpu"}
"""Of results that do not say so."""
SEED, CLASSES = 0, 400
"""Of weights that are drawn by lot."""
SCENES = "40"
FILMS = Of("i3d-k400", str(SHARED / "clips"), ("*.mp4", "*.avi", "flipping_pancake.mkv", "asl_book.mkv"))
"""Each of another scene; the rest are of the one person who signs in `asl_book.mkv`."""
KNOWN = Of("i3d-k400", str(SHARED / "clips"), ("*.mp4",))
"""Three of which the network knows the class, for what takes hundreds of passes a clip."""
FIGHTS = Of("i3d-k400", str(SHARED / "data" / "fight"), ("*00[1-8].mp4",))
"""Eight fights and eight others, by surveillance cameras: many scenes, of which the network knows no class."""
WALL = Of("i3d-k400", str(SHARED / "data" / "weizmann"))
"""People before a wall, from whom GrabCut tells it."""
TWIN = Of("hall-twin", SCENES)
NETWORKS = tuple(
    Of(name, KNOWN.clips, KNOWN.only, ("pyramid",))
    for name in ("mfnet", "resnet-50", "resnet-101", "resnet-152", "resnext-101")
)
"""Those of Class Feature Pyramids, Table 1, with random weights: of what explaining costs they say as much."""
ASKED: dict[str, tuple[Of, ...]] = {
    "agreement": (Of("figures", SCENES), TWIN, FILMS, FIGHTS), "motion": (Of("figures", SCENES), TWIN, FILMS, FIGHTS),
    "localise": (Of("figures", SCENES), TWIN, Of("hall-c3d", SCENES), Of("hall-resnet", SCENES), WALL),
    "overhead": (Of("figures", "10"), Of("hall-twin", "10"), KNOWN, *NETWORKS),
    "sanity": (Of("figures", "20"), KNOWN), "faithful": (Of("figures", "20"), KNOWN),
    "classes": (Of("figures", "100"), Of("shuffled", "100"), Of("figures", "16", lots=12)),
    "cheat": (Of("betrayed", "24"), Of("figures", "24")),
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("studies", nargs="*", metavar="STUDY", choices=[[], *ASKED], help=", ".join(ASKED))
    options.add_argument("--model", help="of this one alone")
    options.add_argument("--anew", action="store_true")
    chosen = options.parse_args()
    for name in chosen.studies or ASKED:
        for of in (of for of in ASKED[name] if chosen.model in (None, of.model)):
            if of.missing:
                print(f"{name} of {of.model}: left out, {of.missing}")
            else:
                run(STUDIES[name], of, chosen.anew)


def run(study: Study, of: Of, anew: bool) -> None:
    random = of.lots or cards.card(of.model).bare
    backend = drawn(of, SEED) if random else rtx.load(of.model, device="cpu", precision="fp32")
    explainers = list(of.explainers) or study.fitting(backend)
    material = examples_of(backend, of.clips, study.boxed, study.scene, study.named)
    chosen = [name for name in material.names if any(fnmatch.fnmatch(name, only) for only in of.only)]
    seeds = f"seeds {SEED} to {SEED + of.lots - 1}" if of.lots else f"seed {SEED}"
    weights = {"weights": f"random, {seeds}"} if random else {}
    settings = {**about(backend), **weights, "version": study.version, "explainers": explainers, "of": material.says,
                "clips": chosen}  # fmt: skip
    name = of.result(study.name)
    path = RESULTS / f"{name}.json"
    if not anew and path.exists() and EARLIER | json.loads(path.read_text())["settings"] == settings:
        print(f"{path.name}: there already")
        return
    with Rows(path, settings, Row) as rows:
        if of.lots:
            networks = [f"lot {seed}" for seed in range(SEED, SEED + of.lots)]
            fill(rows, networks, lambda names: (by_lot(study, of, explainers, name) for name in names))
        else:
            fill(rows, chosen, lambda names: measured(study, backend, explainers, material, names))
        found = means(rows.known, study.middle)
        columns = list(dict.fromkeys(column for row in found.values() for column in row))
        lines = [[row, *(mean and round(mean.mean, 3) for mean in (of.get(column) for column in columns))]
                 for row, of in found.items()]  # fmt: skip
        show(
            f"{study.asks} {of.model} ({backend.precision}) on {len(chosen)} of {material.says}", ["", *columns], lines
        )
        keep(
            name, {"settings": settings, "means": msgspec.to_builtins(found), "clips": msgspec.to_builtins(rows.known)}
        )
        rows.done()


def by_lot(study: Study, of: Of, explainers: Sequence[str], name: str) -> Row:
    """One network with random weights, by its name, `lot 3`: means over the clips."""
    backend = drawn(of, int(name.removeprefix("lot ")))
    material = examples_of(backend, of.clips, study.boxed, study.scene, study.named)
    found = means(list(measured(study, backend, explainers, material, material.names)), study.middle)
    return Row(name, {row: {column: mean and known(mean.mean) for column, mean in columns.items()}
                      for row, columns in found.items()})  # fmt: skip


def drawn(of: Of, seed: int) -> TorchBackend:
    """A network with weights drawn by lot: an architecture of rtx's for 400 classes, or one as its training begins."""
    card = cards.card(of.model)
    torch.manual_seed(seed)
    labels = card.labels if of.lots else tuple(f"class {number}" for number in range(CLASSES))
    network = trials.untrained() if of.lots else make(card.architecture, CLASSES, card.clip, card.arguments)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file(network.state_dict(), file)
        (Path(folder) / "labels.txt").write_text("\n".join(labels))
        weights = cards.Weights(sha256(file), "drawn by lot")
        return TorchBackend(msgspec.structs.replace(card, home=folder, weights=weights), "cpu", "fp32")


if __name__ == "__main__":
    main()
