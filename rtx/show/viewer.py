"""The reading end of a run: each camera's newest frame joined with its newest explanation into a view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera, Pipeline
from rtx.geometry import Rect
from rtx.link.frames import Frame, FrameReader
from rtx.link.offset import ClockOffset
from rtx.link.sockets import Sockets, endpoint
from rtx.link.wire import BadMessage, CameraState, Explanation, Handled, Shown, WorkerState, pack, unpack_map
from rtx.measure.localisation import SIDE, Hits, judge, named_rightly
from rtx.nets import cards
from rtx.roster import Seat
from rtx.show.overlay import LiveScale, beside_of, heat_of, newest_frame
from rtx.show.view import Heat, View

SILENT_S = 5.0
"""A worker that says nothing for so long is called silent (a forward pass on a slow machine takes seconds)."""


Took = Callable[[str, float], None]
"""Told what a stage took, in ms."""


def nobody(stage: str, took_ms: float) -> None:
    """Hears it and keeps nothing."""


def explained_here(pipeline: Pipeline) -> bool:
    """Are explanations heard on this host?"""
    return "engine" in pipeline.link.parts or pipeline.link.maps != "ipc"


class CameraViewer:
    """One camera as the display knows it."""

    def __init__(
        self, sockets: Sockets, pipeline: Pipeline, folder: str, index: int, camera: Camera, scale: LiveScale,
        took: Took = nobody,
    ):  # fmt: skip
        self._took = took
        self.index, self.camera = index, camera
        self.recorded = ""
        """In words, where it is being recorded, or should be."""
        self.rests = ""
        """Why it gives no pictures, where somebody wanted that or it was given up."""
        self.frames = FrameReader(sockets, pipeline.link, folder, index)
        self.maps = sockets.newest(endpoint(pipeline.link.maps, folder, "maps", index))
        self.drops: Counter[str] = Counter()
        self.ended = False
        self._explained_here = explained_here(pipeline)
        self._maps_clock = None
        if pipeline.link.maps != "ipc":
            self._maps_clock = ClockOffset(sockets.ask(endpoint(pipeline.link.maps, folder, "maps-clock", index)))
        self._every = self.camera.pace == "every"
        self._shown = sockets.send_to(endpoint("ipc", folder, "shown", index)) if self._every else None
        self._budget_ms = pipeline.budget.heatmap_age_ms
        self._scale = scale
        self._state: CameraState | None = None
        self._worker: WorkerState | None = None
        self._heard = now()
        self._handled: tuple[int, int] | None = None
        self._explanation: Explanation | None = None
        self._heat: Heat | None = None
        self._beside: NDArray[np.uint8] | None = None
        self._beside_scale = LiveScale()
        self.hits = Hits()
        self._right: bool | None = None
        self._held: View | None = None
        self._last: View | None = None

    def step(self) -> View | None:
        """Take what has arrived; a view when there is a new frame to show."""
        self._take_map()
        taken = self.frames.take()
        if isinstance(taken, CameraState):
            self._state = taken
            self.ended = taken.state == "ended"
        elif isinstance(taken, Frame) and self.frames.ready:
            self._state, self.ended = None, False
            self._take_frame(taken)
        if self._held is None or (self._every and self._explained_here and not self._is_handled(self._held)):
            return None
        view, self._held = self._view(self._held), None
        self._last = view
        return view

    def again(self) -> View | None:
        """The last frame with its present states and ages, for a camera that gives no new ones."""
        return None if self._last is None else self._view(self._last)

    def done(self, view: View) -> None:
        """The view was shown: under `pace = "every"` the grabber may go on."""
        if self._shown is not None:
            try:
                self._shown.send(pack(Shown(camera=view.camera, epoch=view.epoch, seq=view.seq)), zmq.NOBLOCK)
            except zmq.Again:
                self.drops["shown"] += 1  # The grabber asks again.

    def _take_frame(self, frame: Frame) -> None:
        if self._last is not None and (self._last.epoch, self._last.seq) == (frame.epoch, frame.seq):
            self.done(self._last)  # It was shown, but the grabber did not hear of it.
            return
        pixels = frame.pixels.copy()
        if self.frames.whole(frame):
            self._held = View(
                frame.camera, pixels, frame.seq, frame.epoch, frame.t_capture, 0.0, "live", "",
                uncertainty_ms=self.frames.age_uncertainty_ms, truth=frame.truth,
            )  # fmt: skip

    def _take_map(self) -> None:
        if self._maps_clock is not None:
            self._maps_clock.step()
        try:
            message = unpack_map(self.maps.recv(zmq.NOBLOCK))
        except zmq.Again:
            return
        except BadMessage:
            self.drops["malformed"] += 1
            return
        self._heard = now()
        if isinstance(message, WorkerState):
            self._worker = message
        elif isinstance(message, Handled):
            self._handled = (message.epoch, message.seq)
        elif isinstance(message, Explanation):
            self._worker = None
            self._handled = (message.epoch, message.last_seq)
            if self._explanation is not None and _how(message) != _how(self._explanation):
                self.hits = Hits()  # Rates are of one explainer, not of a mixture.
            self._explanation = message
            self._took("wire", ms(self._heard - message.t_sent + self._maps_offset()))
            self._heat = heat_of(message, self._scale)
            self._beside = beside_of(message, self._beside_scale)
            self._took("upsample", ms(now() - self._heard))
            self._judge(message)

    def _judge(self, explanation: Explanation) -> None:
        """Where the truth is known: is the class right, and does the map's maximum lie where it should?"""
        truth, span = explanation.truth, explanation.t_frames[-1] - explanation.t_frames[0]
        self._right = named_rightly(explanation.top[0].label, truth, span, cards.labels_of(explanation.model))
        if truth is not None and self._right is not None:
            relevance = newest_frame(explanation.map, SIDE)
            self.hits.add(self._right, judge(relevance, truth, Rect(*explanation.rect)))

    def _is_handled(self, view: View) -> bool:
        return self._handled == (view.epoch, view.seq)

    def _view(self, base: View) -> View:
        """The frame with everything that is known now."""
        # Under `pace = "every"` the file's time stands still while we work: now is the frame's own time.
        at = base.t_capture if self._every else now()
        known: dict[str, Any] = {
            "frame_age_ms": ms(at - base.t_capture),
            "camera_state": self._camera_words(),
            "worker_state": self._worker_words(),
            "recorded": self.recorded,
        }
        explanation = self._explanation
        if explanation is None or not self._fits(explanation, base):
            return replace(
                base, heat=None, beside=None, top=(), right=None, hits=None, heatmap_age_ms=None, misalignment_ms=None,
                late=False, degraded="", faithfulness=None, **known,
            )  # fmt: skip
        newest = explanation.t_newest - self._maps_offset()
        age = ms(at - newest)
        return replace(
            base, heat=self._heat, beside=self._beside, evidence=explanation.evidence, top=explanation.top,
            target=explanation.target, asked=explanation.asked, explainer=explanation.explainer,
            model=explanation.model, backend=explanation.backend, precision=explanation.precision, heatmap_age_ms=age,
            misalignment_ms=ms(base.t_capture - newest), late=age > self._budget_ms, degraded=explanation.degraded,
            motion_share=explanation.motion_share, faithfulness=explanation.faithfulness, ms=explanation.ms,
            right=self._right if _same_act(explanation, base) else None,
            hits=self.hits.running() if explanation.truth is not None else None,
            uncertainty_ms=base.uncertainty_ms + explanation.uncertainty_ms + self._maps_uncertainty_ms(), **known,
        )  # fmt: skip

    def _fits(self, explanation: Explanation, base: View) -> bool:
        """Of the same run of frames, of the same size, and told in a clock that is known."""
        same_size = (explanation.height, explanation.width) == base.image.shape[:2]
        known = self._maps_clock is None or self._maps_clock.known
        return explanation.epoch == base.epoch and same_size and known and not self.rests

    def _maps_offset(self) -> int:
        """Times in explanations are in the worker's clock."""
        return self._maps_clock.offset if self._maps_clock is not None else 0

    def _maps_uncertainty_ms(self) -> float:
        return self._maps_clock.uncertainty / 1e6 if self._maps_clock is not None else 0.0

    def explained(self) -> tuple[int, Explanation] | None:
        """The newest explanation, and when its newest frame was captured, in this host's clock."""
        explanation = self._explanation
        return None if explanation is None else (explanation.t_newest - self._maps_offset(), explanation)

    def close(self) -> None:
        self.frames.close()
        self.maps.close(0)

    def _camera_words(self) -> str:
        if self.rests:
            return self.rests
        if self._state is None or self._state.state == "live":
            return "live"
        if self._state.state == "lost":
            return f"camera lost {max(0, now() - self._state.since) / NS_PER_S:.0f} s: {self._state.reason}"
        return self._state.state

    def _worker_words(self) -> str:
        if self.rests:
            return ""
        silent = (now() - self._heard) / NS_PER_S
        if not self._explained_here:
            return "no worker on this host"
        if silent > SILENT_S:
            return f"worker silent {silent:.0f} s"
        if self._worker is None:
            return "explaining" if self._explanation is not None else "worker starting"
        if self._worker.state == "collecting":
            return f"collecting a first clip {100 * self._worker.progress:.0f} %"
        return {
            "loading": "worker loading its model",
            "gap": "too few frames for a clip, waiting for more",
            "waiting": "explaining",
        }[self._worker.state]


