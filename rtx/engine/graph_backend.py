"""What backends have in common that run a network's pass as a graph, made once for each size of a clip."""

from __future__ import annotations

import glob
import hashlib
import inspect
import os
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rtx import resources
from rtx.engine.torch_backend import Precision, TorchBackend
from rtx.errors import UserError
from rtx.machine import default_threads
from rtx.nets.cards import Card
from rtx.nets.forward import Network

Array = NDArray[np.float32]
Graph = Callable[[Array], tuple[Array, Array]]
"""A clip N 3 T H W to features N K t h w and logits N M."""


MOST_KEPT = 48
"""Graphs in the cache. Each size of a clip has its own; what was least lately used makes room."""


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

    made_by = ""
    """What makes the graphs, with its version."""
    ending = ""
    """Of the files that hold them."""

    def __init__(self, card: Card, device: torch.device, precision: Precision, threads: int | None):
        super().__init__(card, "cpu", "fp32", 1)  # For the head, for where cells lie, and as what graphs are made of.
        self.device, self.precision = device, precision
        self.threads = threads or default_threads()
        self._graphs: dict[tuple[int, ...], Graph] = {}
        self.run = self._run

    def finish(self) -> None:
        """Its passes end with what they gave."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def _run(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        size = tuple(clip.shape[2:])
        if size not in self._graphs:
            self._graphs[size] = self.graph(clip)
        features, logits = self._graphs[size](clip.contiguous().numpy())
        return torch.from_numpy(features), torch.from_numpy(logits)

    def graph(self, clip: Tensor) -> Graph:
        """The pass over clips of this one's size, in any number; kept, where it may be."""
        path = self._kept(clip)
        if path is None:
            with TemporaryDirectory() as folder:
                return self._made(clip, Path(folder) / f"pass{self.ending}")
        if not path.exists():
            return self._made(clip, path)
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        try:
            return self.open(path)
        except UserError:
            raise
        except Exception as error:  # The runtimes have no error of their own for a file that is damaged.
            why = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"the graph in {path.name} cannot be read and is made anew: {why}", file=sys.stderr, flush=True)
            return self._made(clip, path)

    def _made(self, clip: Tensor, path: Path) -> Graph:
        with unfinished(path) as part:
            self.write(clip, part)
        _make_room(path.parent)
        return self.open(path)

    def _kept(self, clip: Tensor) -> Path | None:
        """Where the graph for clips of this size is kept; None of a network whose weights nothing vouches for."""
        if self.card.weights is None or self.card.foreign:
            return None
        # Whoever changes a network needs another graph.
        written = inspect.getsource(sys.modules[type(self.network).__module__])
        about = msgspec.json.encode([
            msgspec.to_builtins(self.card), list(clip.shape[2:]), str(torch.__version__), self.made_by, written
        ])  # fmt: skip
        name = f"{self.card.name}-{hashlib.sha256(about).hexdigest()[:16]}{self.ending}"
        return resources.cache() / "graphs" / name

    @abstractmethod
    def write(self, clip: Tensor, path: Path) -> None:
        """The pass over clips of this one's size into a file. UserError where the network cannot be one."""

    @abstractmethod
    def open(self, path: Path) -> Graph:
        """The pass in a file."""


def _make_room(folder: Path) -> None:
    used: dict[str, int] = {}
    for path in folder.iterdir():
        if path.is_file():
            used[path.stem] = max(used.get(path.stem, 0), path.stat().st_atime_ns)
    for stem in sorted(used, key=lambda of: used[of])[:-MOST_KEPT]:
        for path in folder.glob(f"{glob.escape(stem)}.*"):
            path.unlink(missing_ok=True)


def two_of(clip: Tensor) -> Tensor:
    """A batch to trace with: of one clip, a graph would take the number for a constant."""
    return torch.cat((clip[:1].contiguous(),) * 2)


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A file of another name, which becomes this one once it is whole: two workers may write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        for made in sorted(part.parent.iterdir(), key=lambda of: of.suffix == path.suffix):  # What belongs to it first.
            made.replace(path.parent / made.name)
