"""What Prometheus reads, by its own parser; what a service manager is told."""

from __future__ import annotations

import http.client

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rtx.config import Camera
from rtx.config import Page as PageConfig
from rtx.health import Health, Part
from rtx.measure.ages import Ages
from rtx.roster import Seat
from rtx.show.page import PageSink
from rtx.show.page.metrics import BUCKETS_MS, exposition, histogram, lacking
from rtx.show.view import Look
from tests.show.test_page import BUDGET_MS, NO_EVENTS, asks, port_of


def ages(*values: float) -> dict[str, object]:
    made = Ages()
    for value in values:
        made.add(value)
    return made.plain()


def part(name: str, role: str, **changes: object) -> Part:
    usual: dict[str, object] = {
        "camera": "", "running": True, "state": "explaining", "restarts": 0, "counts": {}, "drops": {}, "ages": {},
        "facts": {}, "cpu_s": 1.5, "rss_mb": 2.0,
    }  # fmt: skip
    return Part(name=name, role=role, **usual | changes)  # type: ignore[arg-type]


GRABBER = part("grabber hall", "grabber", camera="hall", state="live", counts={"captured": 300})
WORKER = part(
    "worker", "worker", restarts=2,
    counts={"explained": 40, "explained@hall": 30, 'explained@"b"\n': 10, "faithfulness_passes": 36},
    ages={"forward": ages(30.0, 50.0)},
    facts={"model": "figures", "explainer": "cam", "faithfulness@hall": "0.9 0.43 0.87 12 0.0125"}, drops={"stale": 7},
)  # fmt: skip
DISPLAY = part("display", "display", counts={"shown@hall": 290, "deadline_misses@hall": 3}, ages={
    "heatmap": ages(1.0), "heatmap@hall": ages(12.0, 70.0, 90.0, 20000.0),
})  # fmt: skip
SEATS = (Seat(0, Camera(source="scene:hall", name="hall")), Seat(1, Camera(source="0", name="rests"), paused=True))
HEALTH = Health((GRABBER, WORKER, DISPLAY), SEATS)


def read(health: Health = HEALTH) -> dict[tuple[str, ...], float]:
    text = exposition(health, {"viewers": 2, "frames": 5, "bytes": 1000}).decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.name.startswith("rtx_") and family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    return {(of.name, *(of.labels[name] for name in sorted(of.labels))): of.value for of in samples}


def test_counts_are_told_by_camera_process_and_cause():
    found = read()
    assert found["rtx_captured_frames_total", "hall"] == 300
    assert found["rtx_explained_clips_total", "hall"] == 30
    assert found["rtx_explained_clips_total", '"b"\n'] == 10, "whatever a camera is called"
    assert found["rtx_shown_frames_total", "hall"] == 290
    assert found["rtx_deadline_misses_total", "hall"] == 3
    assert found["rtx_drops_total", "stale", "worker"] == 7
    assert found["rtx_restarts_total", "worker"] == 2
    assert found["rtx_process_resident_bytes", "worker"] == 2 * 2**20
    assert found["rtx_camera_live", "hall"] == 1
    assert found["rtx_viewers",] == 2
    assert found["rtx_page_bytes_total",] == 1000
    assert found["rtx_worker_info", "", "", "cam", "figures", ""] == 1
    assert found["rtx_degraded",] == 0
    assert found["rtx_score_ratio", "hall", "nothing"] == 0.9
    assert found["rtx_score_ratio", "hall", "hottest"] == 0.43
    assert found["rtx_score_ratio", "hall", "elsewhere"] == 0.87
    assert found["rtx_score_clips", "hall"] == 12
    assert found["rtx_faithfulness_passes_total",] == 36
    assert found["rtx_faithfulness_cost_ratio",] == 0.0125


def test_ages_are_histograms_in_seconds():
    found = read()
    name = "rtx_heatmap_age_seconds"
    assert found[f"{name}_bucket", "hall", "0.01"] == 0
    assert found[f"{name}_bucket", "hall", "0.02"] == 1
    assert found[f"{name}_bucket", "hall", "0.08"] == 2
    assert found[f"{name}_bucket", "hall", "10.24"] == 3
    assert found[f"{name}_bucket", "hall", "+Inf"] == found[f"{name}_count", "hall"] == 4
    assert found[f"{name}_sum", "hall"] == pytest.approx(20.172, rel=0.02)
    assert found["rtx_stage_seconds_count", "forward"] == 2
    assert found["rtx_stage_seconds_count", "overlay"] == 0


def test_buckets_count_up():
    found, total = histogram(Ages(**ages(*(1.07**n for n in range(200)))))  # type: ignore[arg-type]
    counts = [count for _, count in found]
    assert counts == sorted(counts)
    assert counts[-1] == 200
    assert len(found) == len(BUCKETS_MS) + 1
    assert total > 0


@pytest.mark.parametrize(
    ("health", "says"),
    [
        (None, "nothing is heard of the supervisor"),
        (HEALTH, ""),
        (Health((GRABBER, part("worker", "worker", running=False, state="loading"))), "worker: loading"),
        (Health((GRABBER, part("worker", "worker")), SEATS), "hall: not explained yet"),
        (Health((part("grabber hall", "grabber", camera="hall", state="camera lost 3 s"), WORKER)),
         "grabber hall: camera lost 3 s"),
    ],
)  # fmt: skip
def test_ready_is_who_explains_all_cameras(health: Health | None, says: str):
    assert lacking(health) == says


@pytest.mark.parametrize(("health", "healthz", "readyz", "metrics"), [
    (HEALTH, (200, "ok\n"), (200, "ok\n"), 200),
    (None, (503, "nothing is heard of the supervisor\n"), (503, "nothing is heard of the supervisor\n"), 503),
    (Health((GRABBER, part("worker", "worker", running=False, state="loading"))), (200, "ok\n"),
     (503, "worker: loading\n"), 200),
])  # fmt: skip
def test_the_page_answers(
    health: Health | None, healthz: tuple[int, str], readyz: tuple[int, str], metrics: int
):  # fmt: skip
    sink = PageSink(PageConfig(port=0), ["hall"], Look(), BUDGET_MS, asks(health=health), NO_EVENTS)
    sink.start()
    try:

        def get(path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        assert get("/healthz") == healthz
        assert get("/readyz") == readyz
        assert get("/metrics")[0] == metrics
    finally:
        sink.close()