def _same_act(explanation: Explanation, base: View) -> bool:
    """The picture shows what the explained clip showed: else a mark would stand beside another truth."""
    then, shown = explanation.truth, base.truth
    return then is not None and shown is not None and then.action == shown.action


def _how(explanation: Explanation) -> tuple[str, str | None]:
    return explanation.explainer, explanation.asked


class Viewer:
    """All cameras of a run. `views(timeout)` waits for the next new frames.

    Under `pace = "every"` a camera waits for its viewer, but not for one that looks on `beside`.
    """

    def __init__(
        self, sockets: Sockets, pipeline: Pipeline, folder: str, took: Took = nobody, beside: bool = False
    ):  # fmt: skip
        scale = LiveScale()

        def watch(index: int, camera: Camera) -> CameraViewer:
            camera = msgspec.structs.replace(camera, pace="realtime") if beside else camera
            return CameraViewer(sockets, pipeline, folder, index, camera, scale, took)

        self._watch = watch
        self.cameras = [watch(*of) for of in enumerate(pipeline.camera)]
        self._poller = self._new_poller()

    def follow(self, seats: tuple[Seat, ...]) -> bool:
        """View the cameras that have a seat, and no others. True where that is a change."""
        known = {camera.index: camera for camera in self.cameras}
        changed = known.keys() != {seat.index for seat in seats}
        if changed:
            for index in known.keys() - {seat.index for seat in seats}:
                known[index].close()
            self.cameras = [known.get(seat.index) or self._watch(seat.index, seat.camera) for seat in seats]
            self._poller = self._new_poller()
        for camera, seat in zip(self.cameras, seats, strict=True):
            camera.rests = f"given up: {seat.trouble}" if seat.trouble else "paused" if seat.paused else ""
            camera.recorded = "recording" if seat.recording and not camera.rests else ""
        return changed

    def _new_poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        for camera in self.cameras:
            poller.register(camera.frames.socket, zmq.POLLIN)
            if camera.camera.pace == "every":
                poller.register(camera.maps, zmq.POLLIN)
        return poller

    def views(self, timeout_ms: int) -> list[View]:
        """Views of the cameras that have a new frame; empty when the time is up."""
        self._poller.poll(timeout_ms)
        return [view for camera in self.cameras if (view := camera.step()) is not None]

    def done(self, view: View) -> None:
        for camera in self.cameras:
            if camera.camera.name == view.camera:
                camera.done(view)

    def truth_counts(self) -> dict[str, int]:
        """Over all cameras whose truth is known: how often class and heat were right; chances in millionths."""
        totals = sum((camera.hits.totals for camera in self.cameras), np.zeros(6))
        if not (judged := sum(camera.hits.judged for camera in self.cameras)):
            return {}
        names = ("body_n", "body_hits", "body_chance_ppm", "acting_n", "acting_hits", "acting_chance_ppm")
        found = {
            f"truth_{name}": round(float(n)) for name, n in zip(names, totals * [1, 1, 1e6, 1, 1, 1e6], strict=True)
        }
        return found | {"truth_judged": judged, "truth_right": sum(camera.hits.right for camera in self.cameras)}

    def drops(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for camera in self.cameras:
            total += camera.frames.drops + camera.drops
        return total
