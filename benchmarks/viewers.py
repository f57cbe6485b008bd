"""What twenty viewers of the page cost the worker: its rate beside that with one, and the display's memory.

The viewers are one process on the same cores, of the lowest priority, which asks as browsers do and decodes nothing:
what is measured is what rtx does for them. `python -m benchmarks.viewers [--seconds 60]`.
"""

from __future__ import annotations

import argparse
import base64
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from benchmarks.record import keep, show
from rtx.clock import NS_PER_S, now
from rtx.config import of_sources
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.report import summarise
from rtx.supervise import Child, Supervisor

SOURCES = {"i3d-k400": "synthetic:?size=1280x720&fps=30", "figures": "scene:hall?seed=7"}
MANY = 20
ORDERS = {"i3d-k400": (1, MANY, MANY, 1) * 2, "figures": (1, MANY)}
"""Viewers, one stretch after the other in one run, so that what drifts on the machine meets both. Of I3D more often:
its rate varies, that of `figures` is the camera's."""
PORT = 8795
SETTLE_S = 5.0
"""After viewers came, before their stretch is measured."""
GOAL = 0.05
"""By so much the worker may be slower."""


class Stretch(NamedTuple):
    """What was counted while so many viewers were there."""

    viewers: int
    explained: int
    """Clips, from one to the last of the stretch, which took `lasted_s`."""
    lasted_s: float
    sent_per_s: float
    """Pictures to all of them."""
    display_mb: float
    grown_mb: float
    """The most of the second half above the most of the first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--take", type=int, metavar="N", help="Be so many viewers of the page on --port.")
    parser.add_argument("--port", type=int, default=PORT)
    wanted = parser.parse_args()
    if wanted.take:
        os.nice(19)
        _take(wanted.take, wanted.port, wanted.seconds)
        return
    runs = {model: _stretches(model, wanted.seconds) for model in SOURCES}
    ratios = {model: round(_rate(of, MANY) / _rate(of, 1), 3) for model, of in runs.items()}
    rows = [
        [model, of.viewers, round(of.explained / of.lasted_s, 3), of.sent_per_s, of.display_mb, of.grown_mb]
        for model, stretches in runs.items() for of in stretches
    ]  # fmt: skip
    show("Viewers", ["network", "viewers", "explained /s", "pictures /s", "display MB", "grown MB"], rows)
    kept = {
        model: {number: [of._asdict() for of in stretches if of.viewers == number] for number in (1, MANY)}
        for model, stretches in runs.items()
    }  # fmt: skip
    found = {"seconds": wanted.seconds, "goal": GOAL, "viewers": MANY, "ratios": ratios, "runs": kept}
    keep("viewers" if cpu_has_bf16() else "viewers-fp32", found)  # As `benchmarks.live` has it.


def _rate(stretches: list[Stretch], viewers: int) -> float:
    """Explained a second, of all stretches with so many viewers."""
    of = [stretch for stretch in stretches if stretch.viewers == viewers]
    return sum(stretch.explained for stretch in of) / sum(stretch.lasted_s for stretch in of)


def _stretches(model: str, seconds: float) -> list[Stretch]:
    settings = [f"page.port={PORT}", f"worker.model={model}", "budget.deadline_misses=1.0"]
    with Supervisor(of_sources([SOURCES[model]], settings)) as run:
        _step_until(run, lambda: summarise(run).first_heatmap_s is not None, 90)
        return [_stretch(run, number, seconds) for number in ORDERS[model]]


def _stretch(run: Supervisor, number: int, seconds: float) -> Stretch:
    command = [sys.executable, "-m", "benchmarks.viewers", "--take", str(number), "--port", str(PORT)]
    viewers = subprocess.Popen(
        [*command, "--seconds", str(seconds + SETTLE_S)], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    _step_for(run, SETTLE_S)
    before, memory = _explained(run), []
    until = now() + seconds * NS_PER_S

    def ended() -> bool:
        display = _child(run, "display").status
        memory.append(display.rss_mb if display else 0.0)
        return now() > until

    _step_until(run, ended, seconds + 10)
    after = _explained(run)
    told = msgspec.json.decode(viewers.communicate(timeout=60)[0])
    half = len(memory) // 2
    return Stretch(
        told["viewers"], after[0] - before[0], round((after[1] - before[1]) / NS_PER_S, 3), told["per_s"],
        round(max(memory), 1), round(max(memory[half:]) - max(memory[:half]), 1),
    )  # fmt: skip


def _explained(run: Supervisor) -> tuple[int, int]:
    """Clips so far, and when the last of them was done: monotonic ns."""
    worker = _child(run, "worker").status
    assert worker is not None
    return worker.counts["explained"], worker.counts["explained_last_ns"]


def _child(run: Supervisor, role: str) -> Child:
    return next(child for child in run.children if child.role == role)


def _step_for(run: Supervisor, seconds: float) -> None:
    until = now() + seconds * NS_PER_S
    _step_until(run, lambda: now() > until, seconds + 10)


def _step_until(run: Supervisor, done: Callable[[], bool], patience_s: float) -> None:
    deadline = now() + patience_s * NS_PER_S
    while not done():
        if not run.step() or now() > deadline:
            raise SystemExit("\n".join(["the run did not go on:", *run.messages()]))


def _take(number: int, port: int, seconds: float) -> None:
    begun = time.monotonic()
    with selectors.DefaultSelector() as ready:
        viewers = [_Viewer(port) for _ in range(number)]
        for viewer in viewers:
            ready.register(viewer.line, selectors.EVENT_READ, viewer)
        while ready.get_map() and (left := begun + seconds - time.monotonic()) > 0:
            for key, _ in ready.select(left):
                try:
                    stays = key.data.read()
                except ConnectionError:  # The run is over.
                    stays = False
                if not stays:
                    ready.unregister(key.data.line)
    per_s = sum(viewer.pictures for viewer in viewers) / (time.monotonic() - begun)
    came = sum(viewer.pictures > 0 for viewer in viewers)
    print(msgspec.json.encode({"viewers": came, "per_s": round(per_s, 1)}).decode())


class _Viewer:
    """Asks as a browser does, for one camera's pictures. By hand: parsing costs the cores that are measured."""

    # Frames of a client's, with a mask of zeros: FIN and opcode, length, mask, payload (RFC 6455, section 5.2).
    _NEXT = b"\x81\x84\0\0\0\0next"
    _PONG = b"\x8a\x84\0\0\0\0"
    _BINARY, _CLOSE, _PING = 2, 8, 9

    def __init__(self, port: int) -> None:
        self.pictures = 0
        self.line = socket.create_connection(("127.0.0.1", port))
        self._space = bytearray(1 << 20)
        self._left = 0
        """Bytes of a frame's payload that are still to come."""
        self._picture = False
        """Are they a picture's?"""
        host = f"127.0.0.1:{port}"
        self.line.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self._take(1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"the page refuses a viewer: {answer.decode()}")
        self.line.sendall(self._NEXT * 2)

    def read(self) -> bool:
        """Take what has come, ask for the next picture after each; False where the page has closed."""
        if not self._left:
            kind, size = self._take(2)
            kind &= 15
            if size > 125:
                size = int.from_bytes(self._take(2 if size == 126 else 8))
            if kind == self._CLOSE:
                return False
            if kind == self._PING:
                self.line.sendall(self._PONG + self._take(size))
                return True
            self._left, self._picture = size, kind == self._BINARY
        # The kernel throws away what is not looked at (tcp(7)).
        came = self.line.recv_into(self._space, min(self._left, len(self._space)), socket.MSG_TRUNC)
        self._left -= came
        if self._picture and not self._left:
            self.pictures += 1
            self.line.sendall(self._NEXT)
        return came > 0

    def _take(self, size: int) -> bytes:
        """So many bytes, which have been sent together with what has come."""
        data = self.line.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise ConnectionError("the page has gone")
        return data


if __name__ == "__main__":
    main()
