"""The clips of what happens: from frames and explanations as they come to events with films and maps."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rtx.clock import NS_PER_S, now
from rtx.config import Events
from rtx.errors import UserError
from rtx.events.clip import MapLog, Moment, finish, moment_for
from rtx.events.detect import Change, Detector, Episode
from rtx.events.store import OVERLAY, PLAIN, Event, State, Store, folder_of
from rtx.events.webhook import Webhook
from rtx.link.wire import Explanation
from rtx.redact import redact
from rtx.show.overlay import LiveScale, certainty, draw, newest_frame
from rtx.show.sinks import Mp4
from rtx.show.view import Look

LAG_S = 2.0
"""Frames wait so long before they are written, so that the map that speaks for them is there."""
MAX_WIDTH = 1280
PRESET = "ultrafast"
"""Of the encoder: it has to keep up beside the network."""
RETRY_S = 10.0
"""Where the disk was full, it is looked at again so often."""
TIDY_S = 600.0
GB = 1e9


@dataclass(frozen=True)
class Taken:
    """A new frame, and what was known then."""

    camera: str
    epoch: int
    t: int
    """Capture time, monotonic ns."""
    jpeg: bytes
    explained: tuple[int, Explanation] | None
    """The camera's newest explanation, and the capture time of its newest frame."""


@dataclass
class _Recording:
    """One event whose clip is being written."""

    event: Event
    episode: Episode
    begin: int
    """Capture times of the first and the last frame of the clip, ns."""
    end: int | None
    maps: MapLog
    first: int | None = None
    plain: Mp4 | None = None
    overlay: Mp4 | None = None
    heat: NDArray[np.float32] = field(default_factory=lambda: np.zeros((56, 56), np.float32))
    written: int = 0
    """Capture time of the last frame that is in the clip."""
    shares: list[float] = field(default_factory=list)
    told_at: int = 0
    """When the database was last told that it goes on."""


@dataclass
class _Camera:
    """What is remembered of a camera that is recorded."""

    detector: Detector
    frames: deque[tuple[int, bytes]] = field(default_factory=deque)
    moments: list[Moment] = field(default_factory=list)
    recordings: list[_Recording] = field(default_factory=list)
    epoch: int = -1
    heard_at: int = 0
    """When a frame came last."""
    last: Explanation | None = None


