"""The display process: newest frame and newest heatmap of each camera to every sink, until `stop`."""

from __future__ import annotations

import threading
from collections import defaultdict

import cv2

from rtx.clock import NS_PER_S, ms, now
from rtx.health import HealthReader
from rtx.link.choice import ChoiceAsk
from rtx.link.hold import HoldAsk
from rtx.link.sockets import Sockets, endpoint, read_keys
from rtx.process import Report, Start
from rtx.roster import wish_address
from rtx.show.asks import Asks
from rtx.show.holding import Holding
from rtx.show.seating import Seating
from rtx.show.sinks import Sink, open_sinks
from rtx.show.steering import Steering
from rtx.show.view import View
from rtx.show.viewer import Viewer, explained_here

WARM_UP_S = 2.0
"""Ages count from so long after the first heatmap."""
REFRESH_S = 0.5


def run(start: Start, stop: threading.Event, report: Report) -> None:
    """Show until `stop`, or until the user closes the window."""
    cv2.setNumThreads(1)
    pipeline = start.pipeline
    with Sockets(read_keys(pipeline.link.keys) if pipeline.link.keys else None) as sockets:
        viewer = Viewer(sockets, pipeline, start.folder, report.age)
        choices = holds = None
        if explained_here(pipeline):
            cameras, maps = len(pipeline.camera), pipeline.link.maps
            choices = ChoiceAsk(sockets.ask(endpoint(maps, start.folder, "choice", cameras)))
            holds = HoldAsk(sockets.ask(endpoint(maps, start.folder, "hold", cameras + 1)))
        health = HealthReader(sockets, start.folder)
        seating = Seating(sockets.send_to(wish_address(start.folder)), health)
        asks = Asks(Steering(choices, pipeline.worker), Holding(holds), seating, health)
        sinks = open_sinks(pipeline, start.restarts, asks)
        try:
            _show(viewer, sinks, asks, pipeline.link.frames, stop, report)
        finally:
            for sink in sinks:
                sink.close()


def _show(viewer: Viewer, sinks: list[Sink], asks: Asks, frames: str, stop: threading.Event, report: Report) -> None:
    shown_at = defaultdict[str, int](now)
    measured_from: int | None = None
    waiting = "waiting for a first frame" + ("" if frames == "ipc" else f" from {frames}: same keys on both hosts?")
    while not stop.is_set():
        asks.step()
        if asks.seating.seats is not None and viewer.follow(asks.seating.seats):
            for sink in sinks:
                sink.follow([camera.camera.name for camera in viewer.cameras])
        for camera in viewer.cameras:
            camera.recorded = camera.recorded and (asks.seating.not_recording or "recording")
        for view in viewer.views(100):
            asks.steering.step(view)
            for sink in sinks:
                _hand_over(view, sink, report)
            viewer.done(view)
            shown_at[view.camera] = now()
            if measured_from is None and view.heatmap_age_ms is not None:
                measured_from = now() + int(WARM_UP_S * NS_PER_S)
                report.counts["first_heatmap_ns"] = now()
            _count(view, report, measured_from is not None and now() > measured_from)
        for camera in viewer.cameras:
            if now() - shown_at[camera.camera.name] > REFRESH_S * NS_PER_S:
                shown_at[camera.camera.name] = now()
                if (last := camera.again()) is not None:
                    for sink in sinks:
                        sink.refresh(last)
        report.drops.update({cause: n - report.drops[cause] for cause, n in viewer.drops().items()})
        report.counts.update({name: n - report.counts[name] for name, n in viewer.truth_counts().items()})
        report.alive("showing" if report.counts["shown"] else waiting)
        if any(sink.quit() for sink in sinks):
            report.state = "closed by the user"
            return


def _hand_over(view: View, sink: Sink, report: Report) -> None:
    began = now()
    sink.show(view)
    report.age("show", max(0.0, ms(now() - began) - sink.overlay_ms))
    if sink.overlay_ms:
        report.age("overlay", sink.overlay_ms)


def _count(view: View, report: Report, measured: bool) -> None:
    report.count("shown", view.camera)
    if not measured:
        return
    report.counts["shown_measured"] += 1
    report.age("frame", view.frame_age_ms, view.camera)
    if view.heatmap_age_ms is None or view.misalignment_ms is None:
        report.counts["shown_without_heatmap"] += 1
        return
    report.age("heatmap", view.heatmap_age_ms, view.camera)
    report.age("misalignment", max(0.0, view.misalignment_ms))
    report.counts["deadline_misses"] += view.late
    report.counts[f"deadline_misses@{view.camera}"] += view.late
