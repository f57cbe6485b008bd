"""ONNX Runtime makes the pass, on a CPU or on CUDA."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import torch
from torch import Tensor

from rtx import resources
from rtx.config import DeviceName, PrecisionName
from rtx.engine.graph_backend import Array, Graph, GraphBackend, Pass
from rtx.engine.onnx_graph import OPSET, graph_of, open_session
from rtx.errors import UserError
from rtx.nets.cards import Card

NAMES = ("features", "logits")


class OnnxBackend(GraphBackend):
    """The graph of rtx's models is written once, into the cache; it always computes in fp32."""

    name = "onnx"

    def __init__(
        self,
        card: Card,
        device: DeviceName = "auto",
        precision: PrecisionName = "auto",
        threads: int | None = None,
    ):
        if precision not in ("auto", "fp32"):
            raise UserError(f"backend 'onnx' computes in fp32, not in {precision}; use --backend torch for that")
        usable = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
        super().__init__(card, usable, "fp32", threads)

    def graph(self, clip: Tensor) -> Graph:
        with TemporaryDirectory() as folder:
            path = self._cached(clip) or Path(folder) / "pass.onnx"
            if not path.exists():
                self._write(clip, path)
            session = open_session(path, self.device.type, self.threads)

        def infer(of: Array) -> tuple[Array, Array]:
            features, logits = session.run(None, {"clip": of})
            return features, logits

        return infer

    def _cached(self, clip: Tensor) -> Path | None:
        """Where the graph is kept; None of a network whose weights nothing vouches for."""
        if self.card.weights is None:
            return None
        made_by = version("rtx-explain"), version("torch"), OPSET
        about = msgspec.json.encode([msgspec.to_builtins(self.card), list(clip.shape[2:]), made_by])
        return resources.cache() / "graphs" / f"{self.card.name}-{hashlib.sha256(about).hexdigest()[:16]}.onnx"

    def _write(self, clip: Tensor, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole: two workers may write it at once.
        unfinished = path.with_name(f"{path.stem}-{os.getpid()}.part")
        try:
            made = graph_of(Pass(self.network), {"clip": torch.cat((clip[:1],) * 2)}, NAMES, self.card.name)
            made.save(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
