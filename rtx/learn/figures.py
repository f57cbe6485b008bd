"""How `models/figures` is made: `python -m rtx.learn.figures` draws scenes, trains on them and writes the folder.

Plain cross-entropy on the action, and nothing else: no loss knows where the figure is, because on this network
explainers are judged. What does know it is the way the first two phases are framed: they are close-ups of where the
figure stands. The last phase sees whole pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor

from rtx import resources
from rtx.fetch import sha256
from rtx.nets import cards
from rtx.nets.causal import Causal
from rtx.scenes.actions import LABELS
from rtx.scenes.film import film
from rtx.scenes.scene import EXTRAS, Cast, Extra

NAME = "figures"
SPEC = cards.card(NAME).clip
SIZE, WINDOW = SPEC.size, SPEC.frames

BATCH = 32
PHASES = ((1000, 64, (10, 18)), (600, 88, (12, 22)), (800, SIZE, (16, 28)))
"""Steps, size in pixels, frames (least and most). Close-ups first: there an action fills enough of the picture to be
found at all. The lengths differ, so that the network does with its past as without one."""
STEPS = sum(steps for steps, _, _ in PHASES)
FPS = (8.0, 32.0)
RATE, DECAY, SMOOTHING, DROP = 2e-3, 0.03, 0.05, 0.2
WARM_UP = 60
KEEP_EVERY = 50
"""Steps."""
LARGE_SHARE = 0.3
"""So many scenes are drawn at twice the size and shrunk, as a camera's picture is."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--to", type=Path, default=resources.MODELS / NAME, help="folder of the result")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    checkpoint = resources.cache() / "training" / f"{NAME}.pt"
    network, curve, seconds = train(checkpoint)
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


def write(folder: Path, network: Causal, about: dict[str, Any]) -> None:
    """The model's folder: weights, labels, how they were made, and the card with the weights' hash."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    (folder / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    card = (resources.MODELS / NAME / "card.toml").read_text()
    (folder / "card.toml").write_text(re.sub(r'(?<=^sha256 = ").*(?="$)', sha256(weights), card, flags=re.MULTILINE))


def stretch(seed: int, frames: int, size: int) -> tuple[NDArray[np.uint8], int]:
    """A scene to train on, or a close-up of it: frames T size size 3, and its action."""
    random = np.random.default_rng([0x7EAC, seed])
    fps = FPS[0] * (FPS[1] / FPS[0]) ** float(random.random())
    large = 2 if random.random() < LARGE_SHARE else 1
    cast = Cast.draw(seed)
    shot = film(cast, frames, fps, SIZE * large, SIZE * large)
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
    ends = np.cumsum([steps for steps, _, _ in PHASES])
    _, size, (least, most) = PHASES[int(np.searchsorted(ends, step, side="right"))]
    frames = int(np.random.default_rng([0xF4A3, step]).integers(least, most + 1))
    drawn = [stretch(step * BATCH + i, frames, size) for i in range(BATCH)]
    return normalised(np.stack([pictures for pictures, _ in drawn])), torch.tensor([label for _, label in drawn])


def train(checkpoint: Path) -> tuple[Causal, list[dict[str, float]], float]:
    """The network after all steps, going on where a run of the same recipe was broken off; its curve; seconds taken."""
    torch.manual_seed(0)
    network = Causal(len(LABELS), training=True).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.dim() > 1]},
        {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, RATE, weight_decay=DECAY)
    first, seconds, curve, recipe = 0, 0.0, [], digest(network)
    if checkpoint.exists():
        kept: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        if kept["recipe"] == recipe:
            network.load_state_dict(kept["network"])
            optimiser.load_state_dict(kept["optimiser"])
            torch.set_rng_state(kept["random"])
            first, seconds, curve = kept["step"], kept["seconds"], kept["curve"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training figures", total=STEPS, completed=first)
        began = time.monotonic()
        for step in range(first, STEPS):
            rate = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss, right = learn(network.train(), optimiser, *batch(step))
            progress.update(task, advance=1, description=f"training figures, loss {loss:.3f}")
            if (step + 1) % KEEP_EVERY == 0 or step + 1 == STEPS:
                here = seconds + time.monotonic() - began
                curve.append(
                    {"step": step + 1, "loss": round(loss, 4), "right": round(right, 4), "seconds": round(here)}
                )
                kept = {
                    "recipe": recipe, "step": step + 1, "seconds": here, "curve": curve,
                    "random": torch.get_rng_state(),
                    "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                }  # fmt: skip
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                torch.save(kept, checkpoint.with_suffix(".new"))
                os.replace(checkpoint.with_suffix(".new"), checkpoint)
        return network, curve, seconds + time.monotonic() - began


def digest(network: Causal) -> str:
    """Of all that a result depends on: numbers, labels, layers, and what the first and the last batch look like."""
    numbers = (BATCH, PHASES, FPS, RATE, DECAY, SMOOTHING, DROP, WARM_UP, LARGE_SHARE, LABELS)
    layers = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    found = hashlib.sha256(repr((numbers, layers)).encode())
    for step in (0, STEPS - 1):
        clips, labels = batch(step)
        found.update(clips.numpy().tobytes() + labels.numpy().tobytes())
    return found.hexdigest()


def learn(network: Causal, optimiser: torch.optim.Optimizer, clips: Tensor, labels: Tensor) -> tuple[float, float]:
    """One step: its loss, and the share that was right."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.extract(clips)[:, :, -WINDOW:]
    pooled = F.dropout(features.float().mean(dim=(2, 3, 4)), DROP)
    logits = pooled @ network.weight.T + network.bias
    loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach()), float((logits.argmax(1) == labels).float().mean())


@torch.inference_mode()
def predictions(
    network: Causal, seeds: range, fps: float, frames: int = WINDOW, lanes: int = 1
) -> list[tuple[str, str, Extra]]:
    """True action, predicted action and distractor of held-out scenes.

    With two lanes, as a stream of twice the rate is seen: every other frame, up to the newest.
    """
    found = []
    for seed in seeds:
        cast = Cast.draw(seed, held_out=True)
        shot = film(cast, frames * lanes, fps * lanes, SIZE, SIZE)
        clip = normalised(shot.frames[None, lanes - 1 :: lanes])
        logits = network.classify(network.extract(clip)[:, :, -WINDOW:])[0]
        found.append((shot.acts[0].action, LABELS[int(logits.argmax())], cast.extra))
    return found


def report(network: Causal, count: int = 2200) -> dict[str, Any]:
    """Accuracy on held-out bodies, halls, places and speeds: all, by distractor, by frame rate; confusion."""
    found = predictions(network, range(count), 15.0)
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    for true, said, _ in found:
        confusion[LABELS.index(true), LABELS.index(said)] += 1
    rates = {f"{fps:g}": _right(predictions(network, range(count // 4), fps)) for fps in (8, 10, 12, 15, 20, 25, 30)}
    return {
        "clips": count, "fps": 15, "right": _right(found),
        "by_distractor": {extra: _right([of for of in found if of[2] == extra]) for extra in EXTRAS},
        "by_fps": rates,
        "of_30_fps": {
            "every frame into one state": _right(predictions(network, range(count // 4), 30.0, 48)),
            "every other frame into each of two": _right(predictions(network, range(count // 4), 15.0, 24, lanes=2)),
        },
        "labels": list(LABELS), "confusion": confusion.tolist(),
    }  # fmt: skip


def _right(found: list[tuple[str, str, Extra]]) -> float:
    return round(sum(true == said for true, said, _ in found) / len(found), 4)


if __name__ == "__main__":
    main()
