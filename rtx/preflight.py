"""Everything that can go wrong and can be known before a process starts, as one clear line each."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from rtx.capture.sources import kind
from rtx.config import Pipeline, resolve
from rtx.errors import UserError, unknown
from rtx.explain.chain import chain_for
from rtx.nets import cards, weights

DEVICES = ("auto", "cpu", "cuda")


def check_pipeline(pipeline: Pipeline, console: Console) -> None:
    """Raises UserError. Fetches the model's weights where they are not here yet."""
    parts = pipeline.link.parts
    if "capture" in parts:
        for camera in pipeline.camera:
            check_source(camera.source)
            if camera.pace == "every" and kind(camera.source) not in ("file", "synthetic"):
                raise UserError(f"camera {camera.name!r}: pace = 'every' is for files; a live source cannot wait")
    if "engine" in parts:
        check_model(pipeline.worker.model, pipeline.worker.explainer, pipeline.worker.target, console)
    if "show" in parts:
        from rtx.show.sinks import check_sinks

        check_sinks(pipeline)


def check_explain(
    model: str, explainer: str, target: str | None, device: str, output: Path | None, console: Console
) -> None:
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    check_model(model, explainer, target, console)
    if output is not None:
        from rtx.show.still import check

        check(output)


def check_model(model: str, explainer: str, target: str | None, console: Console) -> None:
    card = cards.card(model)
    chain_for(explainer, target, card.labels)
    if not card.file.exists():
        with console.status(f"fetching the weights of {model} (once)"):
            weights.pull(card)
    weights.check(card)


def check_source(source: str) -> None:
    """A file must be there; a webcam or stream shows itself when it is opened."""
    if kind(source) == "file":
        path = Path(resolve(source)).expanduser()
        if not path.is_file():
            raise UserError(f"no file {str(path)!r}; give a video file, a webcam, rtsp://... or synthetic:")
        if not os.access(path, os.R_OK):
            raise UserError(f"file {str(path)!r} cannot be read by this user")
