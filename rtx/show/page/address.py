"""Where the page is served, by what certificate, and under which names a browser may ask for it."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import ssl

from rtx.config import Page
from rtx.errors import UserError
from rtx.show.page.tokens import MADE_BY, read_tokens

_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]", re.IGNORECASE)
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Is this name or address this machine's own, which nobody else can ask for? IPv6 in brackets."""
    return _LOOPBACK.fullmatch(host) is not None


class Names:
    """Under which names a browser may ask for the page.

    A foreign name that was made to point here (DNS rebinding) still shows in the Host header. An address is no such
    name: it is taken wherever the page listens beyond loopback.
    """

    def __init__(self, config: Page):
        self._beyond = not is_loopback(_bracketed(config.host))
        own = socket.gethostname().lower()
        self._known = {name.lower() for name in config.names} | ({own, f"{own}.local"} if self._beyond else set())

    def hold(self, host: str) -> bool:
        """Is this Host header one of them? Any port: `ssh -L` or a proxy may map another one."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower()
        return is_loopback(name) or name in self._known or (self._beyond and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def check_address(config: Page) -> None:
    """Raises UserError where the page cannot be served so."""
    listen(config).close()
    certified(config)


def listen(config: Page) -> socket.socket:
    """The page's socket, listening. Raises UserError."""
    if config.token is not None:
        read_tokens(config.token)
    elif config.names:
        raise UserError(
            f"page.names = {list(config.names)}: under these names others can ask for the page, so it needs a token: "
            f"run `{MADE_BY}` and set page.token to it"
        )
    elif not is_loopback(_bracketed(config.host)):
        raise UserError(
            f"page.host = {config.host!r}: beyond this machine the page needs a token: run `{MADE_BY}` and set "
            f"page.token to it; or stay with 127.0.0.1 and use ssh -L {config.port}:127.0.0.1:{config.port}"
        )
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise UserError(f"page.host = {config.host!r}: {error.strerror}; take 0.0.0.0 or an address of here") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A page that has just ended leaves its port in TIME_WAIT. That the port is taken still shows, because
        # the socket not only binds but listens at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            other = config.port + 1 if config.port < 65535 else 8642
            raise UserError(
                f"port {config.port} is taken: set page.port to another, e.g. --set page.port={other}"
            ) from None
        raise UserError(
            f"page.host = {config.host!r}, page.port = {config.port}: {error.strerror}; "
            "take 127.0.0.1 or 0.0.0.0, and a port from 1024 on"
        ) from None
    return listener


def certified(config: Page) -> bool:
    """Is the page served by TLS? Raises UserError where certificate and key do not fit."""
    if config.certificate is None and config.key is None:
        return False
    if config.certificate is None or config.key is None:
        lacking = "page.key" if config.key is None else "page.certificate"
        raise UserError(f"TLS takes page.certificate and page.key; {lacking} is not set")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.certificate, config.key)
    except OSError as error:  # SSLError is one, too.
        raise UserError(
            f"page.certificate = {config.certificate!r}, page.key = {config.key!r}: "
            f"{error.strerror or error}; both are PEM files that belong together"
        ) from None
    return True


def url(config: Page, port: int | None = None) -> str:
    """What to type into the browser."""
    anywhere = config.host in ("0.0.0.0", "::")
    host = socket.gethostname() if anywhere else _bracketed(config.host)
    return f"{'https' if config.certificate else 'http'}://{host}:{config.port if port is None else port}/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
