"""The engine: a model and a chain of explainers on a device; clips in, explanations out."""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rtx.config import Worker
from rtx.engine.backends import load
from rtx.engine.budget import Rung, ladder
from rtx.engine.torch_backend import TorchBackend
from rtx.engine.window import Clip
from rtx.errors import UserError
from rtx.explain.chain import chain_for, check_backend, followed
from rtx.explain.registry import Chain
from rtx.explain.run import Explained, explain
from rtx.explain.steps import Memory
from rtx.link.wire import MAX_FLOW_SIDE, Beside, Cells, Explanation, RelevanceMap, TopClass
from rtx.nets import cards
from rtx.nets.causal import Past
from rtx.nets.forward import Forward

TOP = 5
MAX_MAP_SIDE = 56
"""Maps that exist only at clip resolution are sent with at most so many cells a side."""


@dataclass(frozen=True)
class Batch:
    """What one pass gave: the tensors, and how long each part took in ms."""

    forward: Forward
    explained: Explained
    ms: dict[str, float]
    beside: Tensor | None = None
    """Maps N t h w of a twin network's second branch; the first one's are those in `explained`."""


@dataclass(frozen=True)
class Found:
    """One clip and what was found in it."""

    clip: Clip
    explanation: Explanation
    relevance: Tensor
    """t h w or T H W, whole, where the explanation may have the newest frame only."""
    cells: Cells
    input_size: tuple[int, int, int]


