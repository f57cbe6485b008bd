"""A grabber on one host, worker and display on another: only the configuration differs, and no clock is shared.

Hosts are network namespaces with a cable between them; the grabber's also has a clock that is 1000 s ahead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtx.link.sockets import new_keys
from tests.running import SMALL, Running

FRAMES, MAPS = "tcp://10.199.7.1:5600", "tcp://10.199.7.2:5700"
AHEAD_S = 1000


def command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces, 10.199.7.1 and 10.199.7.2."""
    for tool in ("ip", "unshare"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} here (apt install iproute2 util-linux)")
    left, right = f"rtx-{os.getpid()}-left", f"rtx-{os.getpid()}-right"
    made = []
    try:
        for host in (left, right):
            command("ip", "netns", "add", host)
            made.append(host)
        command("ip", "-n", left, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", right)
        for host, end, address in ((left, "cable0", "10.199.7.1"), (right, "cable1", "10.199.7.2")):
            command("ip", "-n", host, "address", "add", f"{address}/24", "dev", end)
            command("ip", "-n", host, "link", "set", end, "up")
            command("ip", "-n", host, "link", "set", "lo", "up")
        yield left, right
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host], check=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    new_keys(path)
    return path


def inside(host: str, ahead_s: int = 0) -> tuple[str, ...]:
    """How to run a command there."""
    clock = ("unshare", "--time", "--monotonic", str(ahead_s), "--fork") if ahead_s else ()
    return ("ip", "netns", "exec", host, *clock)


def settings(keys: Path, *parts: str) -> tuple[str, ...]:
    listed = ", ".join(f'"{part}"' for part in parts)
    changes = (f"link.parts=[{listed}]", f"link.frames={FRAMES}", f"link.maps={MAPS}", f"link.keys={keys}")
    return tuple(word for change in changes for word in ("--set", change))


def run_on(host: str, keys: Path, *parts: str, ahead_s: int = 0, seconds: float = 60) -> Running:
    arguments = (
        "run",
        SMALL,
        "--model",
        "figures",
        "--show",
        "none",
        "--seconds",
        str(seconds),
        *settings(keys, *parts),
    )
    return Running(*arguments, prefix=inside(host, ahead_s), report=True)


@pytest.fixture(scope="module")
def other_clock(hosts: tuple[str, str]) -> int:
    command(*inside(hosts[0], AHEAD_S), "true")
    return AHEAD_S


def test_ages_are_true_although_the_grabbers_clock_is_1000_s_ahead(
    hosts: tuple[str, str], keys: Path, other_clock: int
):
    left, right = hosts
    with (
        run_on(left, keys, "capture", ahead_s=other_clock, seconds=13) as grabbing,
        run_on(right, keys, "engine", "show", seconds=12) as explaining,
    ):
        assert explaining.end(60) == 0, explaining.err
        assert grabbing.end(20) == 0, grabbing.err
        report = explaining.report
        assert grabbing.report["captured"] > 50
    ages = report["ages_ms"]
    assert report["shown"] > 50
    assert 0 < ages["pickup"]["p50"] < 500
    assert 0 < ages["heatmap"]["p50"] < 5000
    assert 0 <= ages["misalignment"]["p50"] < 5000
    assert not set(report["drops"]) & {"malformed", "decode", "gone", "lapped"}
    assert set(report["restarts"]) == {"worker", "display"}


def test_a_worker_may_stand_alone_between_grabber_and_display(hosts: tuple[str, str], keys: Path, other_clock: int):
    """Grabber and display share the clock that is ahead; the worker, whose maps have times of its own, does not."""
    left, right = hosts
    with (
        run_on(left, keys, "capture", "show", ahead_s=other_clock, seconds=12) as seeing,
        run_on(right, keys, "engine") as explaining,
    ):
        assert seeing.end(60) == 0, seeing.err
        report = seeing.report
        assert explaining.process.poll() is None
    assert 0 < report["ages_ms"]["heatmap"]["p50"] < 5000
    assert 0 <= report["ages_ms"]["frame"]["p50"] < 500


def test_hosts_with_other_keys_get_nothing(hosts: tuple[str, str], keys: Path, tmp_path: Path):
    new_keys(tmp_path / "other.json")
    left, right = hosts
    with (
        run_on(left, keys, "capture") as grabbing,
        run_on(right, keys, "show", seconds=6) as friend,
        run_on(right, tmp_path / "other.json", "show", seconds=6) as stranger,
    ):
        assert friend.end(30) == 0, friend.err
        assert stranger.end(30) == 0, stranger.err
        assert friend.report["shown"] > 10
        assert stranger.report["shown"] == 0
        assert grabbing.process.poll() is None
