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
from typing import NamedTuple

import msgspec

import rtx
from benchmarks.record import RESULTS, keep, show
from rtx.evaluate.examples import examples_of
from rtx.evaluate.studies import STUDIES
from rtx.evaluate.study import Study, about, means, measured
from rtx.nets import cards

SHARED = Path(__file__).parent.parent.parent / "shared"


class Of(NamedTuple):
    """A network and what it is shown."""

    model: str
    clips: str
    only: str = "*"
    """Of a folder's films, those that are called so."""


SCENES = "40"
CLIPS = Of("i3d-k400", str(SHARED / "clips"))
KNOWN = Of("i3d-k400", str(SHARED / "clips"), "*.mp4")
"""Clips whose class is one of the network's, for what takes hundreds of passes a clip."""
FIGHTS = Of("i3d-k400", str(SHARED / "data" / "fight"), "*00[1-4].mp4")
TWIN = Of("hall-twin", SCENES)
ASKED: dict[str, tuple[Of, ...]] = {
    "agreement": (Of("figures", SCENES), TWIN, CLIPS, FIGHTS), "motion": (Of("figures", SCENES), TWIN, CLIPS, FIGHTS),
    "localise": (Of("figures", SCENES),), "overhead": (Of("figures", "10"), KNOWN),
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
    backend = rtx.load(of.model, device="cpu")
    explainers = study.fitting(backend)
    material = examples_of(backend, of.clips, study.boxed, study.scene)
    chosen = fnmatch.filter(material.names, of.only)
    settings = {**about(backend), "explainers": explainers, "of": material.says, "clips": chosen}
    name = "-".join(["eval", study.name, of.model, *([] if of.clips.isdecimal() else [Path(of.clips).name])])
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


if __name__ == "__main__":
    main()
