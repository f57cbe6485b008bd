"""What a run says of itself to machines."""

from __future__ import annotations

from tests.running import HALL, Running

REPORTED = {
    "model", "explainer", "device", "backend", "precision", "seconds", "captured", "shown", "display_fps",
    "explained_per_s", "ages_ms", "deadline_misses", "drops", "restarts", "cpu_ms_per_frame", "rss_mb",
}  # fmt: skip


def test_a_report_for_machines():
    """Together with --seconds, and with what is said meanwhile."""
    with Running("run", HALL, "--show", "none", "--seconds", "15", report=True) as run:
        assert run.end(60) == 0
        about = run.report
        assert run.err == ""
        assert run.leftovers() == []
    assert set(about) >= REPORTED
    for age in ("pickup", "heatmap", "misalignment"):
        assert set(about["ages_ms"][age]) >= {"p50", "p95", "p99", "max", "n"}
    assert 15 <= about["seconds"] < 30
    assert about["captured"] >= about["shown"] > 50
    assert about["explained_per_s"] > 0
    assert about["precision"] in ("fp32", "bf16")
    processes = {"worker", "display", "grabber camera"}
    assert set(about["restarts"]) == set(about["cpu_ms_per_frame"]) == set(about["rss_mb"]) == processes
    assert set(about["restarts"].values()) == {0}
    assert all(isinstance(count, int) for count in about["drops"].values())