class Recorder:
    """`step` takes each new view of a camera that is recorded. A full disk stops it, in words, and nothing else."""

    def __init__(self, settings: Events, look: Look):
        self._settings, self._look = settings, look
        self._store = Store(folder_of(settings))
        self._lock = _only_one(self._store.folder)
        self._webhook = Webhook(settings, self._store.folder)
        self._cameras: dict[str, _Camera] = {}
        self._scale = LiveScale()
        self.trouble = ""
        """Why nothing is recorded at present."""
        self.counts = {"events": 0, "events_cut": 0, "webhooks_failed": 0}
        self._looked_at = self._tidied_at = 0
        self._guarded(None, self._tell_owed)
        self._guarded(None, self._mend)

    @property
    def recording(self) -> bool:
        return bool(self._cameras)

    @property
    def words(self) -> str:
        """What it does."""
        if not self._cameras:
            return "recording nothing"
        if self.trouble:
            return f"not recording: {self.trouble}"
        going = [f"{of.episode.label} on {name}" for name, c in self._cameras.items() for of in c.recordings]
        return f"recording {', '.join(going)}" if going else f"waiting for events on {', '.join(self._cameras)}"

    def follow(self, cameras: Iterable[str]) -> None:
        """Record these from now on, and no others."""
        wanted = set(cameras)
        if wanted == self._cameras.keys():
            return
        for name in self._cameras.keys() - wanted:
            self._let_go(self._cameras.pop(name))
        for name in wanted - self._cameras.keys():
            self._cameras[name] = _Camera(Detector(self._settings))

    def step(self, taken: Taken) -> None:
        """A new frame of a camera that is recorded."""
        camera = self._cameras.get(taken.camera)
        if camera is None:
            return
        if taken.epoch != camera.epoch:
            self._let_go(camera)
            camera.epoch = taken.epoch
            camera.frames.clear()
            camera.moments.clear()
        camera.heard_at = now()
        camera.frames.append((taken.t, taken.jpeg))
        explained = taken.explained
        if explained is not None and explained[1] is not camera.last and explained[1].epoch == camera.epoch:
            camera.last = explained[1]
            self._explained(camera, *explained)
        self._guarded(camera, lambda: self._write(camera, taken.t - int(LAG_S * NS_PER_S)))
        self._drop_old(camera, taken.t)

    def idle(self) -> None:
        """Now and then: is there room on the disk, and what is too old?"""
        if now() - self._looked_at > RETRY_S * NS_PER_S:
            self._looked_at = now()
            free = self._free()
            lacks = free < self._settings.free_gb * GB
            had, self.trouble = self.trouble, f"the disk is full ({free / GB:.1f} GB free)" if lacks else ""
            if had and not lacks:
                self._guarded(None, self._mend)
            if lacks:
                for camera in self._cameras.values():
                    self._let_go(camera)
        for camera in self._cameras.values():
            silent = now() - camera.heard_at > (self._settings.off_s + self._settings.after_s + 2 * LAG_S) * NS_PER_S
            if silent and camera.recordings:
                self._let_go(camera)
        if now() - self._tidied_at > TIDY_S * NS_PER_S:
            self._tidied_at = now()
            self._guarded(None, self.tidy)
        self._guarded(None, self._note_told)
        self.counts["webhooks_failed"] = self._webhook.failed

    def _free(self) -> int:
        """Bytes on the disk; none where its folder is gone."""
        try:
            return shutil.disk_usage(self._store.folder).free
        except OSError:
            return 0

    def _mend(self) -> None:
        """What a process that was killed, or a full disk, has left open ends with what there is."""
        going = {of.event.id for camera in self._cameras.values() for of in camera.recordings}
        for event in self._store.unfinished():
            if event.id not in going:
                finish(event.clip)
                self._store.end(event.id, event.end, "cut", event.peak, None, None, self._webhook.on)
                self._webhook.tell(self._store.event(event.id))

    def _tell_owed(self) -> None:
        """What nobody had taken when the last recorder ended."""
        for event in self._store.owed():
            self._webhook.tell(event)

    def _note_told(self) -> None:
        while self._webhook.taken:
            self._store.told(self._webhook.taken.popleft())

    def tidy(self) -> None:
        """Forget what is too old, or too much."""
        oldest = datetime.now(UTC) - timedelta(days=self._settings.keep_days)
        self._store.retain(oldest, self._settings.keep_gb * GB)

    def _explained(self, camera: _Camera, at: int, explanation: Explanation) -> None:
        moment = _moment(at, explanation, self._scale)
        camera.moments.append(moment)
        changes = camera.detector.step(at, explanation.top)
        self._guarded(camera, lambda: self._change(camera, changes, explanation))
        for recording in list(camera.recordings):
            if recording.first is not None and recording in camera.recordings:
                self._guarded(camera, lambda recording=recording: self._log(recording, moment))  # type: ignore[misc]

    def _change(self, camera: _Camera, changes: list[Change], explanation: Explanation) -> None:
        for change in changes:
            if change.what == "begins" and not self.trouble:
                self._begin(camera, change.episode, explanation)
            for recording in camera.recordings:
                if change.what == "ends" and recording.episode is change.episode:
                    recording.end = change.episode.seen + int(self._settings.after_s * NS_PER_S)

    def _begin(self, camera: _Camera, episode: Episode, explanation: Explanation) -> None:
        event = self._store.begin(
            explanation.camera, episode.label, _utc(episode.start), episode.peak, explanation.model,
            explanation.explainer,
        )  # fmt: skip
        begin = episode.start - int(self._settings.before_s * NS_PER_S)
        camera.recordings.append(_Recording(event, episode, begin, None, MapLog(event.clip)))
        self.counts["events"] += 1

    def _write(self, camera: _Camera, until: int) -> None:
        """The frames up to then, into the clips that they belong to."""
        for recording in list(camera.recordings):
            for t, jpeg in camera.frames:
                last = until if recording.end is None else min(until, recording.end)
                if max(recording.begin, recording.written + 1) <= t <= last:
                    self._add(camera, recording, t, jpeg)
            if recording.end is not None and until > recording.end:
                camera.recordings.remove(recording)
                self._close(recording, "whole")

    def _add(self, camera: _Camera, recording: _Recording, t: int, jpeg: bytes) -> None:
        picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        if recording.plain is None or recording.overlay is None:
            recording.first = t
            recording.plain = Mp4(recording.event.clip / PLAIN, picture.shape[0], picture.shape[1], PRESET)
            recording.overlay = Mp4(recording.event.clip / OVERLAY, picture.shape[0], picture.shape[1], PRESET)
            for moment in camera.moments:
                self._log(recording, moment)
        recording.plain.add(picture, t)
        moment_now = moment_for(camera.moments, t)
        if moment_now is not None:
            draw(picture, moment_now.heat(), self._look)
        recording.overlay.add(picture, t)
        recording.written = t
        if t - recording.told_at > NS_PER_S:
            recording.told_at = t
            self._store.seen(recording.event.id, _utc(recording.episode.seen), recording.episode.peak)

    def _log(self, recording: _Recording, moment: Moment) -> None:
        assert recording.first is not None
        if moment.at < recording.first or (recording.end is not None and moment.at > recording.end):
            return
        recording.maps.add(_since(moment, recording.first))
        if recording.episode.start <= moment.at <= recording.episode.seen:
            recording.heat += moment.heat().values
            if moment.motion_share is not None:
                recording.shares.append(moment.motion_share)

    def _close(self, recording: _Recording, state: State) -> None:
        for film in (recording.plain, recording.overlay):
            if film is not None:
                film.close()
        recording.maps.close()
        share = float(np.mean(recording.shares)) if recording.shares else None
        highest = float(recording.heat.max())
        heat = (recording.heat * (255 / highest)).astype(np.uint8).tobytes() if highest > 0 else None
        episode = recording.episode
        self._store.end(recording.event.id, _utc(episode.seen), state, episode.peak, share, heat, self._webhook.on)
        self.counts["events_cut"] += state != "whole"
        self._webhook.tell(self._store.event(recording.event.id))

    def _let_go(self, camera: _Camera) -> None:
        """What is open ends with what there is, also with what had waited for its map."""
        camera.detector.end()
        if not self.trouble:
            try:
                self._write(camera, camera.frames[-1][0] if camera.frames else 0)
            except (OSError, UserError, sqlite3.DatabaseError) as error:
                self._stop(error)
        recordings, camera.recordings = camera.recordings, []
        for recording in recordings:
            try:
                self._close(recording, "cut")
            except (OSError, UserError, sqlite3.DatabaseError) as error:
                self._stop(error)

    def _guarded(self, camera: _Camera | None, act: Callable[[], None]) -> None:
        """Do it; a disk that takes no more stops recording, not the process."""
        try:
            act()
        except (OSError, UserError, sqlite3.DatabaseError) as error:
            self._stop(error)
            if camera is not None:
                self._let_go(camera)

    def _stop(self, error: Exception) -> None:
        self.trouble, self._looked_at = redact(str(error)), now()

    def _drop_old(self, camera: _Camera, at: int) -> None:
        keep = at - int((self._settings.before_s + self._settings.on_s + 2 * LAG_S) * NS_PER_S)
        while camera.frames and camera.frames[0][0] < keep:
            camera.frames.popleft()
        while camera.moments and camera.moments[0].at < keep:
            del camera.moments[0]

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        for camera in self._cameras.values():
            self._let_go(camera)
        self._webhook.close()
        self._guarded(None, self._note_told)
        self._store.close()
        os.close(self._lock)


