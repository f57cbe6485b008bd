"""How `models/figures` is made: `python -m rtx.learn.figures` draws scenes, trains on them and writes the folder.

Plain cross-entropy on the action, and nothing else: no loss knows where the figure is, because on this network
explainers are judged. What does know it is the way the first two phases are framed: they are close-ups of where the
figure stands. The last phase sees whole pictures.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from rtx import resources
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.fetch import sha256
from rtx.learn.training import DECAY, DROP, RATE, SMOOTHING, Recipe, train
from rtx.nets import cards
from rtx.nets.causal import Causal
from rtx.nets.forward import Staged
from rtx.scenes.actions import LABELS
from rtx.scenes.film import Film, film
from rtx.scenes.scene import EXTRAS, Cast, Extra

NAME = "figures"
SPEC = cards.card(NAME).clip
SIZE, WINDOW = SPEC.size, SPEC.frames

Phases = tuple[tuple[int, int, tuple[int, int]], ...]
Prepare = Callable[[NDArray[np.uint8]], Tensor]
"""N T H W 3 (BGR) -> N C T H W, as the network's card says."""

BATCH = 32
PHASES: Phases = ((1000, 64, (10, 18)), (600, 88, (12, 22)), (800, SIZE, (16, 28)))
"""Steps, size in pixels, frames (least and most). Close-ups first: there an action fills enough of the picture to be
found at all. The lengths differ, so that the network does with its past as without one."""
STEPS = sum(steps for steps, _, _ in PHASES)
FPS = (8.0, 32.0)
LARGE_SHARE = 0.3
"""So many scenes are drawn at twice the size and shrunk, as a camera's picture is."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--to", type=Path, default=resources.MODELS / NAME, help="folder of the result")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    checkpoint = resources.cache() / "training" / f"{NAME}.pt"
    network, curve, seconds = train(recipe(), checkpoint)
    assert isinstance(network, Causal)
    plain = network.eval().folded()
    about = {
        "recipe": {
            "phases (steps, pixels, frames)": PHASES, "batch": BATCH, "fps": FPS, "rate": RATE, "decay": DECAY,
            "label_smoothing": SMOOTHING, "dropout": DROP, "drawn_large": LARGE_SHARE, "seed": 0,
            "framing": f"where fewer than {SIZE} pixels: close-ups cut from {SIZE} around where the figure stands",
        },
        "parameters": sum(p.numel() for p in plain.parameters()), "seconds": round(seconds),
        "torch": torch.__version__, "threads": torch.get_num_threads(), "curve": curve, "held_out": report(plain),
    }  # fmt: skip
    write(chosen.to, plain, about)
    checkpoint.unlink()


def write(folder: Path, network: nn.Module, about: dict[str, Any], name: str = NAME) -> None:
    """The model's folder: weights, labels, how they were made, and its card with the weights' hash."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    (folder / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    card = (resources.MODELS / name / "card.toml").read_text()
    (folder / "card.toml").write_text(re.sub(r'(?<=^sha256 = ").*(?="$)', sha256(weights), card, flags=re.MULTILINE))


def stretch(
    seed: int, frames: int, size: int, staged: Callable[[Film, Cast], Film] = lambda shot, _: shot
) -> tuple[NDArray[np.uint8], int]:
    """A scene to train on, or a close-up of it: frames T size size 3, and its action.

    `staged` is what becomes of the film before anybody sees it.
    """
    random = np.random.default_rng([0x7EAC, seed])
    fps = FPS[0] * (FPS[1] / FPS[0]) ** float(random.random())
    large = 2 if random.random() < LARGE_SHARE else 1
    cast = Cast.draw(seed)
    shot = staged(film(cast, frames, fps, SIZE * large, SIZE * large), cast)
    pictures = shot.frames
    if large > 1:
        pictures = np.stack([cv2.resize(p, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for p in pictures])
    x, y = (SIZE * centre - size / 2 + random.uniform(-6, 6) for centre in cast.centre)
    x, y = (round(min(max(0, corner), SIZE - size)) for corner in (x, y))
    return pictures[:, y : y + size, x : x + size], LABELS.index(shot.acts[0].action)


def normalised(clips: NDArray[np.uint8]) -> Tensor:
    """N T H W 3 (BGR) -> N 3 T H W (RGB), as the card says."""
    channels_first = torch.from_numpy(clips).flip(-1).permute(0, 4, 1, 2, 3)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (SPEC.mean, SPEC.std))
    return ((channels_first.float() - mean) / std).contiguous(memory_format=torch.channels_last_3d)


