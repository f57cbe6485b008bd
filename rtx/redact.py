"""Passwords out of every text that leaves rtx: URLs' user info and query parameters that look like secrets."""

from __future__ import annotations

import re

MASK = "***"

# Up to the last @ before white space or a quote: a password may itself hold '/', ':', '@', '?' or '#'.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.\-]*://)(?P<info>[^\s'\"<>]*)@(?=[^\s@'\"<>/]+)")
_QUERY = re.compile(
    r"(?P<key>[?&;](?:[\w\-]*(?:pass(?:w(?:or)?d)?|pwd|token|secret|key|auth|user(?:name)?|login)[\w\-]*)=)[^\s&;'\"<>]+",
    re.IGNORECASE,
)


def redact(text: object) -> str:
    """`rtsp://admin:pw@10.0.0.2/1?token=x` -> `rtsp://***@10.0.0.2/1?token=***`; other text unchanged."""
    return _QUERY.sub(rf"\g<key>{MASK}", _USERINFO.sub(rf"\g<scheme>{MASK}@", str(text)))
