"""Trains the hall's networks: plain cross-entropy over a recipe's batches, going on where one was broken off."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

RATE, DECAY, SMOOTHING, DROP = 2e-3, 0.03, 0.05, 0.2
WARM_UP = 60
KEEP_EVERY = 50
"""Steps."""

Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Recipe:
    """All that a trained network depends on."""

    name: str
    make: Callable[[], nn.Module]
    """The network before training."""
    batch: Callable[[int], tuple[Tensor, Tensor]]
    """Of a step: clips N C T H W, and their classes N."""
    logits: Callable[[Any, Tensor], Tensor]
    """What it says of clips while it trains: N M."""
    steps: int
    numbers: tuple[Any, ...]
    """What else belongs to the recipe: another number is another recipe."""
    rate: float = RATE


class Trained(NamedTuple):
    """What a recipe gave."""

    network: nn.Module
    curve: Curve
    seconds: float


def train(recipe: Recipe, checkpoint: Path) -> Trained:
    """The network after all steps, going on from `checkpoint` where a run of the same recipe was broken off."""
    torch.manual_seed(0)
    network = recipe.make().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if p.dim() > 1]},
        {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, recipe.rate, weight_decay=DECAY)
    first, seconds, curve, known = 0, 0.0, [], digest(recipe, network)
    if checkpoint.exists():
        kept: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        if kept["recipe"] == known:
            network.load_state_dict(kept["network"])
            optimiser.load_state_dict(kept["optimiser"])
            torch.set_rng_state(kept["random"])
            first, seconds, curve = kept["step"], kept["seconds"], kept["curve"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(f"training {recipe.name}", total=recipe.steps, completed=first)
        began = time.monotonic()
        for step in range(first, recipe.steps):
            share = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * share
            loss, right = learn(recipe, network.train(), optimiser, *recipe.batch(step))
            progress.update(task, advance=1, description=f"training {recipe.name}, loss {loss:.3f}")
            if (step + 1) % KEEP_EVERY == 0 or step + 1 == recipe.steps:
                here = seconds + time.monotonic() - began
                curve.append(
                    {"step": step + 1, "loss": round(loss, 4), "right": round(right, 4), "seconds": round(here)}
                )
                kept = {
                    "recipe": known, "step": step + 1, "seconds": here, "curve": curve,
                    "random": torch.get_rng_state(),
                    "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                }  # fmt: skip
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                torch.save(kept, checkpoint.with_suffix(".new"))
                os.replace(checkpoint.with_suffix(".new"), checkpoint)
        return Trained(network, curve, seconds + time.monotonic() - began)


def digest(recipe: Recipe, network: nn.Module) -> str:
    """Of all that a result depends on: numbers, layers, and what the first and the last batch look like."""
    numbers = (DECAY, SMOOTHING, WARM_UP, recipe.steps, recipe.rate, *recipe.numbers)
    layers = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    found = hashlib.sha256(repr((numbers, layers)).encode())
    for step in (0, recipe.steps - 1):
        clips, labels = recipe.batch(step)
        found.update(clips.numpy().tobytes() + labels.numpy().tobytes())
    return found.hexdigest()


def learn(
    recipe: Recipe, network: nn.Module, optimiser: torch.optim.Optimizer, clips: Tensor, labels: Tensor
) -> tuple[float, float]:
    """One step: its loss, and the share that was right. RuntimeError where gradients are not finite."""
    logits = recipe.logits(network, clips)
    loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0, error_if_nonfinite=True)
    optimiser.step()
    return float(loss.detach()), float((logits.argmax(1) == labels).float().mean())
