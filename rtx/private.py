"""Files with secrets: made for the user alone, and refused where others could read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rtx.errors import UserError


def write_new(path: Path, content: bytes) -> None:
    """A file that only the user can read. Never replaces one. UserError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a new file in a folder that exists") from None
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def read(key: str, path: str, made_by: str) -> bytes:
    """What the file that `key` names holds. UserError, which names the command that makes one."""
    try:
        mode = os.stat(path).st_mode
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{key} = {path!r}: {error.strerror}; make one with `{made_by}`") from None
    if stat.S_IMODE(mode) & 0o077:
        raise UserError(f"{key} = {path!r} can be read by others; run `chmod 600` on it")
    return content
