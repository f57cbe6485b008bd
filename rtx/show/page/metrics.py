"""What Prometheus reads (`/metrics`), and what a service manager asks (`/healthz`, `/readyz`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from rtx.health import Health, Part, faithfulness_of
from rtx.measure.ages import Ages

BUCKETS_MS = tuple(5.0 * 2**step for step in range(12))
"""Upper ends, 5 ms to 10 s."""
OF_CAMERAS = {
    "captured": ("rtx_captured_frames", "Frames that a grabber took from its camera."),
    "explained": ("rtx_explained_clips", "Clips that were classified and explained."),
    "shown": ("rtx_shown_frames", "Frames that were shown."),
    "deadline_misses": ("rtx_deadline_misses", "Frames shown with a heatmap older than the budget."),
}
AGES = {
    "heatmap": ("rtx_heatmap_age_seconds", "Age of the heatmap on the screen: of its clip's newest frame."),
    "frame": ("rtx_frame_age_seconds", "Age of the picture on the screen."),
}
STAGES = ("capture", "pickup", "resize", "wait", "forward", "explain", "wire", "upsample", "overlay", "show")


class _Collector:
    def __init__(self, health: Health, page: dict[str, int]):
        self._parts, self._page = health.parts, page

    def collect(self) -> Iterable[Metric]:
        yield from (self._of_cameras(name, *about) for name, about in OF_CAMERAS.items())
        yield from (self._ages(name, *about) for name, about in AGES.items())
        yield self._stages()
        yield from self._processes()
        yield from self._worker()
        yield GaugeMetricFamily("rtx_viewers", "Pages that are open.", self._page["viewers"])
        yield CounterMetricFamily("rtx_page_bytes", "Bytes sent to all pages.", self._page["bytes"])

    def _of_cameras(self, name: str, metric: str, says: str) -> Metric:
        family = CounterMetricFamily(metric, says, labels=["camera"])
        for camera, value in self._by_camera(name).items():
            family.add_metric([camera], value)
        return family

    def _by_camera(self, name: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for part in self._parts:
            if part.camera:
                found[part.camera] += part.counts.get(name, 0)
            for key, value in part.counts.items():
                kind, at, camera = key.partition("@")
                if at and kind == name:
                    found[camera] += value
        return found

    def _ages(self, name: str, metric: str, says: str) -> Metric:
        family = HistogramMetricFamily(metric, says, labels=["camera"])
        for part in self._parts:
            for key, plain in part.ages.items():
                kind, at, camera = key.partition("@")
                if at and kind == name:
                    family.add_metric([camera], *histogram(Ages(**plain)))
        return family

    def _stages(self) -> Metric:
        family = HistogramMetricFamily("rtx_stage_seconds", "What each stage takes of a frame's way.", labels=["stage"])
        for stage in STAGES:
            merged = Ages()
            for part in self._parts:
                if stage in part.ages:
                    merged.merge(Ages(**part.ages[stage]))
            family.add_metric([stage], *histogram(merged))
        return family

    def _processes(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("rtx_process_up", "1 while the process does its work.", labels=["process"])
        restarts = CounterMetricFamily("rtx_restarts", "How often it had to be started anew.", labels=["process"])
        cpu = CounterMetricFamily("rtx_process_cpu_seconds", "Processor time.", labels=["process"])
        memory = GaugeMetricFamily("rtx_process_resident_bytes", "Memory that it holds.", labels=["process"])
        drops = CounterMetricFamily("rtx_drops", "What was dropped, by cause.", labels=["process", "cause"])
        live = GaugeMetricFamily("rtx_camera_live", "1 while the camera gives pictures.", labels=["camera"])
        for part in self._parts:
            up.add_metric([part.name], float(part.running))
            restarts.add_metric([part.name], part.restarts)
            cpu.add_metric([part.name], part.cpu_s)
            memory.add_metric([part.name], part.rss_mb * 2**20)
            for cause, number in part.drops.items():
                drops.add_metric([part.name, cause], number)
            if part.camera:
                live.add_metric([part.camera], float(_is_live(part)))
        yield from (up, restarts, cpu, memory, drops, live)

    def _worker(self) -> Iterable[Metric]:
        for part in self._parts:
            if part.role == "worker":
                names = ("model", "explainer", "backend", "device", "precision")
                about = GaugeMetricFamily("rtx_worker_info", "What explains.", labels=names)
                about.add_metric([part.facts.get(name, "") for name in names], 1)
                degraded = GaugeMetricFamily("rtx_degraded", "1 while something is given up to keep within the budget.")
                degraded.add_metric([], float(bool(part.facts.get("degraded"))))
                yield from (about, degraded, *_faithfulness(part))


def _faithfulness(part: Part) -> Iterable[Metric]:
    score = GaugeMetricFamily(
        "rtx_score_ratio", "How likely the explained class is, without a tenth of a clip.", labels=["camera", "without"]
    )
    clips = GaugeMetricFamily("rtx_score_clips", "Clips that these scores are means of.", labels=["camera"])
    cost = GaugeMetricFamily("rtx_faithfulness_cost_ratio", "Of the time in which clips came, what these passes took.")
    known = faithfulness_of(part.facts)
    for camera, told in known.items():
        score.add_metric([camera, "nothing"], told.whole)
        score.add_metric([camera, "hottest"], told.hottest)
        score.add_metric([camera, "elsewhere"], told.elsewhere)
        clips.add_metric([camera], told.clips)
    passes = CounterMetricFamily("rtx_faithfulness_passes", "Passes that went into scores without a tenth of a clip.")
    passes.add_metric([], part.counts.get("faithfulness_passes", 0))
    cost.add_metric([], max((told.cost for told in known.values()), default=0.0))
    return score, clips, passes, cost


def histogram(ages: Ages) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets in seconds, and the sum; bins are 2 % wide, so that both are known to 1 %."""
    bins = ages.bins()
    buckets = [(str(end / 1e3), float(sum(n for low, n in bins if low < end))) for end in BUCKETS_MS]
    return [*buckets, ("+Inf", float(ages.counts.total()))], sum(low * 1.01 * n for low, n in bins) / 1e3


def exposition(health: Health, page: dict[str, int]) -> bytes:
    """The metrics of a run in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(health, page))
    return generate_latest(registry)


def lacking(health: Health | None) -> str:
    """What is missing until clips of all cameras are explained; empty where nothing is."""
    if health is None:
        return "nothing is heard of the supervisor"
    missing = [
        f"{part.name}: {part.state}"
        for part in health.parts
        if (part.role == "grabber" and not _is_live(part)) or (part.role == "worker" and not part.running)
    ]
    explained = {key for part in health.parts for key, n in part.counts.items() if key.startswith("explained@") and n}
    wanted = [seat.camera.name for seat in health.seats if not (seat.paused or seat.trouble)]
    missing += [f"{name}: not explained yet" for name in wanted if f"explained@{name}" not in explained]
    return "; ".join(missing)


def _is_live(part: Part) -> bool:
    return part.running and part.state == "live"
