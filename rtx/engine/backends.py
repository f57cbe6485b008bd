"""Backends by name: what makes a network's pass."""

from __future__ import annotations

from typing import get_args

from rtx.config import BackendName, DeviceName, PrecisionName
from rtx.engine.torch_backend import TorchBackend
from rtx.errors import unknown
from rtx.nets.cards import Card


def load(
    card: Card, backend: BackendName = "torch", device: DeviceName = "auto", precision: PrecisionName = "auto",
    threads: int | None = None,
) -> TorchBackend:  # fmt: skip
    """The card's network, ready to run. UserError where this backend cannot be had, or not on this device."""
    for what, wanted, known in (
        ("backend", backend, BackendName), ("device", device, DeviceName), ("precision", precision, PrecisionName),
    ):  # fmt: skip
        if wanted not in get_args(known):  # From Python, anything may come.
            raise unknown(what, str(wanted), get_args(known))
    if backend == "torch":
        return TorchBackend(card, device, precision, threads)
    if backend in ("compile", "graphs"):
        from rtx.engine.quicker import CompiledBackend, GraphsBackend

        return (CompiledBackend if backend == "compile" else GraphsBackend)(card, device, precision, threads)
    if backend == "onnx":
        from rtx.engine.onnx_backend import OnnxBackend

        return OnnxBackend(card, device, precision, threads)
    from rtx.engine.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(card, device, precision, threads)
