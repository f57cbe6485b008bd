"""The `rtx` command as a process among its own kind: what it says, whom it starts, what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.waiting import until

COMMAND = (sys.executable, "-m", "rtx.cli")
SMALL = "synthetic:?size=320x240&fps=15"
"""A camera that costs next to nothing."""
HALL = "scene:hall?size=320x240&fps=15"
"""One whose network comes with rtx: real evidence, for every frame."""


class Running:
    """`with Running("run", SMALL) as rtx:`; whatever it started and still lives at the end of the block is killed."""

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = (), report: bool = False
    ):
        # Short: socket files have to fit into it.
        self.folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
        self.sockets = self.folder / "run"
        self.sockets.mkdir(mode=0o700)
        self.report_path = self.folder / "report.json"
        self._command = [*prefix, *COMMAND, *arguments, *(["--report", str(self.report_path)] if report else [])]
        without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self._env = without | {"XDG_RUNTIME_DIR": str(self.sockets), "COLUMNS": "80"} | (env or {})

    def __enter__(self) -> Self:
        self._out, self._err = (self.folder / "out").open("w+"), (self.folder / "err").open("w+")
        self.process = subprocess.Popen(
            self._command, env=self._env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._out.close()
        self._err.close()
        shutil.rmtree(self.folder)

    def family(self) -> list[int]:
        """Every living process of its session: itself, its children, theirs."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session(pid) == self.process.pid]

    def children(self) -> list[int]:
        return [pid for pid in self.family() if pid != self.process.pid]

    def end(self, seconds: float = 30) -> int:
        """Its exit code, once it has ended."""
        until(lambda: self.process.poll() is not None, seconds)
        return self.process.returncode

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def report(self) -> dict[str, Any]:
        """What it wrote, where it was started with `report=True`."""
        found: dict[str, Any] = json.loads(self.report_path.read_text())
        return found

    def leftovers(self) -> list[str]:
        """What it should have removed: processes, socket folders, shared memory."""
        shm = [path.name for path in Path("/dev/shm").glob("rtx-*") if not _alive(int(path.name.split("-")[1]))]
        return [*map(str, self.children()), *(path.name for path in self.sockets.iterdir()), *shm]


def _session(pid: int) -> int | None:
    """The session of a living process; None for one that has ended."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
