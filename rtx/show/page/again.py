"""Clips explained once more, as viewers of the archive wish: one at a time, by a process of the lowest priority."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import msgspec

PATIENCE_S = 3.0


class Work(msgspec.Struct, frozen=True):
    """What is being done, or was last."""

    event: int
    explainer: str
    state: str = "explaining"
    """`explaining`, `done`, or why it could not be."""


class Again:
    """Starts `rtx events explain`, which leaves its maps beside the clip."""

    def __init__(self, folder: Path):
        """`folder`: of the events."""
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._work: Work | None = None

    def ask(self, event: int, explainer: str) -> bool:
        """False where another clip is being explained."""
        with self._lock:
            if self._looked() is not None and self._process is not None:
                return False
            command = [
                sys.executable, "-m", "rtx.cli", "events", "explain", str(event), f"--explainer={explainer}",
                f"--folder={self._folder}",
            ]  # fmt: skip
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 (read when the process has ended)
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)
            self._work = Work(event, explainer)
            return True

    @property
    def pid(self) -> int | None:
        """Of the process that explains."""
        return self._process.pid if self._process is not None else None

    @property
    def work(self) -> Work | None:
        """What is being done, or was last."""
        with self._lock:
            return self._looked()

    def _looked(self) -> Work | None:
        """With the lock: has it ended meanwhile?"""
        if self._process is None or self._work is None or self._said is None:
            return self._work
        code = self._process.poll()
        if code is not None:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip().splitlines()
            self._said.close()
            why = said[-1].removeprefix("rtx: ") if said else f"it ended with {code}"
            self._work = msgspec.structs.replace(self._work, state="done" if code == 0 else why)
            self._process = self._said = None
        return self._work

    def close(self) -> None:
        """What is being done ends."""
        with self._lock:
            if self._process is None:
                return
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
