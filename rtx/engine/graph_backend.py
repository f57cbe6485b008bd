"""What backends have in common that run a network's pass as a graph, made once for each size of a clip."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtx.engine.torch_backend import Precision, TorchBackend
from rtx.machine import cores
from rtx.nets.cards import Card
from rtx.nets.forward import Network

Array = NDArray[np.float32]
Graph = Callable[[Array], tuple[Array, Array]]
"""A clip N 3 T H W to features N K t h w and logits N M."""


class Pass(nn.Module):
    """What becomes the graph."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.run(clip)


class GraphBackend(TorchBackend):
    """Another runtime makes the pass; explainers work, in torch, on the features that it gives.

    Clips and features are float32 in the process's memory, whatever the runtime computes in.
    """

    def __init__(self, card: Card, device: torch.device, precision: Precision, threads: int | None):
        super().__init__(card, "cpu", "fp32", 1)  # For the head, for where cells lie, and as what graphs are made of.
        self.device, self.precision = device, precision
        self.threads = threads or cores()
        self._graphs: dict[tuple[int, ...], Graph] = {}
        self.run = self._run

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def _run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        size = tuple(clip.shape[2:])
        if size not in self._graphs:
            self._graphs[size] = self.graph(clip)
        features, logits = self._graphs[size](clip.contiguous().numpy())
        return torch.from_numpy(features), torch.from_numpy(logits)

    @abstractmethod
    def graph(self, clip: Tensor) -> Graph:
        """The pass over clips of this one's size, in any number."""