def batch(step: int) -> tuple[Tensor, Tensor]:
    """The stretches of a step, all of one length, and their actions."""
    frames, size = shape(step, PHASES)
    drawn = [stretch(step * BATCH + i, frames, size) for i in range(BATCH)]
    return normalised(np.stack([pictures for pictures, _ in drawn])), torch.tensor([label for _, label in drawn])


def shape(step: int, phases: Phases) -> tuple[int, int]:
    """Frames and pixels of a step's stretches."""
    ends = np.cumsum([steps for steps, _, _ in phases])
    _, size, (least, most) = phases[int(np.searchsorted(ends, step, side="right"))]
    return int(np.random.default_rng([0xF4A3, step]).integers(least, most + 1)), size


def recipe() -> Recipe:
    """What is trained."""
    numbers = (BATCH, PHASES, FPS, DROP, LARGE_SHARE, LABELS)
    return Recipe(NAME, lambda: Causal(len(LABELS), training=True), batch, logits, STEPS, numbers)


def logits(network: Causal, clips: Tensor) -> Tensor:
    """What the network says of clips while it trains: in bf16 where the CPU has it, pooled features dropped."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cpu_has_bf16()):
        features = network.extract(clips)[:, :, -WINDOW:]
    pooled = F.dropout(features.float().mean(dim=(2, 3, 4)), DROP)
    return pooled @ network.weight.T + network.bias


@torch.inference_mode()
def predictions(
    network: Staged, seeds: range, fps: float, frames: int = WINDOW, lanes: int = 1, prepare: Prepare = normalised
) -> list[tuple[str, str, Extra]]:
    """True action, predicted action and distractor of held-out scenes.

    With two lanes, as a stream of twice the rate is seen: every other frame, up to the newest.
    """
    found = []
    for seed in seeds:
        cast = Cast.draw(seed, held_out=True)
        shot = film(cast, frames * lanes, fps * lanes, SIZE, SIZE)
        clip = prepare(shot.frames[None, lanes - 1 :: lanes])
        logits = network.classify(network.extract(clip)[:, :, -WINDOW:])[0]
        found.append((shot.acts[0].action, LABELS[int(logits.argmax())], cast.extra))
    return found


def report(network: Causal, count: int = 2200) -> dict[str, Any]:
    """Accuracy on held-out bodies, halls, places and speeds: all, by distractor, by frame rate; confusion."""
    found = predictions(network, range(count), 15.0)
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    for true, said, _ in found:
        confusion[LABELS.index(true), LABELS.index(said)] += 1
    rates = {f"{fps:g}": rightly(predictions(network, range(count // 4), fps)) for fps in (8, 10, 12, 15, 20, 25, 30)}
    return {
        "clips": count, "fps": 15, "right": rightly(found),
        "by_distractor": {extra: rightly([of for of in found if of[2] == extra]) for extra in EXTRAS},
        "by_fps": rates,
        "of_30_fps": {
            "every frame into one state": rightly(predictions(network, range(count // 4), 30.0, 48)),
            "every other frame into each of two": rightly(predictions(network, range(count // 4), 15.0, 24, lanes=2)),
        },
        "labels": list(LABELS), "confusion": confusion.tolist(),
    }  # fmt: skip


def rightly(found: list[tuple[str, str, Extra]]) -> float:
    """The share of predictions that are right: 0..1."""
    return round(sum(true == said for true, said, _ in found) / len(found), 4)


if __name__ == "__main__":
    main()
