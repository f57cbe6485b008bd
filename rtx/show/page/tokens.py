"""Who may see the page from elsewhere, and who may change what is explained: two tokens in a private file."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Literal

import msgspec

from rtx import private
from rtx.errors import UserError

Role = Literal["steer", "watch"]
MADE_BY = "rtx token new FILE"


class Tokens(msgspec.Struct, frozen=True):
    """What stands in the file."""

    steer: str
    """Opens the page with its controls."""
    watch: str
    """Opens the page to look at."""

    def __repr__(self) -> str:
        return "Tokens(hidden)"

    def role(self, token: str) -> Role | None:
        """What whoever has this token may do."""
        return _match(token, self.steer, self.watch)

    def role_of_cookie(self, cookie: str) -> Role | None:
        """What the browser that keeps this cookie may do."""
        return _match(cookie, cookie_of(self.steer), cookie_of(self.watch))


def _match(given: str, steer: str, watch: str) -> Role | None:
    if hmac.compare_digest(given.encode(), steer.encode()):
        return "steer"
    return "watch" if hmac.compare_digest(given.encode(), watch.encode()) else None


def cookie_of(token: str) -> str:
    """What a browser keeps instead of the token itself."""
    return hashlib.sha256(b"rtx page cookie " + token.encode()).hexdigest()


def new_tokens(path: Path) -> None:
    """Make a file with two tokens, which only the user can read. UserError."""
    private.write_new(path, msgspec.json.encode(Tokens(secrets.token_urlsafe(24), secrets.token_urlsafe(24))))


def read_tokens(path: str) -> Tokens:
    """UserError."""
    try:
        tokens = msgspec.json.decode(private.read("page.token", path, MADE_BY), type=Tokens)
    except msgspec.DecodeError:
        raise UserError(f"page.token = {path!r} is no token file; make one with `{MADE_BY}`") from None
    if min(len(tokens.steer), len(tokens.watch)) < 20 or tokens.steer == tokens.watch:
        raise UserError(f"page.token = {path!r} holds tokens that could be guessed; make new ones with `{MADE_BY}`")
    return tokens
