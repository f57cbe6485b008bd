"""Where models/ and pipelines/ are: in a source checkout beside the package, in an installed wheel inside it."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE / "_data" if (_PACKAGE / "_data").is_dir() else _PACKAGE.parent

MODELS = _ROOT / "models"
PIPELINES = _ROOT / "pipelines"


def own_models() -> Path:
    """The user's own models: `$RTX_MODELS`, else `$XDG_DATA_HOME/rtx/models`, else `~/.local/share/rtx/models`."""
    if chosen := os.environ.get("RTX_MODELS"):
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "rtx" / "models"


def cache() -> Path:
    """The user's cache folder of rtx: `$RTX_CACHE`, else `$XDG_CACHE_HOME/rtx`, else `~/.cache/rtx`."""
    if chosen := os.environ.get("RTX_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rtx"
