"""What runs: frozen structs, read from TOML, changed by `--set a.b=c`; the same names at all three."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from rtx.errors import UserError, unknown
from rtx.redact import redact

Fraction = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
PositiveInt = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_\-]{1,40}$")]
Part = Literal["capture", "engine", "show"]
DeviceName = Literal["auto", "cpu", "cuda"]
Colours = Literal["inferno", "viridis", "cividis", "jet"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
BackendName = Literal["torch", "compile", "graphs", "onnx", "openvino"]


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Camera(_Struct, frozen=True):
    """One source of frames."""

    source: str
    """Webcam number, path or name; `rtsp://...`; a file; `scene:hall`; `synthetic:`; `env:NAME` reads a variable."""
    name: Name = "camera"
    width: PositiveInt | None = None
    height: PositiveInt | None = None
    fps: Positive | None = None
    mirror: bool = False
    pace: Literal["realtime", "every"] = "realtime"
    """Files only: `realtime` keeps the file's own pace and drops; `every` waits, so that no frame is lost."""
    loop: bool = False
    roi: tuple[Fraction, Fraction, Fraction, Fraction] = (0.0, 0.0, 1.0, 1.0)
    """The part of the picture that the network may see: x, y, width, height as shares of the picture."""
    fit: Literal["crop", "pad"] = "crop"
    """How the region becomes the network's square: its middle is cut out, or it is padded."""


class Worker(_Struct, frozen=True):
    """The process that classifies and explains."""

    model: str = "i3d-k400"
    """Where nothing is said: `figures` if all cameras are the drawn hall."""
    continual: bool = True
    """A network that never looks ahead is run frame by frame; false runs it clip by clip, to compare."""
    layer: str | None = None
    """The layer that gives the features; where nothing is said, the last one that has time and space."""
    explainer: str = "cam"
    target: str | None = None
    """The class to explain, by name or number; the top class where this is not given."""
    backend: BackendName = "torch"
    """What makes the pass: torch, its `compile` or CUDA `graphs`, ONNX Runtime, OpenVINO."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    threads: PositiveInt | None = None
    """That make one pass; where nothing is said, one for each core, or as few as OMP_NUM_THREADS says."""
    faithfulness: bool = True
    """Measure in a fortieth of the time, at most, whether the score depends on where the heat is."""


class Page(_Struct, frozen=True):
    host: str = "127.0.0.1"
    """Where it listens; 0.0.0.0 is everywhere. Beyond this machine it needs a token."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 8642
    names: tuple[str, ...] = ()
    """Names, besides this machine's own, under which browsers may ask for it, e.g. that of a reverse proxy."""
    token: str | None = None
    """The file that `rtx token new` made."""
    certificate: str | None = None
    """TLS: a file of PEM certificates, with `key`, that of its private key."""
    key: str | None = None


class Show(_Struct, frozen=True):
    sinks: tuple[str, ...] = ("page",)
    """Any of `page`, `window`, `file:OUT.mp4`, `none`."""
    opacity: Fraction = 0.6
    display: Literal["heat", "focus"] = "heat"
    """Colours over the picture; or the picture itself where the evidence is, and darkness elsewhere."""
    colours: Colours = "inferno"
    """Of weak to full heat; `jet` as in the papers."""


class Budget(_Struct, frozen=True):
    heatmap_age_ms: Positive = 900.0
    """A frame shown with an older heatmap is a deadline miss."""
    deadline_misses: Fraction = 0.05
    """Share of them that may be; where there are more, the worker gives up what it can. 1: never."""


class Events(_Struct, frozen=True):
    """What is recorded: actions that last."""

    record: bool = False
    """All cameras, from the start. It can be switched on for one on the page, too."""
    folder: str = ""
    """Where the database and the clips are; empty: in the user's data folder."""
    classes: tuple[str, ...] = ()
    """Which are events; empty: all."""
    threshold: Fraction = 0.6
    """An event begins with its class this likely..."""
    release: Fraction = 0.4
    """...and goes on until it is less likely than this."""
    on_s: Annotated[float, Meta(ge=0, le=600)] = 0.5
    """For so long it must have been likely,"""
    off_s: Annotated[float, Meta(ge=0, le=600)] = 1.0
    """and for so long unlikely."""
    before_s: Annotated[float, Meta(ge=0, le=60)] = 3.0
    """The clip begins so long before it,"""
    after_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
    """and ends so long after it."""
    longest_s: Annotated[float, Meta(ge=1, le=3600)] = 120.0
    """What lasts longer becomes several events."""
    keep_days: Positive = 30.0
    keep_gb: Positive = 10.0
    free_gb: Annotated[float, Meta(ge=0)] = 0.5
    """Where less is free on the disk nothing is recorded."""
    webhook: str | None = None
    """An address that is told of each event that is over; `env:NAME` reads a variable."""
    webhook_secret: str | None = None
    """`env:NAME`: what the message is signed with."""


class Link(_Struct, frozen=True):
    """How the parts reach each other. `ipc`: one host, frames in shared memory. `tcp://HOST:PORT`: several hosts."""

    parts: tuple[Part, ...] = ("capture", "engine", "show")
    """The parts that run on this host."""
    frames: str = "ipc"
    """`ipc`, or where the grabbers listen: camera i has ports PORT + 2i (frames) and PORT + 2i + 1 (clock)."""
    maps: str = "ipc"
    """`ipc`, or where the worker listens, likewise; the port after the last camera's takes what viewers choose."""
    keys: str | None = None
    """File made by `rtx keys new`, the same on every host; tcp is refused without it."""
    memory: Literal["auto", "memfd", "named"] = "auto"
    """Kind of shared memory; `auto` takes sealed anonymous memory on Linux and named segments elsewhere."""
    jpeg_quality: Annotated[int, Meta(ge=30, le=100)] = 85


