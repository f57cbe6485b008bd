"""ONNX graphs: a torch module becomes one, and ONNX Runtime opens one where it was asked to."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rtx.errors import UserError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 18
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def graph_of(module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], what: str) -> torch.onnx.ONNXProgram:
    """The module over a batch of any number N, traced with these inputs, of two at least. UserError names `what`."""
    try:
        import onnx  # noqa: F401  (said here, before torch says it less clearly)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"an ONNX graph needs the package {error.name}: pip install 'rtx-explain[export]'") from None
    batch = torch.export.Dim("N", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # It tells of packages that are not needed.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter warns of its own versions.
        try:
            made = torch.onnx.export(
                module.eval(), tuple(inputs.values()), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(inputs), output_names=list(outputs), dynamic_shapes=[{0: batch}] * len(inputs),
            )  # fmt: skip
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{what} cannot be written as a graph: {why}") from None
    assert made is not None
    return made


def open_session(path: Path, device: str, threads: int) -> InferenceSession:
    """The graph in ONNX Runtime on `cpu` or `cuda`.

    UserError where it would run elsewhere: ONNX Runtime takes the CPU instead of CUDA without an error of its own.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # What goes wrong is raised here.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait by turning would take the cores from grabber and display.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = PROVIDERS[device]
    # TF32 would round what is called fp32.
    given = [(wanted, {"use_tf32": "0"})] if device == "cuda" else [wanted]
    session = onnxruntime.InferenceSession(str(path), options, providers=given)
    taken = session.get_providers()
    if taken[0] != wanted:
        raise UserError(
            f"device {device!r} is not usable for backend 'onnx': ONNX Runtime {onnxruntime.__version__} took "
            f"{taken[0]} instead of {wanted}; it needs a GPU, its driver and the CUDA that it was built for; "
            f"use --device cpu, see `rtx doctor`"
        )
    return session
