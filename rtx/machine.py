"""What a measurement must carry with it: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "rtx-explain", "torch", "numpy", "opencv-python", "pyzmq", "av", "msgspec", "onnxruntime-gpu", "onnxruntime",
    "openvino",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPUs, system and versions."""
    return {
        "processor": _processor(), "cores": cores(), "memory_gb": _memory_gb(), "gpus": gpus(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(), "packages": {name: of for name in PACKAGES if (of := _version(name))},
        "load_before": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """How many make one pass: one for each core, or as few as OMP_NUM_THREADS says."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores(), int(said)) if said.isdecimal() and int(said) else cores()


def gpus() -> list[str]:
    """Names of NVIDIA GPUs; none where there is no driver to tell."""
    return [line[0] for line in ask_gpus("name")]


def ask_gpus(*what: str) -> list[list[str]]:
    """What the driver says of each GPU, by NVML's names; nothing without one."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", f"--query-gpu={','.join(what)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return []
    return [line.split(", ") for line in said.stdout.splitlines()] if said.returncode == 0 else []


def commit() -> str:
    """The commit of this checkout, `+` where files have changed since; empty where it is none."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return ""
    head = _git(folder, "rev-parse", "--short", "HEAD")
    return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_gb() -> float:
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return name + (" with AVX512_BF16" if "avx512_bf16" in flags else "")
