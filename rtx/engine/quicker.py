"""Ways to make torch's pass quicker that cost time at the start: torch.compile, and CUDA graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rtx.config import DeviceName, PrecisionName
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import UserError
from rtx.nets.cards import Card
from rtx.nets.forward import Run

MOST_COMPILED = 256
MOST_CAPTURES = 8
"""Each keeps a network's intermediate results on the device."""


class CompiledBackend(TorchBackend):
    """torch.compile makes the pass: minutes at the start, a C++ compiler on the machine."""

    name = "compile"

    def __init__(self, card: Card, device: DeviceName, precision: PrecisionName, threads: int | None):
        super().__init__(card, device, precision, threads)
        # One for each size of a batch and of a clip; beyond its limit it would go on uncompiled, and say nothing.
        torch._dynamo.config.recompile_limit = MOST_COMPILED
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._compiled = torch.compile(self.network.run, dynamic=False)
        self.run = self._run

    def _run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self._compiled(clip)
        except torch._dynamo.exc.TorchDynamoException as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.card.name} cannot be compiled here: {why}; use --backend torch") from None


class GraphsBackend(TorchBackend):
    """The pass is captured once for each shape of a batch as a CUDA graph, and then replayed."""

    name = "graphs"

    def __init__(self, card: Card, device: DeviceName, precision: PrecisionName, threads: int | None):
        super().__init__(card, device, precision, threads)
        if self.device.type != "cuda":
            raise UserError("backend 'graphs' (CUDA graphs) needs a GPU; use --backend torch")
        self.run = Captures(self.network.run, CudaGraph)


class CudaGraph:
    """One pass as it was captured: the same memory each time."""

    def __init__(self, run: Run, clip: Tensor):
        self._clip = clip.clone()
        # Once in a stream of its own, so that what is set up at a first pass is not captured.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run(self._clip)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._given = run(self._clip)

    def __call__(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        self._clip.copy_(clip)
        self._graph.replay()
        # The next replay writes over what this one gave.
        features, logits = self._given
        return features.clone(), logits.clone()


class Captures:
    """A captured pass for each shape of a batch, the most recently used ones; `capture` makes one."""

    def __init__(self, run: Run, capture: Callable[[Run, Tensor], Run], most: int = MOST_CAPTURES):
        self._run, self._capture, self._most = run, capture, most
        self._captured: OrderedDict[Any, Run] = OrderedDict()

    def __call__(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        of = tuple(clip.shape)
        if of not in self._captured:
            if len(self._captured) >= self._most:
                self._captured.popitem(last=False)
            self._captured[of] = self._capture(self._run, clip)
        self._captured.move_to_end(of)
        return self._captured[of](clip)
