"""The live web page: one WebSocket brings pictures and small maps, the browser draws the heat itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtx.show.page.address import check_address

if TYPE_CHECKING:
    from rtx.show.page.sink import PageSink

__all__ = ["PageSink", "check_address"]


def __getattr__(name: str) -> Any:
    """`PageSink` when it is asked for: the command checks addresses without loading a web server."""
    if name == "PageSink":
        from rtx.show.page.sink import PageSink

        return PageSink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
