"""The webcams that the kernel lists, by path and name. Opens none of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rtx.errors import UserError, unknown

DEVICES = Path("/dev")
LISTED = Path("/sys/class/video4linux")


def webcams() -> list[tuple[str, str]]:
    """(path, name) of every webcam by number; empty where the system does not list them."""
    found = []
    for node in LISTED.glob("video*"):
        number = re.fullmatch(r"video(\d+)", node.name)
        # A camera has further nodes, e.g. for metadata, that give no picture: only its first counts.
        if number and _text(node / "index") in ("", "0"):
            found.append((int(number[1]), str(DEVICES / node.name), _text(node / "name")))
    return [(path, name) for _, path, name in sorted(found)]


def address(source: str) -> int | str:
    """What OpenCV opens for a webcam's number, path or name. UserError with the nearest name."""
    if source.isdecimal():
        return int(source)
    if source.startswith(f"{DEVICES}/"):
        return source
    known = webcams()
    for path, name in known:
        if name == source:
            return path
    if known:
        raise unknown("webcam", source, {name for _, name in known})
    raise UserError(f"no webcam {source!r}, and no file of that name; rtx doctor lists cameras")


def fault(address: int | str) -> str:
    """Why a webcam that OpenCV could not open is not to be had, in words."""
    if not sys.platform.startswith("linux"):
        return "none of that number, or another program holds it"
    path = Path(address) if isinstance(address, str) else DEVICES / f"video{address}"
    if not path.exists():
        return f"{path} does not exist"
    try:
        path.open("rb").close()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"{path} gives no picture (another program may hold it)"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
