"""The RTSP camera for tests as an object that can be killed, frozen, thawed and started again."""

from __future__ import annotations

import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_PYTHON = "/usr/bin/python3"
_NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def why_not() -> str | None:
    """Why no RTSP server can run here, or None where it can."""
    if not Path(_PYTHON).exists():
        return f"no {_PYTHON} for the RTSP server"
    tried = subprocess.run([_PYTHON, "-c", _NEEDS], capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode == 0:
        return None
    return f"no RTSP server (apt install gir1.2-gst-rtsp-server-1.0): {tried.stderr.strip().splitlines()[-1]}"


class RtspServer:
    """`with RtspServer() as server:` runs a camera at `server.url`; a restart keeps the port."""

    def __init__(self, size: str = "640x360", fps: int = 25, auth: str | None = None) -> None:
        self._options = ["--size", size, "--fps", str(fps)]
        if auth:
            self._options += ["--auth", auth]
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Without a password, also where one is needed."""
        return f"rtsp://127.0.0.1:{self._port}/camera"

    def url_as(self, login: str) -> str:
        """The URL with `user:password` in it."""
        return f"rtsp://{login}@127.0.0.1:{self._port}/camera"

    def start(self) -> None:
        """Start, and wait until the port listens."""
        assert self._process is None, "it runs already"
        script = str(Path(__file__).with_name("rtsp_server.py"))
        command = [_PYTHON, script, "--port", str(self._port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 20)
        line = self._process.stdout.readline() if ready else ""
        if not line.strip().isdecimal():
            self.stop()
            raise RuntimeError(f"the RTSP server did not start; it said {line!r}")
        self._port = int(line)

    def stop(self) -> None:
        """Kill it, as a camera whose plug is pulled. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Its connections stay open, but nothing comes any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
