"""Where the page may be served, and under which names a browser may ask for it: loopback only."""

from __future__ import annotations

import errno
import re
import socket

from rtx.config import Page
from rtx.errors import UserError

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Is this Host header one of this machine's own names? Any port: `ssh -L` may map another one."""
    return _LOOPBACK.fullmatch(host) is not None


def check_address(config: Page) -> None:
    """Raises UserError where the page cannot be served at its address."""
    listen(config).close()


def listen(config: Page) -> socket.socket:
    """The page's socket, listening. Raises UserError."""
    if not is_loopback(_bracketed(config.host)):
        raise UserError(
            f"page.host = {config.host!r}: the page has no tokens yet, so only a loopback address such as "
            f"127.0.0.1 is served; from elsewhere use ssh -L {config.port}:127.0.0.1:{config.port}"
        )
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
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
            "take 127.0.0.1 and a port from 1024 on"
        ) from None
    return listener


def url(config: Page, listener: socket.socket) -> str:
    """What to type into the browser."""
    return f"http://{_bracketed(config.host)}:{listener.getsockname()[1]}/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
