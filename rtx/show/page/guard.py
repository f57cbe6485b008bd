"""What every request to the page is held to: a name of its own, its own origin, a token; the answers' headers."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtx.config import Page
from rtx.show.page.address import Names
from rtx.show.page.tokens import Role, Tokens, cookie_of, read_tokens

ROLE = "rtx.role"
"""Where a request's scope says what whoever sent it may do."""
_YEAR_S = 365 * 24 * 3600
_OPEN = ("/healthz", "/readyz")
"""What a service manager asks without a token; it tells nothing of what is seen."""


class Guard:
    """Refuses foreign Host and Origin headers and those without a token, adds the security headers."""

    def __init__(self, app: ASGIApp, config: Page) -> None:
        self._app, self._names = app, Names(config)
        self._tokens = read_tokens(config.token) if config.token else None
        self._cookie = f"rtx-{config.port}"  # Cookies know no ports: each page has its own.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 and self._names.hold(hosts[0]) else None
        scope[ROLE] = self._role(headers)
        if scope["type"] == "websocket":
            # Any site may open a WebSocket to localhost; browsers say which one does. Others need not say.
            if host is None or _foreign(headers, host):
                await send({"type": "websocket.close", "code": 1008, "reason": "foreign Host or Origin"})
            elif scope[ROLE] is None:
                await send({"type": "websocket.close", "code": 1008, "reason": "no token"})
            else:
                await self._app(scope, receive, send)
            return

        foreign = scope["method"] not in ("GET", "HEAD") and _foreign(headers, host)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_headers(host))
            await send(message)

        app = _refusal if host is None else _FOREIGN if foreign else self._admitted(scope, headers)
        await app(scope, receive, guarded)

    def _role(self, headers: Headers) -> Role | None:
        if self._tokens is None:
            return "steer"
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._tokens.role(bearer.strip())
        kept = cookie_parser(headers.get("cookie", "")).get(self._cookie)
        return None if kept is None else self._tokens.role_of_cookie(kept)

    def _admitted(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What answers this request."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if scope["path"] == "/" and given and self._tokens is not None:
            return _welcome(self._tokens, given[-1], self._cookie, _is_private(scope, headers))
        if scope[ROLE] is not None or scope["path"] in _OPEN:
            return self._app
        # A browser that follows a link on another site keeps a strict cookie back; asked from here it sends it.
        return _ONCE_MORE if headers.get("sec-fetch-site") == "cross-site" and scope["path"] == "/" else _LOCKED


def _foreign(headers: Headers, host: str | None) -> bool:
    """Was it another site that had a browser ask for this? Browsers say so with all that changes something."""
    origin = headers.get("origin")
    return origin is not None and origin not in (f"http://{host}", f"https://{host}")


def _is_private(scope: Scope, headers: Headers) -> bool:
    return scope["scheme"] == "https" or headers.get("x-forwarded-proto") == "https"


def _welcome(tokens: Tokens, token: str, name: str, secure: bool) -> Response:
    """The token becomes a cookie, and goes out of the address."""
    if tokens.role(token) is None:
        return _LOCKED
    answer = _once_more()
    answer.set_cookie(
        name, cookie_of(token), max_age=_YEAR_S, path="/", secure=secure, httponly=True, samesite="strict"
    )
    return answer


def _once_more() -> Response:
    # A redirect would still count as the other site's request, and come without the cookie.
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
        '<title>rtx live</title><p><a href="/">To the page</a></p></html>'
    )


_ONCE_MORE = _once_more()
_refusal = PlainTextResponse(
    "Ask for this page under its own name: localhost, 127.0.0.1, or one that page.names lists.\n", status_code=421
)
_FOREIGN = PlainTextResponse("Another site may not ask for this.\n", status_code=403)
_LOCKED = PlainTextResponse(
    "This page needs its token: open the address that `rtx token show FILE` gives.\n", status_code=401
)


def _headers(host: str | None) -> dict[str, str]:
    # 'self' includes WebSockets, but not in Safari before 15.4, so that they are named.
    sockets = f" ws://{host} wss://{host}" if host is not None else ""
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
            f"connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