def _only_one(folder: Path) -> int:
    """Holds the folder: what one recorder has open, another one would take for left over. UserError."""
    lock = os.open(folder / "recorder.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UserError(
            f"events.folder = {str(folder)!r}: another rtx records there; set events.folder to another one"
        ) from None
    return lock


def _moment(at: int, explanation: Explanation, scale: LiveScale) -> Moment:
    relevance = newest_frame(explanation.map)
    full = scale.full(explanation, float(relevance.max()))
    shown = np.clip(relevance / full if full > 0 and explanation.evidence else 0 * relevance, 0, 4)
    shrink = min(1.0, MAX_WIDTH / explanation.width)
    x, y, width, height = (side * shrink for side in explanation.rect)
    seen = None if explanation.seen is None else tuple(side * shrink for side in explanation.seen)
    return Moment(
        at, shown.astype(np.float16).tobytes(), certainty(explanation.top, explanation.target), (x, y, width, height),
        seen, explanation.top, explanation.target, explanation.motion_share,  # type: ignore[arg-type]
    )  # fmt: skip


def _since(moment: Moment, first: int) -> Moment:
    return Moment(
        moment.at - first, moment.relevance, moment.certainty, moment.rect, moment.seen, moment.top, moment.target,
        moment.motion_share,
    )  # fmt: skip


def _utc(t: int) -> datetime:
    """Wall time of a monotonic one."""
    return datetime.fromtimestamp((time.time_ns() - (now() - t)) / NS_PER_S, UTC)
