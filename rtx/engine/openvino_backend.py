"""OpenVINO makes the pass, on a CPU; the extra `openvino`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rtx.config import DeviceName, PrecisionName
from rtx.engine.graph_backend import Array, Graph, GraphBackend, Pass, two_of
from rtx.engine.torch_backend import Precision
from rtx.errors import UserError
from rtx.nets.cards import Card

if TYPE_CHECKING:
    import openvino

_TYPES: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend(GraphBackend):
    """The graph of rtx's models is made once, into the cache."""

    name = "openvino"
    ending = ".xml"

    def __init__(
        self,
        card: Card,
        device: DeviceName = "auto",
        precision: PrecisionName = "auto",
        threads: int | None = None,
    ):
        try:
            import openvino
        except ImportError:
            raise UserError("backend 'openvino' needs its package: pip install 'rtx-explain[openvino]'") from None
        if device == "cuda":
            raise UserError("backend 'openvino' runs on CPUs; use --device cpu, or --backend torch or onnx with CUDA")
        self._core, self.made_by = openvino.Core(), openvino.__version__
        wanted = card.precision if precision == "auto" else precision
        if card.foreign and wanted == "auto":
            wanted = "fp32"
        super().__init__(card, torch.device("cpu"), self._precision(wanted), threads)

    def _precision(self, wanted: PrecisionName) -> Precision:
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if wanted == "auto":
            return "bf16" if has_bf16 else "fp32"
        if wanted not in _TYPES or (wanted == "bf16" and not has_bf16):
            raise UserError(f"precision {wanted!r} is not for openvino on this CPU; use fp32")
        return wanted

    def write(self, clip: Tensor, path: Path) -> None:
        import openvino

        openvino.save_model(self._converted(clip), path, compress_to_fp16=False)

    def open(self, path: Path) -> Graph:
        settings = {
            "INFERENCE_PRECISION_HINT": _TYPES[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = self._core.read_model(path)
        request: openvino.InferRequest = self._core.compile_model(model, "CPU", settings).create_infer_request()

        def infer(of: Array) -> tuple[Array, Array]:
            found = request.infer([of])
            return found[0], found[1]

        return infer

    def _converted(self, clip: Tensor) -> openvino.Model:
        import openvino

        batch = torch.export.Dim("N", min=1)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # It warns of what its own converter uses.
                traced = torch.export.export(Pass(self.network).eval(), (two_of(clip),), dynamic_shapes=({0: batch},))
                model = openvino.convert_model(traced)
            model.reshape([-1, *clip.shape[1:]])
        except Exception as error:  # It raises whatever the tracing of somebody's network raises.
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.card.name} cannot be run by openvino: {why}; use --backend torch") from None
        return model
