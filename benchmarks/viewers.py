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
from statistics import median
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from benchmarks.record import keep, show
from rtx.clock import NS_PER_S, now
from rtx.config import of_sources
from rtx.engine.torch_backend import cpu_has_bf16
from rtx.report import summarise
from rtx.supervise import Supervisor

SOURCES = {"i3d-k400": "synthetic:?size=1280x720&fps=30", "figures": "scene:hall?seed=7"}
MANY = 20
ORDERS = {"i3d-k400": (1, MANY, MANY, 1), "figures": (1, MANY)}
"""Of I3D twice: its rate varies, that of `figures` is the camera's."""
PORT = 8795
GOAL = 0.05
"""By so much the worker may be slower."""


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
    runs = {model: _alternating(source, model, wanted.seconds) for model, source in SOURCES.items()}
    ratios = {model: round(_rate(by[MANY]) / _rate(by[1]), 3) for model, by in runs.items()}
    rows = [
        [model, number, of["explained_per_s"], of["sent_per_s"], of["display_mb"], of["grown_mb"]]
        for model, by in runs.items() for number, all_of in by.items() for of in all_of
    ]  # fmt: skip
    show("Viewers", ["network", "viewers", "explained /s", "pictures /s", "display MB", "grown MB"], rows)
    found = {"seconds": wanted.seconds, "goal": GOAL, "viewers": MANY, "ratios": ratios, "runs": runs}
    keep("viewers" if cpu_has_bf16() else "viewers-fp32", found)  # As `benchmarks.live` has it.


def _alternating(source: str, model: str, seconds: float) -> dict[int, list[dict[str, Any]]]:
    """Runs with one viewer and with many; what drifts on the machine meets both."""
    runs: dict[int, list[dict[str, Any]]] = {1: [], MANY: []}
    for place, number in enumerate(ORDERS[model]):
        runs[number].append(_run(model, source, number, seconds, PORT + place))
    return runs


def _rate(runs: list[dict[str, Any]]) -> float:
    return float(median(of["explained_per_s"] for of in runs))


def _run(model: str, source: str, number: int, seconds: float, port: int) -> dict[str, Any]:
    pipeline = of_sources([source], [f"page.port={port}", f"worker.model={model}", "budget.deadline_misses=1.0"])
    viewers: subprocess.Popen[str] | None = None
    memory: list[float] = []
    with Supervisor(pipeline) as run:
        until, deadline = None, now() + 90 * NS_PER_S
        while run.step() and now() < (until or deadline):
            display = next(child for child in run.children if child.role == "display")
            if viewers is None and display.status and display.status.running:
                viewers = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.viewers", "--take", str(number), "--port", str(port),
                     "--seconds", str(seconds + 30)], stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
            if until is None and summarise(run).first_heatmap_s is not None:
                until = now() + int((seconds + 2) * NS_PER_S)
            if until is not None and display.status:
                memory.append(display.status.rss_mb)
        report = summarise(run)
    assert viewers is not None
    told = msgspec.json.decode(viewers.communicate(timeout=60)[0])
    half = len(memory) // 2
    return {
        "explained_per_s": report.explained_per_s, "shown_per_s": report.display_fps,
        "heatmap_p95_ms": report.ages_ms.heatmap.p95, "sent_per_s": told["per_s"], "viewers": told["viewers"],
        "display_mb": round(max(memory), 1), "grown_mb": round(max(memory[half:]) - max(memory[:half]), 1),
    }  # fmt: skip


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
