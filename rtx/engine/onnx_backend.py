"""ONNX Runtime makes the pass, on a CPU or on CUDA."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rtx.config import DeviceName, PrecisionName
from rtx.engine.graph_backend import Array, Graph, GraphBackend, Pass, two_of
from rtx.engine.onnx_graph import OPSET, graph_of, open_session
from rtx.errors import UserError
from rtx.nets.cards import Card

NAMES = ("features", "logits")


class OnnxBackend(GraphBackend):
    """The graph of rtx's models is written once, into the cache; it always computes in fp32."""

    name = "onnx"
    ending = ".onnx"

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
        self.made_by = f"opset {OPSET}"

    def write(self, clip: Tensor, path: Path) -> None:
        graph_of(Pass(self.network), {"clip": two_of(clip)}, NAMES, self.card.name).save(path)

    def open(self, path: Path) -> Graph:
        session = open_session(path, self.device.type, self.threads)

        def infer(of: Array) -> tuple[Array, Array]:
            features, logits = session.run(None, {"clip": of})
            return features, logits

        return infer