class Engine:
    """Loads once; `run` may be called from one thread at a time."""

    def __init__(self, backend: TorchBackend, explainer: str, target: str | None = None, continual: bool = True):
        self.backend = backend
        self.continual = continual
        self.card = backend.card
        self.labels = backend.labels
        self.chain, self.target = self._chosen(explainer, target)
        self.rung = Rung()
        """What is given up at present to keep within the budget."""

    def _chosen(self, explainer: str, target: str | None) -> tuple[Chain, int | None]:
        """What is asked for, if this backend can give it. UserError."""
        chain, index = chain_for(explainer, target, self.labels)
        check_backend(chain, self.card, self.backend.name, self.continual)
        return chain, index

    def choose(self, explainer: str, target: str | None, clips: int = 1) -> bool:
        """Explain so from now on, if it works on so many clips at once; False where it is done already.

        Whatever goes wrong is raised, UserError or not, and all stays as it was.
        """
        before = self.chain, self.target
        chosen = self._chosen(explainer, target)
        if chosen == before:
            return False
        rung = self.rung
        self.chain, self.target = chosen
        self.rung = Rung()
        try:
            self.warm_up(clips)
        except BaseException:
            self.chain, self.target = before
            self.rung = rung
            raise
        return True

    @classmethod
    def of(cls, worker: Worker) -> Engine:
        """Load what the worker's settings ask for."""
        card = cards.card(worker.model, worker.layer)
        chain, _ = chain_for(worker.explainer, worker.target, card.labels)  # A mistake shows before seconds of loading.
        check_backend(chain, card, worker.backend, worker.continual)
        backend = load(card, worker.backend, worker.device, worker.precision, worker.threads)
        return cls(backend, worker.explainer, worker.target, worker.continual)

    @property
    def asked(self) -> str | None:
        """The class that is to be explained; None: the likeliest."""
        return None if self.target is None else self.labels[self.target]

    @property
    def explaining(self) -> Chain:
        """What explains at present."""
        return self.rung.chain or self.chain

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What could be given up, the least first."""
        return ladder(self.card, self.chain, self.follows, self.backend.network.linear is not None)

    @property
    def follows(self) -> bool:
        """Streams are followed frame by frame."""
        return followed(self.card, self.chain, self.continual)

    def warm_up(self, clips: int = 1) -> None:
        """A pass as in a live run. The first one on a device takes longest; nobody should wait for it."""
        clip = self.card.clip
        size = self.rung.size or clip.size
        memory = [Memory() for _ in range(clips)]
        for of in memory:
            of.times = tuple(range(clip.frames))
        if self.follows:
            pasts = [Past(clip.frames) for _ in range(clips)]
            for _ in range(3):
                batch = self.run(np.zeros((clips, 1, size, size, 3), np.uint8), memory, pasts)
        else:
            batch = self.run(np.zeros((clips, clip.frames, size, size, 3), np.uint8), memory)
        if not bool(batch.forward.logits.isfinite().all()):
            raise UserError(f"{self.card.name}: its scores are no numbers (NaN or infinite); are its weights whole?")

    def prepare(self, clips: int = 1, degrades: bool = True) -> None:
        """Before a live run: what is made at the first pass of its kind is made now; for all rungs, if it degrades."""
        # torch makes next to nothing; a graph takes seconds.
        # What is compiled or captured is made for each number of clips, too.
        least = 1 if self.backend.name in ("compile", "graphs") else clips
        for rung in self.rungs if degrades and self.backend.name != "torch" else (Rung(),):
            self.rung = rung
            for number in range(clips, least - 1, -1):
                self.warm_up(number)
        self.rung = Rung()

    def run(
        self, frames: NDArray[np.uint8], memory: list[Memory] | None = None,
        pasts: list[Past] | None = None, flow: NDArray[np.float32] | None = None,
    ) -> Batch:  # fmt: skip
        """Classify and explain clips N T H W 3 (BGR, uint8). With `memory`, one a clip, in live form.

        With `pasts`, one a stream, the frames are the streams' next, N 1 H W 3. `flow`: N T H W 2, where it is at hand.
        """
        started = time.perf_counter()
        targets = [self.target] * len(frames)
        forward = (
            self.backend.forward(frames, targets, flow)
            if pasts is None
            else self.backend.follow(frames, pasts, targets)
        )
        return self.run_in(forward, memory, started)

    def run_in(self, forward: Forward, memory: list[Memory] | None = None, started: float | None = None) -> Batch:
        """Explain a pass, which engines of the same backend and class can share."""
        started = time.perf_counter() if started is None else started
        explained, beside = self._branches(forward, memory)
        self.backend.finish()
        classified, done = max(started, forward.outcome.at), time.perf_counter()
        ms = {"forward": (classified - started) * 1e3, "explain": (done - classified) * 1e3}
        return Batch(forward, explained, ms, beside)

    def _branches(self, forward: Forward, memory: list[Memory] | None) -> tuple[Explained, Tensor | None]:
        """What explains; on a twin network K-sigma is run on each branch, before they are fused."""
        # Of a pass that has no network to be recorded, it is the backend's; one branch alone is a network of its own.
        branches = (forward.network or self.backend.network).branches
        if branches == 1 or self.explaining.name != "ksigma":
            return explain(self.explaining, forward, memory), None
        first, second = (forward.branch(number, branches) for number in range(branches))
        return explain(self.explaining, first, memory), explain(self.explaining, second).relevance

    def explain(self, clips: list[Clip], memory: list[Memory] | None = None) -> list[Explanation]:
        """One batch of clips to the messages that go to the displays."""
        return [found.explanation for found in self.find(clips, memory)]

    def find(self, clips: list[Clip], memory: list[Memory] | None = None) -> list[Found]:
        """One batch of clips to the messages that go to the displays, and what they are made of."""
        for of, clip in zip(memory or [], clips, strict=bool(memory)):
            of.times = clip.t_frames
        return self.found(clips, self.batch(clips, memory))

    def batch(self, clips: list[Clip], memory: list[Memory] | None = None) -> Batch:
        """One batch of clips, classified and explained."""
        pasts = [clip.past for clip in clips if clip.past is not None]
        frames = np.stack([clip.frames for clip in clips])
        if self.rung.size is not None:
            frames = shrunk(frames, self.rung.size)
        moved = [clip.flow for clip in clips if clip.flow is not None and self.rung.size is None]
        return self.run(frames, memory, pasts or None, np.stack(moved) if moved else None)

    def found(self, clips: list[Clip], batch: Batch) -> list[Found]:
        """What was found in each clip of a batch."""
        explained = batch.explained
        return [
            Found(clip, self.message(clip, batch, i), explained.relevance[i], explained.cells, batch.forward.input_size)
            for i, clip in enumerate(clips)
        ]

    def top(self, logits: Tensor) -> tuple[TopClass, ...]:
        """The likeliest classes of logits M; the target is among them, last where it is not likely."""
        p = logits.softmax(0)
        order = p.topk(min(TOP, len(p))).indices.tolist()
        if self.target is not None and self.target not in order:
            order.append(self.target)
        return tuple(TopClass(self.labels[i], float(p[i])) for i in order)

    def _peak(self) -> float:
        """What is known of this explainer's peaks as it is; other parameters and layers have others."""
        if self.explaining.calls[0].changed or self.card.layer is not None:
            return 0.0
        return self.card.peaks.get(self.explaining.name, 0.0)

    def message(self, clip: Clip, batch: Batch, i: int) -> Explanation:
        """Explanation of clip number i of the batch."""
        forward, explained = batch.forward, batch.explained
        shown = to_wire(explained.relevance[i], explained.cells, forward.input_size)
        return Explanation(
            camera=clip.camera, epoch=clip.epoch, first_seq=clip.first_seq, last_seq=clip.last_seq,
            t_frames=clip.t_frames, height=clip.height, width=clip.width, rect=(*clip.rect,),
            seen=None if clip.seen is None else (*clip.seen,), model=self.card.name,
            explainer=str(self.explaining), device=str(self.backend.device),
            backend=self.backend.name, precision=self.backend.precision, top=self.top(forward.logits[i]),
            target=None if self.explaining.class_blind else self.labels[int(forward.target[i])], asked=self.asked,
            map=shown, beside=_beside(batch, i), evidence=bool((shown.array()[-1] > 0).any()), peak=self._peak(),
            motion_share=explained.motion_share[i], truth=clip.truth, degraded=self.rung.words,
            ms={name: round(ms, 3) for name, ms in batch.ms.items()},
        )  # fmt: skip


