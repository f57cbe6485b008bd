"""A network that becomes too slow for the budget, and quick again: the worker goes down its ladder, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtx.clock import NS_PER_S
from rtx.engine.budget import SETTLE_S
from rtx.link.sockets import Sockets, endpoint
from rtx.link.wire import Explanation, unpack_map
from tests.faults.conftest import watched
from tests.running import SMALL

NETWORK = """
import os, time
from pathlib import Path
import torch

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = torch.nn.Conv3d(3, 4, 3, (1, 8, 8)), torch.nn.Linear(4, 3)

    def forward(self, clip):
        time.sleep(float(Path(os.environ["SLOW_MS"]).read_text()) / 1e3 * (clip.shape[-1] / 64) ** 2)
        return self.head(torch.relu(self.conv(clip)).mean(dim=(2, 3, 4)))
"""
CARD = """
name = "slow"
title = "As slow as a file says"
architecture = "slow_network:Slow"
paper = ""
smaller = [32]

[clip]
frames = 8
stride_ms = 66.7
size = 64
mean = [127, 127, 127]
std = [60, 60, 60]
"""


@pytest.fixture
def takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many ms a pass takes, from now on."""
    (tmp_path / "slow_network.py").write_text(NETWORK)
    (tmp_path / "card.toml").write_text(CARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLOW_MS", str(tmp_path / "ms"))

    def takes(ms: int) -> None:
        (tmp_path / "next").write_text(str(ms))
        (tmp_path / "next").replace(tmp_path / "ms")

    return takes


def test_too_slow_it_gives_up_what_it_must_and_quick_again_takes_it_back(tmp_path: Path, takes: Callable[[int], None]):
    takes(20)
    changes = (f'worker.model="{tmp_path / "card.toml"}"', "worker.explainer=ksigma", "budget.heatmap_age_ms=300")
    with watched(SMALL, changes=changes) as run, Sockets() as sockets:
        maps = sockets.newest(endpoint("ipc", run.supervisor.folder, "maps", 0))
        alike: list[Explanation] = []
        """All that came since the last step."""

        def rung(of: Explanation) -> tuple[int, str]:
            return of.map.input_size[1], of.degraded

        def heard(size: int, degraded: str, seconds: float = 0) -> bool:
            message = unpack_map(maps.recv()) if maps.poll(0) else None
            if isinstance(message, Explanation):
                if alike and rung(alike[0]) != rung(message):
                    alike.clear()
                alike.append(message)
            on_it = bool(alike) and rung(alike[0]) == (size, degraded)
            return on_it and alike[-1].t_sent - alike[0].t_sent >= seconds * NS_PER_S

        run.flows()
        run.until(lambda: heard(64, ""))
        takes(250)
        # For as long as a rung is judged: what it gains is known by then, not mistaken for the load's going away.
        run.until(lambda: heard(32, "32 instead of 64 pixels", seconds=SETTLE_S + 1), 60)
        run.until(lambda: "32 instead of 64 pixels" in run["worker"].state)
        takes(20)
        run.until(lambda: heard(64, ""), 90)
        run.until(lambda: run.report.steps and run.report.steps[-1].endswith("as asked for"))
        assert [step.partition(" s: ")[2] for step in run.report.steps] == [
            "over its budget: fewer explanations a second",
            "over its budget: 32 instead of 64 pixels",
            "within its budget: as asked for",
        ]
        assert run.report.degraded == ""