class Pipeline(_Struct, frozen=True):
    """Everything that `rtx run` needs to know."""

    camera: tuple[Camera, ...] = ()
    worker: Worker = Worker()
    page: Page = Page()
    show: Show = Show()
    budget: Budget = Budget()
    events: Events = Events()
    link: Link = Link()


_SECTIONS: dict[str, type[_Struct]] = {
    "camera": Camera, "worker": Worker, "page": Page, "show": Show, "budget": Budget, "events": Events, "link": Link,
}  # fmt: skip


def read(path: Path, changes: list[str]) -> Pipeline:
    """The pipeline in a TOML file with `--set` changes on top. UserError names file, key and what was expected."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a pipeline's TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as TOML: {error}") from None
    return _build(tree, changes, where=str(path))


def of_sources(sources: list[str], changes: list[str]) -> Pipeline:
    """The default pipeline over sources named on the command line."""
    cameras = [
        {"source": source, "name": "camera" if len(sources) == 1 else f"camera-{i + 1}"}
        for i, source in enumerate(sources)
    ]
    return _build({"camera": cameras}, changes, where="command line")


def _build(tree: dict[str, Any], changes: list[str], where: str) -> Pipeline:
    for change in changes:
        _set(tree, change)
    try:
        pipeline = msgspec.convert(tree, Pipeline, strict=True)
    except msgspec.ValidationError as error:
        raise _readable(error, tree, where) from None
    names = [camera.name for camera in pipeline.camera]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: two cameras are called {name!r}; give each [[camera]] its own name")
    for camera in pipeline.camera:
        x, y, w, h = camera.roi
        if w <= 0 or h <= 0 or x + w > 1 + 1e-9 or y + h > 1 + 1e-9:
            raise UserError(f"{where}: camera.{camera.name}.roi = {camera.roi} leaves the picture; x + width <= 1")
    if not pipeline.camera:
        raise UserError(f"{where}: no [[camera]]; name at least one source")
    if "model" not in tree.get("worker", {}):
        model = default_model([camera.source for camera in pipeline.camera])
        pipeline = msgspec.structs.replace(pipeline, worker=msgspec.structs.replace(pipeline.worker, model=model))
    return pipeline


def default_model(sources: list[str]) -> str:
    """The network for these sources, where nobody named one: the hall's own for the drawn hall."""
    # On another host `env:` may name nothing; there, the drawn hall has to name its model.
    named = [os.environ.get(source[4:], source) if source.startswith("env:") else source for source in sources]
    return "figures" if all(source.startswith("scene:") for source in named) else "i3d-k400"


def _set(tree: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path) or len(path) < 2:
        raise UserError(f"--set {change!r}: expected section.key=value, e.g. --set page.port=9000")
    value = _value(text.strip())
    if path[0] == "camera":
        cameras = tree.setdefault("camera", [])
        if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
            raise UserError(f"--set {change!r}: camera is not a list of [[camera]] tables")
        if len(path) == 3:
            chosen = [camera for camera in cameras if camera.get("name", "camera") == path[1]]
            if not chosen:
                raise unknown("camera", path[1], [str(camera.get("name", "camera")) for camera in cameras])
            cameras = chosen
        for camera in cameras:
            camera[path[-1]] = value
        return
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {change!r}: {part!r} is a value, not a section")
    node[path[-1]] = value


def pairs(option: str, changes: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` of an option that may stand several times. UserError."""
    found = {}
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator or not key.strip():
            raise UserError(f"{option} {change!r}: expected key=value")
        found[key.strip()] = _value(text.strip())
    return found


def _value(text: str) -> Any:
    """A TOML value where it reads as one, else the bare text, so that --set worker.model=i3d-k400 needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _readable(error: msgspec.ValidationError, tree: dict[str, Any], where: str) -> UserError:
    text, _, at = str(error).partition(" - at `")
    key = at.rstrip("`").removeprefix("$").removeprefix(".")
    bare = re.sub(r"\[.*?\]", "", key)
    if match := re.search(r"unknown field `(\w+)`", text):
        wrong = match.group(1)
        fields = _SECTIONS.get(bare, Pipeline).__struct_fields__
        return UserError(f"{where}: {unknown('key', f'{key}.{wrong}' if key else wrong, _dotted(key, fields))}")
    if match := re.search(r"missing required field `(\w+)`", text):
        return UserError(f"{where}: {key or 'pipeline'} lacks {match.group(1)!r}")
    if text.startswith("Invalid enum value"):
        section, _, field = bare.partition(".")
        known = choices(get_type_hints(_SECTIONS[section])[field])
        return UserError(f"{where}: {unknown(key, redact(_at(tree, key)), known)}")
    return UserError(f"{where}: {key}: {text[:1].lower()}{text[1:]}; got {redact(repr(_at(tree, key)))}")


def choices(hint: Any) -> tuple[str, ...]:
    """The values of the Literal in a type, however deep."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(choice for inner in get_args(hint) for choice in choices(inner))


def _dotted(key: str, fields: tuple[str, ...]) -> list[str]:
    return [f"{key}.{field}" if key else field for field in fields]


def _at(tree: Any, key: str) -> Any:
    for step in re.findall(r"\w+|\[\d+\]", key):
        try:
            tree = tree[int(step[1:-1])] if step.startswith("[") else tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def resolve(source: str) -> str:
    """`env:NAME` as the variable's value, so that no command line shows a password; other sources unchanged."""
    if not source.startswith("env:"):
        return source
    name = source.removeprefix("env:")
    value = os.environ.get(name)
    if not value:
        raise UserError(f"source {source!r}: the environment variable {name} is not set")
    return value
