"""`rtx bench`: which cases, what a run comes to, and how it is told."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import msgspec
import pytest
import torch
from rich.console import Console

from rtx.bench import tables
from rtx.bench.html import page
from rtx.bench.plan import plan
from rtx.bench.results import STAGES, Bench, Case, Measured, Moment, read
from rtx.errors import UserError
from rtx.measure.ages import Ages, Summary
from tests.live.runs import rtx as command


def measured(device: str, per_s: float, cameras: int = 1, holds: bool = True, **changes: object) -> Measured:
    case = Case(device=device, backend="torch", model="<i3d>", explainer="cam", cameras=cameras)
    age = Summary(1000 / per_s, 2000 / per_s, 2000 / per_s, 2000 / per_s, 100)
    result = Measured(
        case=case, device=device, precision="fp32", seconds=10, explained_per_s=per_s, heatmap=age, holds=holds,
        stages={stage: Summary(float(n), None, None, None, 100) for n, stage in enumerate(STAGES)},
        over_time=[Moment(1, 100, 120), Moment(2, 110, 130)], histogram=[(90.0, 40), (400.0, 60)],
        rss_mb={"worker": 500.0},
    )  # fmt: skip
    return msgspec.structs.replace(result, **changes)


def bench(*results: Measured) -> Bench:
    return Bench(
        when="2030-01-01T00:00:00+00:00", commit="abc", machine={"processor": "one", "cores": 2}, budget_ms=300,
        allowed_misses=0.05, settings={"seconds": 10}, results=list(results),
    )  # fmt: skip


def printed(what: str, *arguments: Bench) -> str:
    console = Console(file=StringIO(), width=200)
    getattr(tables, what)(*arguments, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_combination_is_measured_and_what_belongs_together_follows_each_other():
    cases = plan(["cpu", "cuda"], ["figures"], ["torch", "openvino"], ["cam", "ksigma"], [1, 2])
    assert len({str(case) for case in cases}) == len(cases) == 16
    assert [(case.device, case.cameras) for case in cases[:4]] == [("cpu", 1), ("cpu", 2), ("cuda", 1), ("cuda", 2)]


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path):
    written = bench(measured("cpu", 10), measured("cuda", 1, not_measured="no GPU"))
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(written))
    assert read(tmp_path / "a.json") == written


@pytest.mark.parametrize("text", ["", "{}", '{"when": 1}', "\xff", "[1"])
def test_what_is_no_report_is_named(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"a\.json is no report of `rtx bench`"):
        read(tmp_path / "a.json")
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "b.json")


def test_the_most_cameras_are_those_that_still_hold_the_budget():
    found = bench(measured("cpu", 10, 1), measured("cpu", 9, 2), measured("cpu", 5, 4, holds=False)).most_cameras()
    assert [most for _, most in found] == [2]
    assert bench(measured("cpu", 1, holds=False)).most_cameras()[0][1] is None
    assert bench(measured("cuda", 1, not_measured="no GPU")).most_cameras() == []


def test_a_cpu_stands_beside_a_gpu_with_the_ratio():
    said = printed("show", bench(measured("cpu", 10), measured("cuda", 40)))
    assert re.search(r"10\.0 +40\.0 +4\.00x +200 +50 +0\.25x", said)


def test_what_was_not_measured_is_never_a_number():
    said = printed("show", bench(measured("cpu", 10), measured("cuda", 77.7, not_measured="this torch is for CPUs")))
    assert "not measured" in said
    assert "this torch is for CPUs" in said
    assert "77.7" not in said
    assert "CPU beside GPU" not in said


def test_two_reports_are_compared_case_by_case():
    said = printed("compare", bench(measured("cpu", 10), measured("cpu", 8, 2)), bench(measured("cpu", 15)))
    assert re.search(r"explained /s +10\.00 +15\.00 +1\.50x", said)
    assert re.search(r"heatmap ms, p50 +100\.00 +66\.67 +0\.67x", said)
    assert "only in the first: <i3d>, cam, torch on cpu, 2 cameras" in said


class Elements(HTMLParser):
    """Counts elements, and keeps what would load something."""

    def __init__(self, text: str):
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")]


def test_the_page_has_three_plots_a_case_and_loads_nothing():
    found = Elements(text := page(bench(measured("cpu", 10), measured("cuda", 1, not_measured="<no GPU>"))))
    assert found.names.count("svg") == 3
    assert found.loads == []
    assert "<i3d>" not in text
    assert "&lt;no GPU&gt;" in text
    assert text.count("budget 300 ms") == 1


def test_ages_since_then_are_those_that_came_after():
    ages = Ages()
    ages.add(500.0)
    before = Ages(**ages.plain())
    for age in (10.0, 20.0, 30.0):
        ages.add(age)
    summary = ages.since(before).summary()
    assert (summary.n, summary.p50) == (3, pytest.approx(20, rel=0.02))
    assert summary.max == pytest.approx(30, rel=0.04)
    assert ages.since(ages).summary().n == 0


def test_it_measures_here(tmp_path: Path):
    """One camera and the hall's own network, on the CPU and, where there is one, on a GPU."""
    report, html = tmp_path / "r.json", tmp_path / "r.html"
    done = command("bench", "--seconds", "4", "--report", str(report), "--html", str(html))
    assert done.returncode == 0, done.stderr
    cpu, cuda = json.loads(report.read_text())["results"]
    assert cpu["explained_per_s"] > 5
    assert {stage: cpu["stages"][stage]["n"] > 0 for stage in STAGES} == dict.fromkeys(STAGES, True)
    # The stages of a heatmap's way make up its age; what is shown again and again before the next one comes is older.
    assert sum(cpu["stages"][stage]["p50"] for stage in STAGES[:8]) < 1.3 * cpu["heatmap"]["p50"] + 5
    assert sum(n for _, n in cpu["histogram"]) == cpu["heatmap"]["n"] > 50
    assert len(cpu["over_time"]) >= 2
    if not torch.cuda.is_available():
        assert "not usable here" in cuda["not_measured"]
        assert "not measured" in done.stdout
    assert Elements(html.read_text()).names.count("svg") >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--backend", "trt"], "unknown backend 'trt'"),
        (["--cameras", "0,2"], "numbers from 1 to 64"),
        (["--device", ""], "name at least one"),
        (["--explainer", "cams"], "did you mean 'cam'"),
        (["--report", "x.txt"], r"ends in \.json"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], says: str):
    done = command("bench", *arguments)
    assert done.returncode == 2
    assert re.search(says, done.stderr)
    assert done.stderr.count("\n") == 1