def _beside(batch: Batch, i: int) -> Beside | None:
    if batch.beside is None:
        return None
    flow = batch.forward.clip[i : i + 1, -2:, -1].float()
    height, width = (min(int(side), MAX_FLOW_SIDE) for side in flow.shape[2:])
    small = (F.adaptive_avg_pool2d(flow, (height, width))[0] * 127).round().permute(1, 2, 0)
    found = to_wire(batch.beside[i], batch.explained.cells, batch.forward.input_size)
    return Beside(found, (height, width), small.to(torch.int8).cpu().numpy().tobytes())


def shrunk(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Clips N T H W 3 as N T size size 3."""
    pictures = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) for clip in frames for picture in clip]
    return np.stack(pictures).reshape(*frames.shape[:2], size, size, 3).astype(np.uint8, copy=False)


def to_wire(relevance: Tensor, cells: Cells, input_size: tuple[int, int, int], whole: bool = False) -> RelevanceMap:
    """A map t h w as it travels: whole at feature resolution; at clip resolution small, as fp16, its newest frame.

    `whole`: all frames.
    """
    if tuple(relevance.shape) != input_size:
        return RelevanceMap.of(relevance.float().cpu().numpy(), cells, input_size)
    frames, height, width = input_size
    shrink = max(1.0, max(height, width) / MAX_MAP_SIDE)
    size = (round(height / shrink), round(width / shrink))
    pooled = F.adaptive_avg_pool2d((relevance if whole else relevance[-1:]).float(), size)
    stride = (1.0, height / size[0], width / size[1])
    centre = (0.0 if whole else frames - 1.0, (stride[1] - 1) / 2, (stride[2] - 1) / 2)
    # fp16 ends at 65504 and thins out below 6e-5.
    small = pooled.to(torch.float16) if 1e-2 < float(pooled.abs().max()) < 6e4 else pooled
    return RelevanceMap.of(small.cpu().numpy(), Cells(stride, centre), input_size)
