"""A user's own checkpoint as a model: its weights renamed and kept as safetensors, with a card beside them."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file

from rtx import resources
from rtx.errors import UserError, unknown
from rtx.fetch import sha256
from rtx.nets import cards
from rtx.nets.keys import renamed
from rtx.nets.weights import read_state
from rtx.nets.zoo import ARCHITECTURES, make


def add(
    checkpoint: Path, arch: str, labels: Path, name: str, clip: Mapping[str, Any], arguments: Mapping[str, Any]
) -> cards.Card:
    """A card of this name for a checkpoint, in the user's folder of models. UserError says what does not fit."""
    bare = {card.arch: card for card in map(cards.card, cards.names()) if card.bare}
    if arch not in bare:
        raise unknown("architecture", arch, bare)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name) or (resources.MODELS / name).exists():
        raise UserError(f"model name {name!r}: lower-case letters, digits, - and _, and none of rtx's own; give --name")
    classes = _labels(labels)
    try:
        taken = msgspec.convert(msgspec.to_builtins(bare[arch].clip) | dict(clip), cards.Clip)
    except msgspec.ValidationError as error:
        raise UserError(f"--clip: {error}") from None
    with torch.device("meta"):
        network = make(bare[arch].architecture, len(classes), taken, bare[arch].arguments | dict(arguments))
    weights = renamed(read_state(checkpoint), network.published(), ARCHITECTURES[bare[arch].architecture].names)
    folder = resources.own_models() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as half:
        made = Path(half) / name
        made.mkdir()
        save_file({key: value.float().contiguous() for key, value in weights.items()}, made / "weights.safetensors")
        (made / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
        (made / "card.toml").write_text(_card(name, bare[arch], checkpoint, arguments, taken, made), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # Of the same name: the new one takes its place.
        os.replace(made, folder)
    return cards.card(name)


def _card(
    name: str, like: cards.Card, checkpoint: Path, arguments: Mapping[str, Any], clip: cards.Clip, folder: Path
) -> str:
    tables = {
        "arguments": like.arguments | dict(arguments),
        "clip": msgspec.to_builtins(clip),
        **({} if like.flow is None else {"flow": msgspec.to_builtins(like.flow)}),
        "weights": {"sha256": sha256(folder / "weights.safetensors"), "licence": "that of the checkpoint"},
    }
    head = {
        "name": name, "title": f"{like.title}, from {checkpoint.name}", "architecture": like.architecture,
        "paper": like.paper, "theta": like.theta,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in head.items()]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _labels(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(
            f"--labels {str(path)!r}: {error.strerror}; give a text file with a class's name on each line"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"--labels {str(path)!r} is no UTF-8 text with a class's name on each line") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not all(lines):
        raise UserError(f"--labels {str(path)!r}: a class's name on each line, and no empty line between")
    return lines
