"""What every request to the page is held to: a loopback name, its own origin; and the answers' headers."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtx.show.page.address import is_loopback

_MISDIRECTED = 421


class Guard:
    """Refuses foreign Host and Origin headers, adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        # A foreign name that was made to point at 127.0.0.1 (DNS rebinding) still shows in the Host header.
        host = hosts[0] if len(hosts) == 1 and is_loopback(hosts[0]) else None
        if scope["type"] == "websocket":
            # Any site may open a WebSocket to localhost; browsers say which one does. Others need not say.
            origin = headers.get("origin")
            if host is None or (origin is not None and origin not in (f"http://{host}", f"https://{host}")):
                await send({"type": "websocket.close", "code": 1008, "reason": "foreign Host or Origin"})
                return
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_headers(host))
            await send(message)

        app = self._app if host is not None else _refusal
        await app(scope, receive, guarded)


_refusal = PlainTextResponse("Ask for this page as localhost or 127.0.0.1.\n", status_code=_MISDIRECTED)


def _headers(host: str | None) -> dict[str, str]:
    # 'self' includes WebSockets, but not in Safari before 15.4, so that they are named.
    sockets = f" ws://{host} wss://{host}" if host is not None else ""
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
