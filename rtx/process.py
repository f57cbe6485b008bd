"""One child process: reads what it is to do from its standard input, tells how it is, ends with its parent."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from typing import Any, Literal

import msgspec
import zmq

from rtx.clock import now
from rtx.config import Pipeline
from rtx.errors import UserError
from rtx.link.sockets import Sockets
from rtx.measure.ages import Ages
from rtx.redact import redact

Role = Literal["grabber", "worker", "display", "recorder"]

BEAT_S = 0.5
GRACE_S = 3.0
USER_ERROR = 2
TERMINATED = 143
"""It was told to stop. Whoever did not tell it so starts it anew; 0 means that its work is done."""


class Start(msgspec.Struct, frozen=True):
    """What a child is told on its standard input (never on its command line, which others can read)."""

    role: Role
    name: str
    pipeline: Pipeline
    folder: str
    """Private folder of the run's socket files."""
    index: int = 0
    """The camera's number, for a grabber."""
    restarts: int = 0


class Status(msgspec.Struct, frozen=True):
    """How a process is, twice a second."""

    process: str
    pid: int
    state: str
    """In words, for people."""
    running: bool
    """False while it starts; a main loop that stands still counts only after that."""
    beat: int
    """When its main loop last came round, monotonic ns."""
    counts: dict[str, int]
    drops: dict[str, int]
    ages: dict[str, dict[str, Any]]
    """Histograms since the process began (see Ages.plain)."""
    facts: dict[str, str]
    cpu_s: float
    """Since it runs: imports and loading are no part of it."""
    rss_mb: float


class Report:
    """What a process says of itself. Its threads write; the heartbeat reads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "starting"
        self.running = False
        self._cpu_before = 0.0
        self.beat = now()
        self.counts: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.ages: dict[str, Ages] = {}
        self.facts: dict[str, str] = {}

    def alive(self, state: str | None = None) -> None:
        """The main loop came round."""
        if not self.running:
            self.running, self._cpu_before = True, time.process_time()
        self.beat = now()
        if state is not None:
            self.state = state

    def count(self, name: str, camera: str | None = None) -> None:
        """One more of these, with the times of the first and the last, for rates."""
        self.counts[name] += 1
        if camera is not None:
            self.counts[f"{name}@{camera}"] += 1
        self.counts[f"{name}_last_ns"] = now()
        self.counts.setdefault(f"{name}_first_ns", now())

    def age(self, name: str, age_ms: float, camera: str | None = None) -> None:
        self.ages.setdefault(name, Ages()).add(age_ms)
        if camera is not None:
            self.ages.setdefault(f"{name}@{camera}", Ages()).add(age_ms)

    def status(self) -> Status:
        return Status(
            process=self.name, pid=os.getpid(), state=redact(self.state), running=self.running, beat=self.beat,
            counts=dict(self.counts), drops=dict(self.drops),
            ages={name: ages.plain() for name, ages in list(self.ages.items())},
            facts=dict(self.facts), cpu_s=time.process_time() - self._cpu_before, rss_mb=rss_mb(),
        )  # fmt: skip


def rss_mb() -> float:
    """Resident memory of this process in MB: now on Linux, its highest elsewhere."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def status_address(folder: str) -> str:
    return f"ipc://{folder}/status"


def main() -> None:
    """Entry of `python -m rtx.process`."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor ends us in order.
    # Not sys.stdin: its buffer would hold a lock while the watcher waits in it.
    start = msgspec.json.decode(_line(0), type=Start)
    orphaned = threading.Event()
    threading.Thread(target=_end_with_parent, args=(stop, orphaned, start.folder), daemon=True).start()
    report = Report(start.name)
    with Sockets() as sockets:
        beating = threading.Event()
        heart = threading.Thread(target=_beat, args=(sockets, start.folder, report, beating), daemon=True)
        heart.start()
        try:
            _run(start, stop, report)
            code = TERMINATED if stop.is_set() else 0
        except UserError as error:
            print(redact(error), file=sys.stderr, flush=True)
            code = USER_ERROR
        except Exception:
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            code = 1
        finally:
            beating.set()  # Before the sockets close under it.
            heart.join(1.0)
    if orphaned.is_set():
        shutil.rmtree(start.folder, ignore_errors=True)  # Nobody else is left to do it; the siblings do the same.
    # Threads that hang in a driver must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(start: Start, stop: threading.Event, report: Report) -> None:
    if start.role == "grabber":
        from rtx.capture.grabber import run as run_grabber

        run_grabber(start, stop, report)
    elif start.role == "worker":
        from rtx.engine.worker import run as run_worker

        run_worker(start, stop, report)
    elif start.role == "recorder":
        from rtx.events.recorder import run as run_recorder

        run_recorder(start, stop, report)
    else:
        from rtx.show.display import run as run_display

        run_display(start, stop, report)


def _line(fd: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(fd, 1 << 16)
        if not more:
            break
        data += more
    return data


def _end_with_parent(stop: threading.Event, orphaned: threading.Event, folder: str) -> None:
    """Our standard input closes when the parent dies, however it dies."""
    while os.read(0, 4096):
        pass
    orphaned.set()
    stop.set()
    time.sleep(GRACE_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _beat(sockets: Sockets, folder: str, report: Report, end: threading.Event) -> None:
    socket = sockets.send_to(status_address(folder))
    encoder = msgspec.msgpack.Encoder()
    last = False
    while not last:
        last = end.wait(BEAT_S)
        try:
            socket.send(encoder.encode(report.status()), zmq.NOBLOCK)
        except zmq.Again:
            report.drops["status"] += 1
    if last:
        time.sleep(0.05)  # The context closes without linger; let the last word leave.


if __name__ == "__main__":
    main()
