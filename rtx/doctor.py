"""What this machine has for rtx: one line each, with what to do about what is missing."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rtx import resources
from rtx.config import Page
from rtx.machine import cores

Verdict = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    what: str
    found: str
    way_out: str = ""


def examine() -> Iterator[Finding]:
    """Every finding; the slow ones last."""
    yield _cores()
    yield _shared_memory()
    yield _cameras()
    yield _display()
    yield _port(Page())
    yield from _weights()
    yield from _torch()
    yield _onnxruntime()
    yield _openvino()


def _openvino() -> Finding:
    try:
        found = version("openvino")
    except PackageNotFoundError:
        return Finding("note", "OpenVINO", "not installed", "quicker on many CPUs: pip install 'rtx-explain[openvino]'")
    return Finding("ok", "OpenVINO", found)


def _cores() -> Finding:
    if cores() < 2:
        return Finding(
            "note",
            "cores",
            f"{cores()}",
            "grabber, worker and display share one core: expect few explanations a second",
        )
    return Finding("ok", "cores", f"{cores()}")


def _shared_memory() -> Finding:
    """How much there is: Linux keeps frames in anonymous memory, which RAM alone limits, others in named segments."""
    segments = Path("/dev/shm")
    free = (
        f"{shutil.disk_usage(segments).free / 2**20:.0f} MB free in /dev/shm" if segments.is_dir() else "named segments"
    )
    if hasattr(os, "memfd_create"):
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Finding(
            "ok", "shared memory", f"memfd, {pages / 2**20:.0f} MB of memory free; {free} for link.memory = named"
        )
    if segments.is_dir() and shutil.disk_usage(segments).free < 64 * 2**20:
        return Finding("missing", "shared memory", free, "docker run --shm-size=512m, or a larger tmpfs on /dev/shm")
    return Finding("ok", "shared memory", free)


def _cameras() -> Finding:
    from rtx.capture.sources import webcams

    found = webcams()
    if not found:
        return Finding(
            "note",
            "cameras",
            "none",
            "plug one in, add yourself to the group video; or use rtsp://..., a file, or synthetic:",
        )
    return Finding("ok", "cameras", ", ".join(f"{path} ({name})" for path, name in found))


def _display() -> Finding:
    for variable in ("WAYLAND_DISPLAY", "DISPLAY"):
        if os.environ.get(variable):
            return Finding("ok", "display", f"{variable}={os.environ[variable]}")
    if sys.platform != "linux":
        return Finding("ok", "display", sys.platform)
    return Finding("note", "display", "none", "windows cannot open here; the page works (--show page)")


def _port(page: Page) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((page.host, page.port))
        except OSError as error:
            return Finding("missing", "port", f"{page.port}: {error.strerror}", f"--set page.port={page.port + 1}")
    return Finding("ok", "port", f"{page.port} is free for the page")


def _weights() -> Iterator[Finding]:
    from rtx.errors import UserError
    from rtx.nets import cards, weights

    for name in cards.names():
        try:
            yield Finding(
                "ok",
                "weights",
                f"{name}: {weights.check(cards.card(name)).stat().st_size / 2**20:.0f} MB in {resources.cache()}",
            )
        except UserError as error:
            yield Finding("missing", "weights", name, str(error))


def _torch() -> Iterator[Finding]:
    import torch

    from rtx.engine.torch_backend import cpu_has_bf16

    yield Finding("ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if cpu_has_bf16():
        yield Finding("ok", "bf16 on the CPU", "yes (used by default)")
    else:
        yield Finding(
            "note",
            "bf16 on the CPU",
            "no",
            "fp32 is used: expect a third of the rate; a GPU or a newer CPU helps",
        )
    if torch.cuda.is_available():
        yield Finding("ok", "CUDA", f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})")
    elif torch.version.cuda:
        yield Finding(
            "note",
            "CUDA",
            "torch has it, but no GPU or driver answers",
            "see nvidia-smi; else the CPU is used",
        )
    else:
        yield Finding(
            "note",
            "CUDA",
            "this torch is a build for CPUs",
            "with an NVIDIA GPU: install torch from the index for your CUDA",
        )


def _onnxruntime() -> Finding:
    """Which providers a session really gets: the list of available ones names CUDA on machines without a GPU."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    listed = onnxruntime.get_available_providers()
    usable = [name for name in listed if _gets(name)]
    missing = [name for name in listed if name not in usable]
    found = f"{onnxruntime.__version__}: {', '.join(usable) or 'none'}"
    if missing:
        return Finding("note", "ONNX Runtime", found, f"listed but not usable here: {', '.join(missing)}")
    return Finding("ok", "ONNX Runtime", found)


# An ONNX model of one Identity node, float[1] to float[1], opset 13: the smallest session that shows what is usable.
_IDENTITY = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a02"
    "0801620f0a0179120a0a08080112040a0208014202100d"
)


def _gets(provider: str) -> bool:
    import onnxruntime

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It prints that it falls back.
            session = onnxruntime.InferenceSession(_IDENTITY, providers=[provider])
        return provider in session.get_providers()
    except Exception:  # Whatever it is that fails, the provider is not usable, and that is the finding.
        return False
