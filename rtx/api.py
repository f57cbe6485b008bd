"""rtx in Python: load a model, explain a clip, stream views of a live source."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from rtx.clock import NS_PER_S, now
from rtx.config import BackendName, DeviceName, PrecisionName, default_model, of_sources
from rtx.engine.backends import load as load_backend
from rtx.engine.engine import Batch, Engine
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip, see
from rtx.errors import UserError
from rtx.explain.placing import upsample
from rtx.explain.registry import DECLARED
from rtx.film.read import FileClip as FileClip
from rtx.film.read import read_clip as read_clip
from rtx.geometry import input_rect
from rtx.link.sockets import Sockets
from rtx.link.wire import TopClass
from rtx.nets import cards
from rtx.nets.weights import pull
from rtx.show.view import View
from rtx.show.viewer import Viewer
from rtx.supervise import Supervisor


def load(
    model: str | nn.Module = "i3d-k400",
    device: DeviceName = "auto",
    precision: PrecisionName = "auto",
    threads: int | None = None,
    *,
    backend: BackendName = "torch",
    layer: str | None = None,
    clip: Mapping[str, Any] | None = None,
) -> TorchBackend:
    """A model on a device: by name, by its card's file, `module:factory`, or a network that you have.

    Weights that are not in the cache are fetched, by hash. `layer` gives the features, without it the last layer with
    time and space. Your own network stays where it is and as it is, in training mode, too; `clip` says what it takes,
    with the keys of a card's `[clip]`: frames, stride_ms, size, mean, std (of RGB in 0..255).
    """
    if isinstance(model, str):
        card = cards.card(model, layer)
        if not card.here:
            pull(card)
        return load_backend(_taking(card, clip), backend, device, precision, threads)
    if (device, precision, backend) != ("auto", "auto", "torch"):
        raise UserError(
            "your own network runs where it is, as it is: leave out device, precision and backend, or move it"
        )
    if not isinstance(model, nn.Module):
        raise UserError(f"load takes a model's name, a card's file, module:factory, or a torch module; not {model!r}")
    name = type(model).__name__
    card = cards.Card(name, "a network of your own", f":{name}", "", cards.KINETICS, layer=layer)
    return TorchBackend(_taking(card, clip), "auto", "auto", threads, model)


def _taking(card: cards.Card, clip: Mapping[str, Any] | None) -> cards.Card:
    """The card, with these changes to its clip."""
    if clip is None:
        return card
    try:
        changed = msgspec.convert(msgspec.to_builtins(card.clip) | dict(clip), cards.Clip)
    except msgspec.ValidationError as error:
        raise UserError(f"clip={dict(clip)}: {error}") from None
    return msgspec.structs.replace(card, clip=changed)


@dataclass(frozen=True)
class Result:
    """One explained clip."""

    model: str
    explainer: str
    device: str
    backend: str
    precision: str
    top: tuple[TopClass, ...]
    target: str | None
    """The explained class; None where the explainer is class-blind."""
    relevance: NDArray[np.float32]
    """t h w at feature resolution, or T H W after `selective`; not normalised."""
    relevance_full: NDArray[np.float32]
    """T H W: each cell where its receptive field lies."""
    evidence: bool
    motion_share: float | None
    lost: float | None
    """Of what dtd, lrp or excitation handed back, the share that fell where nothing but a bias had made an output."""
    ms: dict[str, float]
    frames: NDArray[np.uint8] = field(repr=False)
    """The clip as the network saw it: T H W 3, BGR."""

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """T H W in 0..1: min-max over the whole clip; zeros where the map is constant or holds no evidence."""
        low, high = float(self.relevance_full.min()), float(self.relevance_full.max())
        if not self.evidence or high <= low:
            return np.zeros_like(self.relevance_full)
        return (self.relevance_full - low) / (high - low)

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from rtx.film.report import inline

        return inline(self)

    def plain(self) -> dict[str, Any]:
        """What `rtx explain --json` prints of it."""
        return {
            "model": self.model, "explainer": self.explainer, "device": self.device, "backend": self.backend,
            "precision": self.precision, "top": [{"label": t.label, "p": round(t.p, 6)} for t in self.top],
            "target": self.target,
            "map": {
                "shape": list(self.relevance.shape), "min": float(self.relevance.min()),
                "max": float(self.relevance.max()), "evidence": self.evidence,
            },
            "motion_share": self.motion_share, "lost": self.lost, "ms": self.ms,
        }  # fmt: skip


def explain(
    model: TorchBackend,
    clip: NDArray[np.uint8] | Clip | FileClip,
    explainer: str = "cam",
    target: str | int | None = None,
) -> Result:
    """Classify and explain one clip: uint8 T H W 3 in BGR, or what `read_clip` gave.

    An array's frames are resized to the model's input size; their number must be the model's.
    """
    if not isinstance(model, TorchBackend):
        raise UserError(f"explain takes a loaded model, not {model!r}: rtx.load({str(model)!r})")
    engine = Engine(model, explainer, None if target is None else str(target), continual=False)
    frames = _frames(model, clip)
    return result_of(engine, engine.run(frames[None]), frames)


def costs(model: str, layer: str | None = None, rounds: int = 3) -> tuple[dict[str, float | str], float]:
    """Milliseconds of each explainer beyond the forward pass, and of that, on this machine: medians of some clips.

    Of an explainer that this network does not suit, why.
    """
    backend = load(model, layer=layer)
    frames = read_clip("scene:hall?seed=7", backend).clip.frames[None]
    forward_ms = _median_ms(lambda: backend.forward(frames, [None]).outcome, rounds)
    ms: dict[str, float | str] = {}
    for name, declaration in DECLARED.items():
        if declaration.is_step:
            continue
        engine = Engine(backend, name, continual=False)
        try:
            whole, after = _explain_ms(engine, frames, rounds)
            # What a pass costs more because it is recorded counts, too, where that is more than noise.
            beyond = whole - forward_ms if declaration.reads != "features" else 0.0
            ms[name] = round(max(after, beyond), 3)
        except UserError as error:
            ms[name] = str(error)
    return ms, round(forward_ms, 3)


def _explain_ms(engine: Engine, frames: NDArray[np.uint8], rounds: int) -> tuple[float, float]:
    """Of some runs, after one that does not count: all of it, and what came after the pass."""
    after: list[float] = []
    whole = _median_ms(lambda: after.append(engine.run(frames).ms["explain"]), rounds)
    return whole, median(after[1:])


def _median_ms(run: Callable[[], object], rounds: int) -> float:
    """Of some calls, after one that does not count."""
    took = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        took.append((time.perf_counter() - started) * 1e3)
    return median(took[1:])


def result_of(engine: Engine, batch: Batch, frames: NDArray[np.uint8]) -> Result:
    """The first clip of a batch, whose frames are these, as a result."""
    forward, explained = batch.forward, batch.explained
    relevance = explained.relevance[:1]
    return Result(
        model=engine.card.name, explainer=str(engine.chain), device=str(engine.backend.device),
        backend=engine.backend.name, precision=engine.backend.precision, top=engine.top(forward.logits[0]),
        target=None if engine.chain.class_blind else engine.labels[int(forward.target[0])],
        relevance=relevance[0].float().cpu().numpy(), relevance_full=upsample(forward, relevance)[0].cpu().numpy(),
        evidence=explained.evidence[0], motion_share=explained.motion_share[0],
        lost=explained.lost[0], ms={name: round(value, 3) for name, value in batch.ms.items()},
        frames=frames,
    )  # fmt: skip


def _frames(model: TorchBackend, clip: NDArray[np.uint8] | Clip | FileClip) -> NDArray[np.uint8]:
    if isinstance(clip, FileClip):
        clip = clip.clip
    spec = model.card.clip
    if isinstance(clip, Clip):
        if clip.frames.shape[:3] != spec.input_size:
            raise UserError(
                f"{model.card.name} takes clips of {'x'.join(map(str, spec.input_size))} (T H W), this one is "
                f"{'x'.join(map(str, clip.frames.shape[:3]))}: read_clip(FILE, model) reads one for it"
            )
        return clip.frames
    clip = np.asarray(clip)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[0] != spec.frames or clip.shape[3] != 3:
        raise UserError(
            f"a clip of {model.card.name} is uint8 with shape ({spec.frames}, H, W, 3) in BGR; "
            f"got {clip.dtype} {tuple(clip.shape)}"
        )
    frames = np.empty((spec.frames, spec.size, spec.size, 3), np.uint8)
    rect = input_rect(clip.shape[1], clip.shape[2], (0.0, 0.0, 1.0, 1.0), "crop")
    for out, picture in zip(frames, clip, strict=True):
        see(picture, rect, spec.size, out)
    return frames


def stream(
    source: str | int,
    model: str | None = None,
    explainer: str = "cam",
    target: str | int | None = None,
    settings: tuple[str, ...] = (),
) -> Iterator[View]:
    """Views of a live source, for ever or until it ends: image, heat, top classes, ages.

    The grabber and the worker run as processes of their own and end with the loop. `settings` are as for `--set`.
    """
    model = model or default_model([str(source)])
    card = cards.card(model)
    if not card.here:
        pull(card)
    changes = [f'worker.model="{model}"', f"worker.explainer={explainer!r}", *settings]
    if target is not None:
        changes.append(f"worker.target={json.dumps(str(target))}")
    pipeline = of_sources([str(source)], changes)
    with Supervisor(pipeline, own_reader=True) as run, Sockets() as sockets:
        viewer = Viewer(sockets, pipeline, run.folder)
        checked = now()
        while True:
            for view in viewer.views(100):
                yield view
                viewer.done(view)
            if now() - checked > NS_PER_S // 5:
                checked = now()
                if not run.step(0):
                    return
