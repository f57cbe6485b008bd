"""The faithfulness meter: does the score fall where the heat is taken away, and less where as much else is?"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtx.engine.engine import Engine, Found
from rtx.engine.held import all_frames_of, explained_class
from rtx.engine.torch_backend import TorchBackend
from rtx.explain.placing import axis
from rtx.link.wire import Faithfulness
from rtx.nets.causal import Causal

TENTH = 0.1
"""Of the voxels are taken away."""
SHARE = 1 / 40
"""Of the time in which clips come, at most, goes into it: it takes the place of no more than one clip in forty."""
PAUSE_S = 1.0
"""Of a longer silence so much counts as time in which clips come: what was not used up then is lost."""
PASSES = 3
"""Over a clip that is measured."""
KEPT = 20
"""A mean is of so many clips of a camera."""

Mask = NDArray[np.bool_]
"""T H W."""


@dataclass
class _Known:
    """Of one camera: how likely the class was in each clip, whole, without its hottest tenth, without another."""

    scores: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    clips: int = 0


class Meter:
    """Measures one clip after another, a pass at a time, so that no explanation waits for more than one."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.perf_counter, seed: int = 0):
        self._engine, self._clock = engine, clock
        self._random = np.random.default_rng(seed)
        self._spent = self._streamed = self._longest = self._whole = 0.0
        self._last = clock()
        self.passes = 0
        self.anew()

    def anew(self) -> None:
        """Something else is explained from now on."""
        self._known: dict[str, _Known] = {}
        self._next: Found | None = None
        self._under_way: Iterator[None] | None = None

    def of(self, camera: str) -> Faithfulness | None:
        """The means so far; None before the first clip."""
        known = self._known.get(camera)
        if known is None:
            return None
        whole, hottest, elsewhere = (round(fmean(of), 4) for of in zip(*known.scores, strict=True))
        return Faithfulness(whole, hottest, elsewhere, len(known.scores), round(self._spent / self._whole, 4))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Of which something is known."""
        return tuple(self._known)

    def explained(self, found: list[Found], seconds: float) -> None:
        """So long these took. One of them may be measured: of the camera that was so least often.

        Not the beginning of a stream, which has fewer frames than a clip.
        """
        at = self._clock()
        came = max(seconds, min(at - self._last, PAUSE_S))
        self._streamed += came
        self._whole += came
        self._last = at
        if self._engine.rung.words:
            found = []  # What is explained while something is given up may be another's map.
        whole = [of for of in found if of.clip.whole]
        self._next = min(whole, key=lambda of: self._count(of.clip.camera), default=None)

    def step(self) -> bool:
        """One pass, if there is time for it. True where a camera's means have changed."""
        if self._longest:
            # Time saved up while nothing could be measured is worth one clip, not a burst of passes.
            self._streamed = min(self._streamed, (self._spent + PASSES * self._longest) / SHARE)
        if self._engine.rung.words or self._spent + self._longest > SHARE * self._streamed:
            return False
        if self._under_way is None:
            if self._next is None or not float(self._next.relevance.max()) > 0:
                return False
            self._under_way, self._next = self._measure(self._next), None
        began = self._clock()
        done = next(self._under_way, self) is self
        took = self._clock() - began
        self._spent += took
        self._longest = max(took, 0.9 * self._longest)
        if done:
            self._under_way = None
        return done

    def _measure(self, found: Found) -> Iterator[None]:
        """`PASSES` over one clip: whole, without its most relevant tenth, without another tenth of that shape."""
        past, frames = np.split(all_frames_of(found), [-found.input_size[0]])
        label = explained_class(self._engine, found)
        mask = most_relevant(found, self._random)
        whole = self._score(past, frames, label)
        yield
        without_hottest = self._score(past, blanked(frames, mask), label)
        yield
        without_other = self._score(past, blanked(frames, elsewhere(mask, self._random)), label)
        known = self._known.setdefault(found.clip.camera, _Known())
        known.scores.append((whole, without_hottest, without_other))
        known.clips += 1

    def _score(self, past: NDArray[np.uint8], frames: NDArray[np.uint8], label: int) -> float:
        """How likely the class is; where a stream is followed, after what came before the clip."""
        self.passes += 1
        backend = self._engine.backend
        if self._engine.follows:
            logits = classified(backend, np.concatenate([past, frames]), len(frames))
        else:
            logits = backend.forward(frames[None], [label]).logits[0]
        return float(logits.softmax(0)[label])

    def _count(self, camera: str) -> int:
        return self._known[camera].clips if camera in self._known else 0


@torch.inference_mode()
def classified(backend: TorchBackend, frames: NDArray[np.uint8], last: int) -> Tensor:
    """What a network that never looks ahead says of the last frames of T H W 3, having seen those before them: M."""
    assert isinstance(backend.network, Causal)
    features = backend.network.extract(backend.normalise(frames[None]))
    return backend.network.classify(features[:, :, -last:])[0]


def most_relevant(found: Found, random: np.random.Generator) -> Mask:
    """The tenth of a clip's voxels that is most relevant, equal ones by lot; less, where less is relevant at all."""
    along = zip(found.relevance.shape, found.input_size, found.cells.stride, found.cells.centre, strict=True)
    whole = found.relevance.float().cpu().numpy()
    if whole.shape != found.input_size:
        t, y, x = (axis(*about) for about in along)
        whole = np.einsum("Tt,Yy,Xx,tyx->TYX", t, y, x, whole, optimize=True)
    wanted = min(round(TENTH * whole.size), int((whole > 0).sum()))
    mask = np.zeros(whole.shape, bool)
    if wanted:
        least = np.partition(whole, whole.size - wanted, axis=None)[whole.size - wanted]
        mask |= whole > least
        equal = np.flatnonzero(whole == least)
        mask.flat[random.choice(equal, wanted - int(mask.sum()), replace=False)] = True
    return mask


def elsewhere(mask: Mask, random: np.random.Generator) -> Mask:
    """The same shape at another place, drawn by lot: what leaves on one side comes in on the other."""
    shift = [int(random.integers(side)) for side in mask.shape]
    return np.roll(mask, shift, axis=(0, 1, 2))


def blanked(frames: NDArray[np.uint8], away: Mask) -> NDArray[np.uint8]:
    """The clip T H W 3 with its mean colour where something is taken away."""
    colour = frames.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    return np.where(away[..., None], colour, frames)
