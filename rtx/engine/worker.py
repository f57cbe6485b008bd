"""The worker process: newest clips of all cameras in, explanations out, until `stop`."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import cv2
import msgspec
import zmq

from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera, Pipeline
from rtx.engine.engine import Engine, Found
from rtx.engine.faithfulness import Meter
from rtx.engine.held import held, tree_of
from rtx.engine.pace import Pace
from rtx.engine.stream import Stream
from rtx.engine.window import Clip, Window
from rtx.errors import UserError
from rtx.explain.chain import chain_for, followed
from rtx.explain.steps import Memory
from rtx.health import HealthReader
from rtx.link.choice import ChoiceAnswer
from rtx.link.frames import Frame, FrameReader
from rtx.link.hold import HoldAnswer
from rtx.link.offset import ClockAnswer
from rtx.link.sockets import Sockets, endpoint, read_keys
from rtx.link.wire import CameraState, Choice, Explanation, Handled, Held, Hold, MapMessage, WorkerState, pack
from rtx.nets import cards
from rtx.process import Report, Start
from rtx.redact import redact
from rtx.roster import Seat

MOST_HELD = 8
"""Clips that viewers look at are kept, so many."""
TURN_S = 0.5
"""Without anything to explain, a choice is taken so often."""
NICENESS = 5
"""Below grabber and display: a frame shown late is seen at once, an explanation 20 ms later is not."""


@dataclass(eq=False)
class Watched:
    """One camera as the worker knows it."""

    index: int
    camera: Camera
    window: Window | Stream
    reader: FrameReader
    out: zmq.Socket[bytes]
    clock: ClockAnswer | None
    memory: Memory = field(default_factory=Memory)
    explained_at: int = 0
    """Capture time of the newest frame of the last explained clip."""
    epoch: int = -1
    tried_at: int = 0
    """When it last had its turn."""
    told_at: int = 0
    gap: bool = False
    """Frames are missing amid the newest clip."""
    waiting: Frame | None = None
    """`pace = "every"`: the frame that the grabber holds until it was handled."""
    answer: MapMessage | None = None
    """What was said of that frame."""
    found: Found | None = None
    """The clip that was explained last."""


def run(start: Start, stop: threading.Event, report: Report) -> None:
    """Explain until `stop`."""
    cv2.setNumThreads(1)
    os.nice(NICENESS)
    pipeline = start.pipeline
    with Sockets(read_keys(pipeline.link.keys) if pipeline.link.keys else None) as sockets:
        card = cards.card(pipeline.worker.model, pipeline.worker.layer)
        chain, _ = chain_for(pipeline.worker.explainer, pipeline.worker.target, card.labels)
        follows = followed(card, chain, pipeline.worker.continual)

        def watched(index: int, camera: Camera) -> Watched:
            clock = None
            if pipeline.link.maps != "ipc":
                clock = ClockAnswer(sockets.answer(endpoint(pipeline.link.maps, start.folder, "maps-clock", index)))
            reader = FrameReader(sockets, pipeline.link, start.folder, index)
            out = sockets.publish(endpoint(pipeline.link.maps, start.folder, "maps", index))
            return Watched(index, camera, _window(card, camera, follows), reader, out, clock)

        cameras = [watched(index, camera) for index, camera in enumerate(pipeline.camera)]
        health = HealthReader(sockets, start.folder)
        choices = ChoiceAnswer(sockets.answer(endpoint(pipeline.link.maps, start.folder, "choice", len(cameras))))
        holds = HoldAnswer(sockets.answer(endpoint(pipeline.link.maps, start.folder, "hold", len(cameras) + 1)))
        holding: deque[Found] = deque(maxlen=MOST_HELD)
        turn = _Turn()
        engine = _Loading(cameras, report, pipeline).load()
        live = sum(watched.camera.pace == "realtime" for watched in cameras)
        pace: Pace[Watched] = Pace(engine, pipeline.budget, live, report)
        meter = Meter(engine) if pipeline.worker.faithfulness else None
        report.facts.update(
            model=card.name, device=str(engine.backend.device),
            backend=engine.backend.name, precision=engine.backend.precision,
        )  # fmt: skip
        # Fed by a thread of its own, because frames must be taken while a forward pass runs.
        arrived, ended = threading.Event(), threading.Event()
        feeder = threading.Thread(target=_feed, args=(cameras, arrived, ended, report), daemon=True)
        feeder.start()
        try:
            while not stop.is_set():
                if turn.has_come(report):
                    choices.serve(lambda choice: _choose(choice, engine, cameras, report, pace, meter))
                holds.answer(lambda wish: _hold(wish, engine, cameras, holding, report))
                for name, malformed in (("choice", choices.malformed), ("hold", holds.malformed)):
                    if malformed:
                        report.drops[f"malformed_{name}"] = malformed
                health.step()
                follows = engine.follows
                if health.seats is not None and _seat(cameras, health.seats, watched):
                    pace.cameras = sum(one.camera.pace == "realtime" for one in cameras)
                step(engine, cameras, report, pace, meter)
                if not feeder.is_alive():
                    raise RuntimeError("the thread that takes frames has ended")
                arrived.wait(0.02)
                arrived.clear()
        finally:
            ended.set()
            feeder.join(2.0)


def _window(card: cards.Card, camera: Camera, follows: bool) -> Window | Stream:
    if follows:
        return Stream(card.clip, camera.roi, camera.fit)
    return Window(card.clip, camera.roi, camera.fit, with_flow=card.flow is not None)


def _seat(cameras: list[Watched], seats: tuple[Seat, ...], watched: Callable[[int, Camera], Watched]) -> bool:
    """Watch the cameras that have a seat, and no others; in place. True where that is a change."""
    known = {one.index: one for one in cameras}
    if known.keys() == {seat.index for seat in seats}:
        return False
    for index in known.keys() - {seat.index for seat in seats}:
        known[index].out.close(0)  # Its reader is closed by the thread that reads.
    cameras[:] = [known.get(seat.index) or watched(seat.index, seat.camera) for seat in seats]
    return True


class _Turn:
    """A choice may be taken once something was explained by the last one, so that choosing never starves explaining."""

    def __init__(self) -> None:
        self._explained, self._since = -1, 0

    def has_come(self, report: Report) -> bool:
        explained = report.counts["explained"]
        if explained == self._explained and now() - self._since < TURN_S * NS_PER_S:
            return False
        self._explained, self._since = explained, now()
        return True


def _choose(
    choice: Choice, engine: Engine, cameras: list[Watched], report: Report, pace: Pace[Watched],
    meter: Meter | None = None,
) -> str:  # fmt: skip
    """Explain as somebody has chosen; the reason where that cannot be."""
    report.alive("changing the explainer")
    try:
        if not engine.choose(choice.explainer, choice.target, len(cameras)):
            return ""
    except UserError as error:
        return str(error)
    except Exception as error:
        # Somebody's network, or too little memory: the run goes on as before, and says what happened.
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        report.counts["choices_failed"] += 1
        why = (str(error).splitlines() or [""])[0]
        return f"{choice.explainer} fails here, and it stays with {engine.chain}: {type(error).__name__}: {redact(why)}"
    pace.anew()
    if meter is not None:
        meter.anew()
        _tell_faithfulness(meter, report)
    for watched in cameras:
        watched.memory = Memory()
        if isinstance(watched.window, Stream) != engine.follows:
            # It begins empty: a stream has nothing that a clip could be made of, nor the other way round.
            overload = watched.window.overload
            watched.window = _window(engine.card, watched.camera, engine.follows)
            watched.window.overload = overload
    return ""


def _hold(wish: Hold, engine: Engine, cameras: list[Watched], holding: deque[Found], report: Report) -> Held:
    """The clip that somebody wants to look at closely, as it is; it is not touched by what comes."""
    if wish.tree is None:
        found = next((watched.found for watched in cameras if watched.camera.name == wish.camera), None)
        if found is None:
            return Held(wish.number, refused=f"no clip of {wish.camera} was explained yet")
        holding.append(found)
        return Held(wish.number, held(found))
    of = wish.camera, *wish.tree
    found = next((one for one in holding if (one.clip.camera, one.clip.epoch, one.clip.last_seq) == of), None)
    if found is None:
        return Held(wish.number, refused="this clip is not kept any more; hold another one")
    report.alive("reading a pyramid")
    try:
        return Held(wish.number, held(found, tree_of(engine, found)))
    except UserError as error:
        return Held(wish.number, refused=str(error))
    except Exception as error:
        # Somebody's network, or too little memory: the run goes on as before, and says what happened.
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        return Held(wish.number, refused=f"no pyramid here: {type(error).__name__}: {redact(str(error))[:500]}")


class _Loading:
    """The model loads in a thread, so that the main loop can tell that it does."""

    def __init__(self, cameras: list[Watched], report: Report, pipeline: Pipeline):
        self._cameras, self._report, self._pipeline = cameras, report, pipeline
        self._error: Exception | None = None
        self._engine: Engine | None = None

    def load(self) -> Engine:
        thread = threading.Thread(target=self._load, daemon=True)
        thread.start()
        while thread.is_alive():
            self._report.state = f"loading {self._pipeline.worker.model}"
            for watched in self._cameras:
                _tell(watched, "loading", 0.0)
            thread.join(0.2)
        if self._error is not None:
            raise self._error
        assert self._engine is not None
        return self._engine

    def _load(self) -> None:
        try:
            engine = Engine.of(self._pipeline.worker)
            engine.prepare(len(self._cameras), degrades=self._pipeline.budget.deadline_misses < 1)
            self._engine = engine
        except Exception as error:
            self._error = error


def step(
    engine: Engine, cameras: list[Watched], report: Report, pace: Pace[Watched], meter: Meter | None = None
) -> None:  # fmt: skip
    """One round: all cameras that have a new clip, and whose turn it is, are one batch."""
    # Looked at once: what the feeder brings meanwhile is for the next round.
    waiting = [watched.waiting for watched in cameras]
    for watched in cameras:
        if watched.clock is not None:
            watched.clock.serve()
    ready = [watched for watched, frame in zip(cameras, waiting, strict=True) if _is_due(watched, frame)]
    waited_for = [watched for watched in ready if watched.camera.pace == "every"]
    turn = [*waited_for, *pace.next([watched for watched in ready if watched.camera.pace == "realtime"])]
    due = [(watched, clip) for watched in turn if (clip := _clip(watched)) is not None]
    if due:
        _explain(engine, due, cameras, report, pace, meter)
    for watched, frame in zip(cameras, waiting, strict=True):
        if frame is not None:
            _settle(watched, frame)
        if now() - watched.told_at > NS_PER_S // 2:
            progress = watched.window.progress()
            _tell(watched, "collecting" if progress < 1 else "gap" if watched.gap else "waiting", progress)
    # After everybody has been answered: it delays what comes next by no more than a pass.
    if meter is not None and meter.step():
        _tell_faithfulness(meter, report)
    doing = f"explaining, {engine.rung.words}" if engine.rung.words else "explaining"
    report.alive(doing if report.counts["explained"] else _collecting(cameras))


def _tell_faithfulness(meter: Meter, report: Report) -> None:
    """For the report and the metrics: of what is explained now, and of nothing before."""
    for name in [name for name in report.facts if name.startswith("faithfulness@")]:
        del report.facts[name]
    report.counts["faithfulness_passes"] = meter.passes
    for camera in meter.cameras:
        told = meter.of(camera)
        assert told is not None
        report.facts[f"faithfulness@{camera}"] = " ".join(map(str, msgspec.structs.astuple(told)))


def _is_due(watched: Watched, waiting: Frame | None) -> bool:
    newest = watched.window.newest()
    # Live, as often as it can be done; `every`, as often as the clip gains a sample.
    live = watched.camera.pace == "realtime"
    least = 1 if live else watched.window.gains_ns
    if newest is None or abs(newest - watched.explained_at) < least:
        return False
    return live or (waiting is not None and waiting.t_capture == newest)


def _clip(watched: Watched) -> Clip | None:
    watched.tried_at = now()
    clip = watched.window.clip(watched.camera.name)
    watched.gap = clip is None
    return clip


def _explain(
    engine: Engine, due: list[tuple[Watched, Clip]], cameras: list[Watched], report: Report, pace: Pace[Watched],
    meter: Meter | None,
) -> None:  # fmt: skip
    began = now()
    for watched, clip in due:
        if clip.epoch != watched.epoch:
            watched.epoch, watched.memory = clip.epoch, Memory()
            pace.forget(watched.camera.name)
    found = engine.find([clip for _, clip in due], [watched.memory for watched, _ in due])
    explanations = [of.explanation for of in found]
    # For the report, and for the worker that takes this one's place should it die: what has worked.
    report.facts.update(explainer=str(engine.chain), target=explanations[0].asked or "")
    told: list[Clip] = []
    for (watched, clip), of in zip(due, found, strict=True):
        watched.explained_at = clip.t_frames[-1]
        if not clip.whole:
            continue
        watched.found = of
        explanation = msgspec.structs.replace(
            of.explanation, uncertainty_ms=watched.reader.age_uncertainty_ms, t_sent=now(),
            faithfulness=None if meter is None else meter.of(clip.camera),
        )  # fmt: skip
        watched.answer = explanation
        if watched.camera.pace == "realtime":
            _send(watched, explanation)
            told.append(clip)
        report.count("explained", watched.camera.name)
        report.age("wait", ms(began - clip.t_frames[-1]))
    for name, value in explanations[0].ms.items():
        report.age(name, value)
    report.counts["batches"] += 1
    report.counts["largest_batch"] = max(report.counts["largest_batch"], len(due))
    if meter is not None:
        meter.explained(found, (now() - began) / NS_PER_S)
    if pace.explained(told, began):
        for watched in cameras:
            watched.memory = Memory()  # Maps of another size, or of another explainer, do not belong together.


def _settle(watched: Watched, frame: Frame) -> None:
    """`pace = "every"`: say that the frame is done with, so that the display goes on."""
    answer = watched.answer
    covers = isinstance(answer, Explanation) and (answer.epoch, answer.last_seq) == (frame.epoch, frame.seq)
    message = answer if covers else Handled(camera=frame.camera, epoch=frame.epoch, seq=frame.seq)
    assert message is not None
    if watched.waiting is frame:
        watched.waiting = None
    _send(watched, message)


def _send(watched: Watched, message: MapMessage) -> None:
    watched.out.send(pack(message), zmq.NOBLOCK)
    watched.told_at = now()


def _tell(watched: Watched, state: Literal["loading", "collecting", "gap", "waiting"], progress: float) -> None:
    if watched.camera.pace == "every" and state != "loading":
        return  # A state would take the place of an answer that the display waits for.
    _send(watched, WorkerState(camera=watched.camera.name, state=state, since=now(), progress=progress))


def _collecting(cameras: list[Watched]) -> str:
    return f"collecting the first clip {100 * max(w.window.progress() for w in cameras):.0f} %"


def _feed(cameras: list[Watched], arrived: threading.Event, ended: threading.Event, report: Report) -> None:
    """Each camera's newest frame into its window, resized once."""
    poller, heard = zmq.Poller(), list[Watched]()
    while not ended.is_set():
        present = list(cameras)
        if present != heard:
            for watched in heard:
                if watched not in present:
                    watched.reader.close()
            poller, heard = _poller(present), present
        poller.poll(100)
        for watched in present:
            taken = watched.reader.take()
            if isinstance(taken, CameraState) and taken.state != "live":
                watched.window.empty()
            if isinstance(taken, Frame) and watched.reader.ready:
                _keep(watched, taken, report)
                arrived.set()
        for cause in {cause for watched in present for cause in watched.reader.drops}:
            report.drops[cause] = sum(watched.reader.drops[cause] for watched in present)
        if overload := sum(watched.window.overload for watched in present):
            report.drops["overload"] = overload


def _poller(cameras: list[Watched]) -> zmq.Poller:
    poller = zmq.Poller()
    for watched in cameras:
        poller.register(watched.reader.socket, zmq.POLLIN)
        if watched.reader.offset is not None:
            poller.register(watched.reader.offset.socket, zmq.POLLIN)
    return poller


def _keep(watched: Watched, frame: Frame, report: Report) -> None:
    report.counts["picked_up"] += 1
    report.age("pickup", watched.reader.age_ms(frame))
    window = watched.window  # Another one may take its place meanwhile.
    if window.wants(frame):
        began = now()
        window.shrink(frame)
        report.age("resize", ms(now() - began))
        if not watched.reader.whole(frame):
            return
        window.add(frame)
    if watched.camera.pace == "every":
        watched.waiting = frame
