"""What twenty viewers of the page cost the worker: its rate beside that with one, and the display's memory.

The viewers are one process on the same cores, of the lowest priority, which asks as browsers do and decodes nothing:
what is measured is what rtx does for them. `python -m benchmarks.viewers [--seconds 60]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

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
        asyncio.run(_take(wanted.take, wanted.port, wanted.seconds))
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


async def _take(number: int, port: int, seconds: float) -> None:
    counts = [0] * number
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(_viewer(counts, i, port, begun + seconds) for i in range(number)))
    lasted = asyncio.get_running_loop().time() - begun
    print(msgspec.json.encode({"viewers": sum(map(bool, counts)), "per_s": round(sum(counts) / lasted, 1)}).decode())


async def _viewer(counts: list[int], i: int, port: int, until: float) -> None:
    address = f"127.0.0.1:{port}"
    with contextlib.suppress(ConnectionClosed):  # The run is over.
        async with connect(f"ws://{address}/ws", origin=Origin(f"http://{address}"), max_size=1 << 24) as socket:
            for _ in range(2):
                await socket.send("next")
            async for message in socket:
                if isinstance(message, bytes):
                    counts[i] += 1
                    if b'"last":true' in message[:400]:
                        await socket.send("next")
                if asyncio.get_running_loop().time() > until:
                    return


if __name__ == "__main__":
    main()
