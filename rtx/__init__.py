"""rtx: what a video network looks at, while it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtx.api import Result as Result
    from rtx.api import explain as explain
    from rtx.api import load as load
    from rtx.api import read_clip as read_clip
    from rtx.api import stream as stream

else:
    from rtx import explain as explain

__version__ = "0.1.0"

_LAZY = ("Result", "load", "read_clip", "stream")


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # torch is loaded by whoever needs a network, and by nobody else.
        from rtx import api

        return getattr(api, name)
    raise AttributeError(f"module 'rtx' has no attribute {name!r}")
