"""The supervisor: starts the processes of a run, restarts what dies or freezes, ends all of them in order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from types import TracebackType

import msgspec
import zmq

from rtx.clock import NS_PER_S, now
from rtx.config import Pipeline
from rtx.errors import UserError
from rtx.health import Health, Part, health_address
from rtx.link.sockets import Sockets, check_endpoint, drain, private_folder, read_keys
from rtx.measure.ages import Ages
from rtx.process import TERMINATED, USER_ERROR, Role, Start, Status, status_address
from rtx.redact import redact
from rtx.roster import Numbered, Roster, wish_address

RESTARTS_A_MINUTE = 5
SILENT_S = 5.0
"""A process whose heartbeat fails for so long is frozen."""
STUCK_S = 60.0
"""A running process whose main loop has not come round for so long is stuck."""
START_S = 120.0
"""A process may take so long until its first heartbeat (a cold disk, a slow import)."""
STOP_S = 4.0
TELL_S = 1.0


@dataclass
class Child:
    """One supervised process."""

    role: Role
    name: str
    index: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_at: int = 0
    heard_at: int = 0
    status: Status | None = None
    restarts: int = 0
    died_at: deque[int] = field(default_factory=lambda: deque(maxlen=RESTARTS_A_MINUTE))
    ended: bool = False
    """It has finished its work, or was given up."""
    resting: bool = False
    """Nobody wants it at present: its camera is paused, or was removed."""
    told_to_end_at: int = 0
    why: str = ""
    """What is to be said of it beyond its own words."""
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    """Its last lines on standard error, redacted."""
    listener: threading.Thread | None = None
    """Reads its standard error."""
    past: list[Status] = field(default_factory=list)
    """Last words of its earlier lives."""

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def state(self) -> str:
        if self.why:
            return self.why
        return self.status.state if self.status else "starting"

    def all_counts(self, name: str) -> int:
        return sum(status.counts.get(name, 0) for status in self.lives())

    def ages(self, name: str) -> Ages:
        total = Ages()
        for status in self.lives():
            if plain := status.ages.get(name):
                total.merge(Ages(**plain))
        return total

    def lives(self) -> list[Status]:
        return [*self.past, *([self.status] if self.status else [])]


class Supervisor:
    """`with Supervisor(pipeline) as run: while run.step(): ...`; leaving the block ends every process."""

    def __init__(self, pipeline: Pipeline, own_reader: bool = False):
        """With `own_reader` the caller reads frames and maps itself, from `folder`, and there is no display."""
        self.pipeline = pipeline
        self.roster = Roster(pipeline)
        link = pipeline.link
        check_endpoint("link.frames", link.frames, link.keys)
        check_endpoint("link.maps", link.maps, link.keys)
        if link.keys:
            read_keys(link.keys)
        every = [camera.name for camera in pipeline.camera if camera.pace == "every"]
        if every and (link.frames != "ipc" or link.maps != "ipc"):
            raise UserError(
                f"camera {every[0]!r}: pace = 'every' works on one host; set link.frames and link.maps to 'ipc'"
            )
        self.children: list[Child] = []
        if "engine" in link.parts:
            self.children.append(Child("worker", "worker"))
        if "show" in link.parts and not own_reader:
            self.children.append(Child("display", "display"))
        self._may_record = "show" in link.parts and not own_reader
        if pipeline.events.record and self._may_record:
            self.children.append(Child("recorder", "recorder"))
        if "capture" in link.parts:
            for index, camera in enumerate(pipeline.camera):
                self.children.append(Child("grabber", f"grabber {camera.name}", index))
        if not own_reader:
            _check_parts(pipeline)
        self.started_at = now()
        self._told_at = 0
        self._at_first = len(pipeline.camera)
        self._stack = contextlib.ExitStack()
        self._log: deque[str] = deque(maxlen=200)

    def __enter__(self) -> Supervisor:
        try:
            self.folder = self._stack.enter_context(private_folder())
            self._sockets = self._stack.enter_context(Sockets())
            self._statuses = self._sockets.collect(status_address(self.folder))
            self._publisher = self._sockets.publish(health_address(self.folder))
            self._wishes = self._sockets.collect(wish_address(self.folder))
            self._stack.callback(self._stop_all)
            for child in self.children:
                self._start(child)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def step(self, wait_s: float = 0.1) -> bool:
        """One round: heartbeats in, the dead restarted. False when the run is over. UserError where it cannot go on."""
        with contextlib.suppress(zmq.ZMQError):
            self._statuses.poll(int(wait_s * 1000))
        self._hear()
        wished = self._listen()
        for child in self.children:
            if not child.ended:
                self._look_after(child)
        if wished or now() - self._told_at > TELL_S * NS_PER_S:
            self._told_at = now()
            self._publisher.send(msgspec.msgpack.encode(self.health()), zmq.NOBLOCK)
        seated = {seat.index for seat in self.roster.seats}
        here = [child for child in self.children if child.role == "grabber" and child.index in seated]
        # A paused camera may go on, and one that was given up has not come to an end by itself.
        over = all(child.ended for child in here) and any(child.index not in self.roster.trouble for child in here)
        return not over and not any(c.ended for c in self.children if c.role == "display")

    def health(self) -> Health:
        """How all processes are, over all their lives."""
        parts = tuple(self._part(child) for child in self.children if not child.resting)
        return Health(parts, self.roster.seats, self.roster.answered, self.roster.refused)

    def _listen(self) -> bool:
        """Do what is wished about cameras. True where anything was."""
        wishes = drain(self._wishes)
        for data in wishes:
            self.roster.take(msgspec.msgpack.decode(data, type=Numbered))
        if wishes and "capture" in self.pipeline.link.parts:
            self._seat()
        recorded = any(seat.recording for seat in self.roster.seats)
        recorder = next((of for of in self.children if of.role == "recorder"), None)
        if wishes and recorded and self._may_record and (recorder is None or recorder.ended):
            if recorder is not None:  # It was given up; whoever wishes it again may have mended why.
                self.children.remove(recorder)
            self.children.append(Child("recorder", "recorder"))
            self._start(self.children[-1])
        return bool(wishes)

    def _seat(self) -> None:
        """A grabber for each camera that is wanted, and none for others."""
        self.pipeline = msgspec.structs.replace(self.pipeline, camera=self.roster.pipeline.camera)
        wanted = {seat.index: seat for seat in self.roster.seats if not seat.paused}
        known = {child.index: child for child in self.children if child.role == "grabber"}
        for index, child in known.items():
            if index not in wanted and not child.resting:
                child.resting, child.why = True, "paused"
                if child.process is not None:
                    child.process.terminate()
                    child.told_to_end_at = now()
        for index, seat in wanted.items():
            if index not in known:
                child = Child("grabber", f"grabber {seat.camera.name}", index)
                self.children.append(child)
                self._start(child)
            elif known[index].resting and not known[index].ended:
                self._wake(known[index])

    def _wake(self, child: Child) -> None:
        if child.process is not None and child.process.poll() is None:
            child.process.kill()  # It was told to end and has not done so yet.
            child.process.wait()
        if child.status:
            child.past.append(child.status)
        child.resting = False
        # Not its first life: a camera that cannot be had at the moment is lost, not a mistake.
        self._start(child, life=child.restarts + 1)

    def _part(self, child: Child) -> Part:
        counts, drops, ages = Counter[str](), Counter[str](), dict[str, Ages]()
        for status in child.lives():
            counts.update({name: n for name, n in status.counts.items() if not name.endswith("_ns")})
            drops.update(status.drops)
            for name, plain in status.ages.items():
                ages.setdefault(name, Ages()).merge(Ages(**plain))
        running = bool(child.status and child.status.running) and not child.ended
        return Part(
            name=child.name, role=child.role, running=running, state=redact(child.state), restarts=child.restarts,
            camera=self.pipeline.camera[child.index].name if child.role == "grabber" else "",
            counts=dict(counts), drops=dict(drops), ages={name: of.plain() for name, of in ages.items()},
            facts=child.status.facts if child.status else {}, rss_mb=child.status.rss_mb if child.status else 0.0,
            cpu_s=sum(status.cpu_s for status in child.lives()),
        )  # fmt: skip

    def messages(self) -> list[str]:
        """What has happened since the last call, redacted, oldest first."""
        lines = list(self._log)
        self._log.clear()
        return lines

    def _start(self, child: Child, life: int | None = None) -> None:
        life = child.restarts if life is None else life
        start = Start(child.role, child.name, self.pipeline, self.folder, child.index, life)
        # A worker's threads wait for each other a moment by turning: sleeping between any two layers costs a sixth of
        # the explanations. No longer than that, or they would take the cores from grabber and display.
        environment = {"GOMP_SPINCOUNT": "200000"} | os.environ | {"OPENCV_LOG_LEVEL": "ERROR"}
        if child.role != "worker":
            # Grabber and display do small work on many arrays: threads would only steal from the worker.
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        child.process = subprocess.Popen(
            [sys.executable, "-m", "rtx.process"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
            process_group=0,  # Ctrl-C reaches us alone, and we end the others in order.
        )  # fmt: skip
        assert child.process.stdin
        child.started_at = child.heard_at = now()
        child.status, child.why = None, ""
        child.errors.clear()
        child.listener = threading.Thread(target=_listen, args=(child.process, child.errors), daemon=True)
        child.listener.start()
        with contextlib.suppress(BrokenPipeError):  # It died at once; _look_after will see it.
            child.process.stdin.write(msgspec.json.encode(start) + b"\n")
            child.process.stdin.flush()

    def _hear(self) -> None:
        decoder = msgspec.msgpack.Decoder(Status)
        for data in drain(self._statuses):
            status = decoder.decode(data)
            for child in self.children:
                if child.name == status.process and child.pid == status.pid:
                    child.status, child.heard_at = status, now()

    def _look_after(self, child: Child) -> None:
        assert child.process is not None
        code = child.process.poll()
        if child.resting:
            if code is None and now() - child.told_to_end_at > STOP_S * NS_PER_S:
                child.process.kill()
            return
        if code is None:
            self._check_alive(child)
            return
        self._hear()  # Its last words may have come just before its end.
        if code == 0:
            child.ended = True
            return
        if child.listener is not None:
            child.listener.join(1.0)  # Its last line is read there.
        last = child.errors[-1] if child.errors else f"exit code {code}"
        if code == USER_ERROR:
            self._give_up(child, last)
            return
        told = child.errors and code not in (TERMINATED,) and code > 0
        self._again(child, f"died ({_how(code)})" + (f": {last}" if told else ""))

    def _check_alive(self, child: Child) -> None:
        silent = (now() - child.heard_at) / NS_PER_S
        allowed = SILENT_S if child.status else START_S
        beat = (now() - child.status.beat) / NS_PER_S if child.status and child.status.running else 0.0
        if silent <= allowed and beat <= STUCK_S:
            return
        assert child.process is not None
        child.process.kill()  # A frozen process does not heed SIGTERM.
        child.process.wait()
        self._again(child, f"frozen for {max(silent, beat):.0f} s")

    def _again(self, child: Child, why: str) -> None:
        minute_ago = now() - 60 * NS_PER_S
        if len(child.died_at) == RESTARTS_A_MINUTE and child.died_at[0] > minute_ago:
            trace = "\n".join(child.errors)
            self._log.append(f"{child.name} {why}\n{trace}")
            self._give_up(
                child, f"{child.name} {why}; it was restarted {RESTARTS_A_MINUTE} times within a minute, giving up"
            )
            return
        child.died_at.append(now())
        if child.status:
            child.past.append(child.status)
        if child.role == "worker":
            self._as_chosen(child)
        child.restarts += 1
        self._log.append(f"{child.name} {why}; restarted")
        self._start(child)

    def _give_up(self, child: Child, why: str) -> None:
        """The run cannot go on; but without a camera that was added later it can. UserError."""
        child.ended = True
        if child.role in ("worker", "display") or (child.role == "grabber" and child.index < self._at_first):
            raise UserError(why)
        child.why = redact(why)
        if child.role == "grabber":
            self.roster.trouble[child.index] = child.why
        self._log.append(f"{child.name}: {child.why}")

    def _as_chosen(self, worker: Child) -> None:
        """What viewers have chosen meanwhile outlives the worker that was told."""
        said = worker.status.facts if worker.status else {}
        if "explainer" in said:
            changed = {"explainer": said["explainer"], "target": said.get("target") or None}
            settings = msgspec.structs.replace(self.pipeline.worker, **changed)
            self.pipeline = msgspec.structs.replace(self.pipeline, worker=settings)

    def _stop_all(self) -> None:
        """Worker and grabbers first, then the display, so that it can show and write what was left."""
        living = [child for child in self.children if child.process is not None]
        for wave in (["grabber", "worker"], ["display", "recorder"]):
            _end([child for child in living if child.role in wave])
            with contextlib.suppress(zmq.ZMQError):
                self._hear()


def _check_parts(pipeline: Pipeline) -> None:
    """Parts whose other end could never be reached would wait for ever without a word."""
    link, parts = pipeline.link, set(pipeline.link.parts)
    if not parts:
        raise UserError("link.parts is empty; name at least one of capture, engine, show")
    if link.frames == "ipc" and ("capture" not in parts or parts == {"capture"}):
        raise UserError(
            f"link.parts = {sorted(parts)} with link.frames = 'ipc': frames stay on this host, so capture and a reader "
            "(engine or show) belong together; set link.frames = 'tcp://HOST:PORT' to split them"
        )
    if link.maps == "ipc" and "engine" in parts and "show" not in parts:
        raise UserError("link.parts has engine without show: set link.maps = 'tcp://HOST:PORT', or add show")
    every = [camera.name for camera in pipeline.camera if camera.pace == "every"]
    if every and "show" not in parts:
        raise UserError(f"camera {every[0]!r}: pace = 'every' waits for the display; add show to link.parts")


def _end(children: list[Child]) -> None:
    for child in children:
        assert child.process is not None
        if child.process.poll() is None:
            # A worker that loads holds nothing that must be put away, and would not look up for seconds.
            loads = child.role == "worker" and not (child.status and child.status.running)
            child.process.kill() if loads else child.process.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children:
        assert child.process is not None
        try:
            child.process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        if child.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                child.process.stdin.close()


def _listen(process: subprocess.Popen[bytes], lines: deque[str]) -> None:
    """Keep a child's standard error readable, so that it never blocks on a full pipe."""
    assert process.stderr is not None
    for line in process.stderr:
        text = redact(line.decode(errors="replace").rstrip())
        if text:
            lines.append(text[:500])


def _how(code: int) -> str:
    if code == TERMINATED:
        return "terminated from outside"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
