"""Everything that can go wrong and can be known before a process starts, as one clear line each."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from rtx.capture.sources import kind
from rtx.config import Camera, Pipeline, Worker, resolve
from rtx.errors import UserError
from rtx.explain.chain import chain_for, check_backend
from rtx.nets import cards, weights
from rtx.redact import redact

DRAWN = ("synthetic", "scene")
"""Kinds of sources that are made here, with their settings in their URL."""
_URL = re.compile(r".*://|(?:rtsps?|rtmps?|https?|udp|tcp|rtp|srt|synthetic):", re.IGNORECASE)


def check_pipeline(pipeline: Pipeline, console: Console) -> None:
    """Raises UserError. Fetches the model's weights where they are not here yet."""
    parts = pipeline.link.parts
    if "capture" in parts:
        for camera in pipeline.camera:
            check_source(camera.source)
            if camera.pace == "every" and kind(camera.source) not in ("file", *DRAWN):
                raise UserError(f"camera {camera.name!r}: pace = 'every' is for files; a live source cannot wait")
            check_keys(camera)
    if "engine" in parts:
        check_worker(pipeline.worker, console)
    if pipeline.events.record and "show" not in parts:
        raise UserError("events.record = true: recording belongs where the page is; add 'show' to link.parts")
    check_events(pipeline)
    if "show" in parts:
        from rtx.show.sinks import check_sinks

        check_sinks(pipeline)


def check_events(pipeline: Pipeline) -> None:
    """Raises UserError."""
    events = pipeline.events
    if events.release > events.threshold:
        raise UserError(
            f"events.release = {events.release:g} is above events.threshold = {events.threshold:g}: an event would end "
            "as it begins; set release to less"
        )
    for key in ("webhook", "webhook_secret"):
        value = getattr(events, key)
        if value is not None:
            named = resolve(value)
            if key == "webhook" and not named.startswith(("http://", "https://")):
                raise UserError(f"events.webhook = {redact(value)!r}: expected http:// or https://, or env:NAME")
            if key == "webhook_secret" and not value.startswith("env:"):
                raise UserError("events.webhook_secret: a secret does not stand in a file; set it to env:NAME")
    if events.record:
        from rtx.events.store import Store, folder_of

        Store(folder_of(events)).close()


def check_keys(camera: Camera) -> None:
    """Raises UserError for a setting that this kind of source would pass over in silence."""
    of = kind(camera.source)
    url = resolve(camera.source)
    for key, option in (("width", "size"), ("height", "size"), ("fps", "fps")):
        if getattr(camera, key) is None or of == "webcam":
            continue
        if of in DRAWN and not re.search(rf"[?&]{option}=", url):
            continue
        why = f"{option} stands in its URL" if of in DRAWN else f"it is for webcams; a {of} comes as it is"
        raise UserError(f"camera {camera.name!r}: {key} has no effect here: {why}")
    if camera.loop and of != "file":
        raise UserError(f"camera {camera.name!r}: loop has no effect here: it is for files; a {of} has no end")


def check_file(source: str) -> None:
    """Raises UserError for a stream where one file is wanted; its password is not repeated."""
    named = resolve(source)
    if not _URL.match(named) or kind(source) == "scene":
        return
    shown = redact(source)
    if source == named and "://" not in source:  # Without its slashes its password is not recognised as one.
        shown = f"{source.partition(':')[0]}:..."
    raise UserError(f"explain takes a file; {shown!r} is none, use rtx run for streams")


def check_worker(worker: Worker, console: Console) -> None:
    """Raises UserError. Fetches the model's weights where they are not here yet."""
    card = cards.card(worker.model, worker.layer)
    chain, _ = chain_for(worker.explainer, worker.target, card.labels)
    check_backend(chain, card, worker.backend, worker.continual)
    if worker.backend == "openvino" and find_spec("openvino") is None:
        raise UserError("backend 'openvino' needs its package: pip install 'rtx-explain[openvino]'")
    if card.foreign:
        return
    if not card.here:
        with console.status(f"fetching the weights of {card.name} (once)"):
            weights.pull(card)
    weights.check(card)


def check_source(source: str) -> None:
    """A file must be there; a webcam or stream shows itself when it is opened. `env:NAME` is named, not its value."""
    if kind(source) == "file":
        path = Path(resolve(source)).expanduser()
        if not path.is_file():
            raise UserError(
                f"no file {redact(source)!r}; give a video file, a webcam, rtsp://..., scene:hall or synthetic:"
            )
        if not os.access(path, os.R_OK):
            raise UserError(f"file {redact(source)!r} cannot be read by this user")
