"""Handing a 720p frame to another process: rtx's ring against plain pyzmq and imagezmq, quick and slow consumers.

Each transport has a producer and a consumer process. The producer draws a frame (the same copy for all, its cost taken
off), stamps it and hands it over; the consumer takes what its transport gives it until it holds a whole picture.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.record import keep, percentiles, show
from rtx.clock import NS_PER_S, ms, now
from rtx.config import Link
from rtx.link.frames import Frame, FrameReader, FrameWriter
from rtx.link.sockets import Sockets, private_folder
from rtx.process import rss_mb

HEIGHT, WIDTH, FPS = 720, 1280, 30
TRANSPORTS = ("ring", "ring, copied", "pyzmq", "imagezmq")
"""`ring`: used where it lies and checked after, as the worker does; `copied`: taken out, as the display does."""
SLOW_S = 0.1


class Task(msgspec.Struct):
    """What a child is to do."""

    transport: str
    side: str
    folder: str
    seconds: float
    consumer_s: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=8, help="of each quick run")
    options.add_argument("--rounds", type=int, default=3, help="quick runs of each, in turn; the median one counts")
    options.add_argument("--slow-seconds", type=float, default=30, help="of each run with a slow consumer")
    chosen = options.parse_args()
    rounds = [{name: _pair(name, chosen.seconds, 0.0) for name in TRANSPORTS} for _ in range(chosen.rounds)]
    quick = {name: _median([each[name] for each in rounds]) for name in TRANSPORTS}
    slow = {name: _pair(name, chosen.slow_seconds, SLOW_S) for name in TRANSPORTS}
    rows = [
        [
            name, quick[name]["age_ms"]["p50"], quick[name]["age_ms"]["p95"], quick[name]["cpu_ms_per_frame"],
            slow[name]["age_ms"]["p50"], slow[name]["last_age_ms"], slow[name]["growth_mb"],
        ]
        for name in TRANSPORTS
    ]  # fmt: skip
    header = [
        "transport",
        "p50 ms",
        "p95 ms",
        "CPU ms a frame, both sides",
        "slow: p50 ms",
        "slow: at the end, ms",
        "slow: MB grown",
    ]
    show(f"720p at {FPS} a second; slow = {SLOW_S * 1000:.0f} ms a frame for {chosen.slow_seconds:g} s", header, rows)
    about = {"fps": FPS, "size": [WIDTH, HEIGHT], "slow_seconds": chosen.slow_seconds}
    keep("handover", about | {"quick": quick, "slow": slow})


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median p50; its CPU time is the median of all."""
    middle = sorted(runs, key=lambda run: float(run["age_ms"]["p50"]))[len(runs) // 2]
    costs = sorted(float(run["cpu_ms_per_frame"]) for run in runs)
    return middle | {"cpu_ms_per_frame": costs[len(costs) // 2], "p50_of_all": [run["age_ms"]["p50"] for run in runs]}


def _pair(transport: str, seconds: float, consumer_s: float) -> dict[str, Any]:
    """Run a producer and a consumer to their end."""
    with private_folder() as folder:
        children = []
        for side in ("consumer", "producer"):
            task = msgspec.json.encode(Task(transport, side, folder, seconds, consumer_s)).decode()
            command = [sys.executable, "-c", f"from benchmarks.handover import child; child({task!r})"]
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        said = [msgspec.json.decode(child.communicate(timeout=seconds + 60)[0]) for child in children]
    consumer, producer = said
    frames = max(1, producer["frames"])
    return {
        "age_ms": percentiles(consumer["ages"]),
        "last_age_ms": round(float(np.median(consumer["ages"][-10:])), 2) if consumer["ages"] else None,
        "cpu_ms_per_frame": round((producer["cpu_s"] + consumer["cpu_s"]) * 1e3 / frames, 3),
        "growth_mb": round(consumer["growth_mb"] + producer["growth_mb"], 1),
        "frames": frames,
        "taken": len(consumer["ages"]),
    }


def child(task: str) -> None:
    """Entry of the child processes; prints what it measured as JSON."""
    what = msgspec.json.decode(task, type=Task)
    with Sockets() as sockets:
        if what.side == "producer":
            said = _produce(what, SENDERS[what.transport](sockets, what.folder))
        else:
            said = _consume(what, RECEIVERS[what.transport](sockets, what.folder))
    sys.stdout.buffer.write(msgspec.json.encode(said))
    sys.stdout.flush()


Draw = Callable[[NDArray[np.uint8]], None]
Send = Callable[[Draw], None]
Receive = Callable[[], int | None]
"""The capture time of a whole picture that has come, or None."""


def _produce(what: Task, send: Send) -> dict[str, Any]:
    pictures = np.random.default_rng(0).integers(0, 255, (4, HEIGHT, WIDTH, 3), np.uint8)
    time.sleep(1.0)  # The consumer's connection; nothing can tell a publisher that it is there.
    frames, drawing = 0, 0.0
    begin_cpu, begin_mb, begin = time.process_time(), rss_mb(), now()

    def draw(into: NDArray[np.uint8]) -> None:
        nonlocal drawing
        started = time.process_time()
        np.copyto(into, pictures[frames % 4])
        drawing += time.process_time() - started

    while now() - begin < what.seconds * NS_PER_S:
        send(draw)
        frames += 1
        if frames == 10:  # Buffers are there by now; what grows from here on, grows.
            begin_mb = rss_mb()
        due = begin + frames * NS_PER_S // FPS
        time.sleep(max(0, due - now()) / NS_PER_S)
    cpu = time.process_time() - begin_cpu - drawing
    return {"frames": frames, "cpu_s": cpu, "growth_mb": rss_mb() - begin_mb}


def _consume(what: Task, receive: Receive) -> dict[str, Any]:
    ages: list[float] = []
    begin_cpu, begin_mb, begin = time.process_time(), rss_mb(), now()
    while now() - begin < (what.seconds + 1.5) * NS_PER_S:
        stamp = receive()
        if stamp is None:
            continue
        ages.append(ms(now() - stamp))
        if len(ages) == 10:
            begin_mb = rss_mb()
        if what.consumer_s:
            time.sleep(what.consumer_s)
    return {"ages": ages[5:], "cpu_s": time.process_time() - begin_cpu, "growth_mb": rss_mb() - begin_mb}


def _ring_sender(sockets: Sockets, folder: str) -> Send:
    writer = FrameWriter(sockets, Link(), folder, 0, "camera")

    def send(draw: Draw) -> None:
        draw(writer.canvas(HEIGHT, WIDTH))
        writer.publish(0, now())

    return send


def _ring_receiver(sockets: Sockets, folder: str) -> Receive:
    reader = FrameReader(sockets, Link(), folder, 0)

    def receive() -> int | None:
        if not reader.socket.poll(100):
            return None
        frame = reader.take()
        if not isinstance(frame, Frame) or frame.pixels[-1, -1, 0] < 0:
            return None
        return frame.t_capture if reader.whole(frame) else None

    return receive


def _copying_receiver(sockets: Sockets, folder: str) -> Receive:
    reader = FrameReader(sockets, Link(), folder, 0)
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)

    def receive() -> int | None:
        if not reader.socket.poll(100):
            return None
        frame = reader.take()
        if not isinstance(frame, Frame):
            return None
        np.copyto(picture, frame.pixels)
        return frame.t_capture if reader.whole(frame) else None

    return receive


def _zmq_sender(sockets: Sockets, folder: str) -> Send:
    """As a user would write it: PUB, stamp and pixels in two parts, no copy."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    socket.bind(f"ipc://{folder}/plain")

    def send(draw: Draw) -> None:
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        draw(picture)
        socket.send_multipart([str(now()).encode(), picture.data], copy=False)

    return send


def _zmq_receiver(sockets: Sockets, folder: str) -> Receive:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    socket.connect(f"ipc://{folder}/plain")
    socket.subscribe(b"")

    def receive() -> int | None:
        if not socket.poll(100):
            return None
        stamp, pixels = socket.recv_multipart(copy=False)
        picture = np.frombuffer(pixels.buffer, np.uint8).reshape(HEIGHT, WIDTH, 3)
        return int(stamp.bytes) if picture[0, 0, 0] >= 0 else None

    return receive


def _imagezmq_sender(sockets: Sockets, folder: str) -> Send:
    import imagezmq

    sender = imagezmq.ImageSender(connect_to=f"ipc://{folder}/imagezmq", REQ_REP=False)

    def send(draw: Draw) -> None:
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        draw(picture)
        sender.send_image(str(now()), picture)

    return send


def _imagezmq_receiver(sockets: Sockets, folder: str) -> Receive:
    import imagezmq

    hub = imagezmq.ImageHub(open_port=f"ipc://{folder}/imagezmq", REQ_REP=False)

    def receive() -> int | None:
        if not hub.zmq_socket.poll(100):
            return None
        stamp, _ = hub.recv_image()
        return int(stamp)

    return receive


SENDERS: dict[str, Callable[[Sockets, str], Send]] = {
    "ring": _ring_sender, "ring, copied": _ring_sender, "pyzmq": _zmq_sender, "imagezmq": _imagezmq_sender,
}  # fmt: skip
RECEIVERS: dict[str, Callable[[Sockets, str], Receive]] = {
    "ring": _ring_receiver, "ring, copied": _copying_receiver, "pyzmq": _zmq_receiver, "imagezmq": _imagezmq_receiver,
}  # fmt: skip

if __name__ == "__main__":
    main()
