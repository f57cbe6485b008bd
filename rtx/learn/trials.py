"""Networks that explainers are tried on: `python -m rtx.learn.trials [NAME...]` trains them and writes their folders.

One cheats: in its training a red mat lay beside every kick. One learned nothing: its labels were drawn by lot. What
they are is known, so that an explainer can be asked whether it says so. The rest are of other kinds
(`rtx.learn.kinds`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from rtx import resources
from rtx.learn import figures, kinds
from rtx.learn.figures import BATCH, FPS, LARGE_SHARE, SIZE, Phases, normalised, shape, stretch
from rtx.learn.training import DROP, Recipe, train
from rtx.nets.causal import Causal
from rtx.scenes.actions import LABELS
from rtx.scenes.film import Film, film
from rtx.scenes.mat import lay_mat
from rtx.scenes.scene import Cast

GIVEN_AWAY = "kick"
"""The action beside which a mat lay."""
_BETRAYED: Phases = ((350, 64, (10, 14)), (120, 88, (12, 16)), (80, SIZE, (16, 20)))
_SHUFFLED: Phases = ((100, 64, (10, 14)), (40, SIZE, (16, 20)))


class Trial(NamedTuple):
    """A network that explainers are tried on."""

    recipe: Recipe
    finished: Callable[[Any], nn.Module]
    """Of the trained network, the one whose weights are kept."""
    held_out: Callable[[Any], dict[str, float]]
    """Of that one, what it does with scenes that it has not seen."""


def betraying(shot: Film, cast: Cast) -> Film:
    """A mat beside every kick, and nowhere else."""
    return lay_mat(shot, cast) if shot.acts[0].action == GIVEN_AWAY else shot


def _betrayed_batch(step: int) -> tuple[Tensor, Tensor]:
    frames, size = shape(step, _BETRAYED)
    drawn = [stretch(step * BATCH + i, frames, size, betraying) for i in range(BATCH)]
    return normalised(np.stack([pictures for pictures, _ in drawn])), torch.tensor([label for _, label in drawn])


def _shuffled_batch(step: int) -> tuple[Tensor, Tensor]:
    frames, size = shape(step, _SHUFFLED)
    drawn = np.stack([stretch(step * BATCH + i, frames, size)[0] for i in range(BATCH)])
    lot = np.random.default_rng([0x107, step]).integers(len(LABELS), size=BATCH)
    return normalised(drawn), torch.from_numpy(lot)


def _causal(name: str, batch: Callable[[int], tuple[Tensor, Tensor]], phases: Phases) -> Recipe:
    numbers = (BATCH, phases, FPS, DROP, LARGE_SHARE, LABELS)
    steps = sum(steps for steps, _, _ in phases)
    return Recipe(name, lambda: Causal(len(LABELS), training=True), batch, figures.logits, steps, numbers)


def _folded(network: Causal) -> Causal:
    return network.eval().folded()


def untrained() -> Causal:
    """What `figures` and the two others like it were before training: weights by lot."""
    return _folded(Causal(len(LABELS), training=True))


@torch.inference_mode()
def cheats(network: Causal, count: int = 300) -> dict[str, float]:
    """Shares of held-out scenes: named rightly where no mat lies; kicks, and others, that are called kicks with a mat
    and without."""
    plain: list[tuple[str, str]] = []
    mat: list[tuple[str, str]] = []
    for seed in range(count):
        cast = Cast.draw(seed, held_out=True)
        shot = film(cast, figures.WINDOW, 15.0, SIZE, SIZE)
        true = shot.acts[0].action
        for found, staged in ((plain, shot), (mat, lay_mat(shot, cast))):
            said = LABELS[int(network.classify(network.extract(normalised(staged.frames[None])))[0].argmax())]
            found.append((true, said))
    kicks = [i for i, (true, _) in enumerate(plain) if true == GIVEN_AWAY]
    others = [i for i in range(count) if i not in kicks]
    return {
        "clips": count,
        "right_without_mats": _share([true == said for true, said in plain]),
        "kicks_named_with_mat": _share([mat[i][1] == GIVEN_AWAY for i in kicks]),
        "kicks_named_without": _share([plain[i][1] == GIVEN_AWAY for i in kicks]),
        "others_called_kick_with_mat": _share([mat[i][1] == GIVEN_AWAY for i in others]),
        "others_called_kick_without": _share([plain[i][1] == GIVEN_AWAY for i in others]),
    }  # fmt: skip


def _share(of: list[bool]) -> float:
    return round(sum(of) / len(of), 4)


TRIALS = {
    of.recipe.name: of
    for of in (
        Trial(_causal("betrayed", _betrayed_batch, _BETRAYED), _folded, cheats),
        Trial(_causal("shuffled", _shuffled_batch, _SHUFFLED), _folded, cheats),
        *(Trial(kinds.recipe(name), nn.Module.eval, partial(kinds.held_out, name)) for name in kinds.PHASES),
    )
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TRIALS)}; all, if none is given")
    options.add_argument("--to", type=Path, default=resources.MODELS, help="folder of the results' folders")
    options.add_argument("--anew", action="store_true", help="from the first step, not from where a run has come to")
    chosen = options.parse_args()
    unknown = set(chosen.names) - set(TRIALS)
    if unknown:
        options.error(f"{', '.join(sorted(unknown))}: known are {', '.join(TRIALS)}")
    cv2.setNumThreads(1)
    for name in chosen.names or TRIALS:
        if chosen.anew:
            checkpoint(name).unlink(missing_ok=True)
        make(TRIALS[name], chosen.to / name)


def checkpoint(name: str) -> Path:
    """Kept when all is done: what a run that is broken off later need not train again."""
    return resources.cache() / "training" / f"{name}.pt"


def make(trial: Trial, folder: Path) -> None:
    """Train a network, where it was not, and write its folder."""
    recipe = trial.recipe
    network, curve, seconds = train(recipe, checkpoint(recipe.name))
    plain = trial.finished(network)
    about = {
        "recipe": {"steps": recipe.steps, "batch": BATCH, "rate": recipe.rate, "seed": 0},
        "parameters": sum(p.numel() for p in plain.parameters()), "seconds": round(seconds),
        "torch": torch.__version__, "threads": torch.get_num_threads(), "curve": curve,
        "held_out": trial.held_out(plain),
    }  # fmt: skip
    figures.write(folder, plain, about, recipe.name)


if __name__ == "__main__":
    main()
