"""Passwords out of every text that leaves rtx: URLs' user info and query parameters that look like secrets."""

from __future__ import annotations

import re

MASK = "***"

# Up to the last @ before white space or a quote: a password may itself hold '/', ':', '@', '?' or '#'. One slash
# instead of two is what is left of a URL that was taken for a path.
_SCHEME = r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]*:/{1,2})"
_USERINFO = re.compile(_SCHEME + r"[^\s'\"<>]*@(?=[^\s@'\"<>/]+)")
# After `user:` a password may hold even those; the next URL of the text is left to itself.
_ODD_PASSWORD = re.compile(_SCHEME + r"[^\s/@:'\"<>]+:(?:(?!:/).)*@(?=[\w\[])")
_SECRET = r"pass|pwd|pw|psw|token|secret|key|auth|usr|user|login|cred|sig"
_QUERY = re.compile(rf"(?P<key>[?&;/_](?:[\w\-]*(?:{_SECRET})[\w\-]*)=)[^\s&;'\"<>]+", re.IGNORECASE)


def redact(text: object) -> str:
    """`rtsp://admin:pw@10.0.0.2/1?token=x` -> `rtsp://***@10.0.0.2/1?token=***`; other text unchanged."""
    plain = _USERINFO.sub(rf"\g<scheme>{MASK}@", str(text))
    plain = _ODD_PASSWORD.sub(rf"\g<scheme>{MASK}@", plain)
    return _QUERY.sub(rf"\g<key>{MASK}", plain)
