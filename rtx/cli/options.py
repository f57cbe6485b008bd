"""Options that several commands have."""

from __future__ import annotations

import json
from typing import Annotated

import typer

Explainer = Annotated[
    str | None, typer.Option(help="One of [bold]rtx explainers[/]; then steps: [bold]'ksigma(k=2) | selective(n=4)'[/]")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="Model, see [bold]rtx models list[/]; or your own: [bold]FOLDER/card.toml[/], [bold]module:factory[/]."
    ),
]
Layer = Annotated[
    str | None, typer.Option(help="Layer that gives the features. [dim](default: the last with time and space)[/]")
]
Target = Annotated[
    str | None, typer.Option(help="Class to explain, by name or number. [dim](default: the top class)[/]")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Backend = Annotated[
    str | None,
    typer.Option(help="torch, compile, graphs, onnx or openvino."),
]
Precision = Annotated[
    str | None, typer.Option(help="auto, fp32, bf16 or fp16. [dim](default: the quickest that the device has)[/]")
]


def settings_of(
    changes: list[str] | None, model: str | None, layer: str | None, explainer: str | None, target: str | None,
    device: str | None, backend: str | None, precision: str | None,
) -> list[str]:  # fmt: skip
    """Options that have a name of their own, as `--set` would say them."""
    given = {
        "model": model, "layer": layer, "explainer": explainer, "target": target, "device": device, "backend": backend,
        "precision": precision,
    }  # fmt: skip
    named = [f"worker.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return [*(changes or []), *named]
