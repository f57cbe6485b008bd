"""From a file to what is found in it: one clip, or clips that slide over all of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
from torch import Tensor

from rtx.api import Result, result_of
from rtx.clock import NS_PER_MS, NS_PER_S
from rtx.config import Camera, Worker
from rtx.engine.engine import Batch, Engine, Found, to_wire
from rtx.engine.held import frames_of as frames_seen
from rtx.engine.held import tree_of
from rtx.engine.window import Clip, Window
from rtx.errors import UserError
from rtx.explain.placing import upsample
from rtx.film.found import Clips, Film, Panel, Pyramid, Row, Sliding, Still
from rtx.film.read import FileClip, camera_of, duration_of, frames_of, read_clip
from rtx.link.frames import Frame

Told = Callable[[float], None]
"""Is told which share of the work is done, 0..1."""
OVERLAP = 4
"""So many clips hold a frame, unless something else is asked for."""


def engines_of(worker: Worker, explainers: list[str]) -> list[Engine]:
    """One engine an explainer, all of the same backend. UserError."""
    first = Engine.of(msgspec.structs.replace(worker, explainer=explainers[0]))
    first.warm_up()
    return [first, *(Engine(first.backend, name, worker.target, continual=False) for name in explainers[1:])]


def explain_clip(
    engines: list[Engine], file: str, clip: FileClip, with_tree: bool = False
) -> tuple[Film, list[Result]]:  # fmt: skip
    """One clip, by every engine."""
    seen = _Seen(engines)
    batches = seen.explain(clip.clip)
    results = [result_of(engine, batch, clip.clip.frames) for engine, batch in zip(engines, batches, strict=True)]
    panels = tuple(panel for of in zip(batches, results, strict=True) for panel in _stills(clip, *of))

    def frames() -> Iterator[Frame]:
        for number, (time, picture) in enumerate(zip(clip.times, clip.pictures, strict=True)):
            yield Frame("file", 0, number, time, picture)

    film = seen.film(file, clip.times[0], clip.times[-1], panels, frames, with_tree)
    return replace(film, stretched=clip.stretched), results


def explain_film(
    engines: list[Engine], file: str, every_s: float | None = None, told: Told = lambda _: None,
    with_tree: bool = False, camera: Camera | None = None,
) -> Film:  # fmt: skip
    """All of a file: a clip every so many seconds, without it every quarter of a clip's duration. UserError."""
    spec, settings = engines[0].card.clip, camera or camera_of(file)
    span = (spec.frames - 1) * spec.stride_ms * NS_PER_MS
    every = round(span / OVERLAP if every_s is None else every_s * NS_PER_S)
    duration = max(1, duration_of(file))
    seen = _Seen(engines)
    window = Window(spec, settings.roi, settings.fit)
    newest: int | None = None
    due: int | None = None
    for frame in frames_of(file):
        newest = frame.t_capture
        if window.wants(frame):
            window.shrink(frame)
            window.add(frame)
            if (due is None or newest >= due) and (clip := window.clip("file")) is not None:
                seen.explain(clip)
                # On the beat, however frames fall; after a gap from there on.
                due = (newest if due is None or newest - due >= every else due) + every
        told(min(1.0, newest / duration))
    if newest is None:
        raise UserError(f"{file!r} holds no frame that can be read")
    stretched = False
    if not seen.clips[0].rows:
        only = read_clip(file, engines[0].backend, camera=settings)
        stretched = only.stretched
        seen.explain(only.clip)
    elif newest - seen.clips[0].rows[-1].times[-1] > spec.stride_ms * NS_PER_MS:
        last = window.clip("file")
        if last is not None:
            seen.explain(last)
    panels = tuple(panel for number in range(len(engines)) for panel in seen.panels(number))
    film = seen.film(file, 0, newest, panels, lambda: frames_of(file), with_tree)
    return replace(film, whole=True, stretched=stretched)


class _Seen:
    """Clips as they are explained, one store an engine, and the one with the clearest evidence for its class."""

    def __init__(self, engines: list[Engine]):
        self._engines = engines
        self.clips = [Clips() for _ in engines]
        self._beside: dict[int, Clips] = {}
        """Of a twin network's second branch, by the engine's number."""
        self._clearest: tuple[float, Row, Found] | None = None

    def explain(self, clip: Clip) -> list[Batch]:
        """One clip, in one pass for all engines."""
        first = self._engines[0].batch([clip])
        batches = [first, *(engine.run_in(first.forward) for engine in self._engines[1:])]
        for number, (engine, batch, clips) in enumerate(zip(self._engines, batches, self.clips, strict=True)):
            (found,) = engine.found([clip], batch)
            _add(clips, found, found.relevance, batch.explained.evidence[0])
            if batch.beside is not None:
                _add(self._beside.setdefault(number, Clips()), found, batch.beside[0], bool((batch.beside > 0).any()))
            row = clips.rows[-1]
            strength = row.full * row.certainty
            if engine is self._engines[0] and (self._clearest is None or strength > self._clearest[0]):
                self._clearest = strength, row, found
        return batches

    def panels(self, number: int) -> list[Sliding]:
        """What an engine found: one panel, or of a twin network's branches one each."""
        name = str(self._engines[number].chain)
        if number not in self._beside:
            return [Sliding(name, self.clips[number])]
        return [Sliding(f"{name} of RGB", self.clips[number]), Sliding(f"{name} of flow", self._beside[number])]

    def film(
        self, file: str, begin: int, end: int, panels: tuple[Panel, ...], frames: Callable[[], Iterator[Frame]],
        with_tree: bool,
    ) -> Film:  # fmt: skip
        """All of them."""
        engine = self._engines[0]
        backend = engine.backend
        assert self._clearest is not None
        _, row, found = self._clearest
        pyramid = _pyramid(engine, row, found) if with_tree else None
        return Film(
            file, engine.card.name, backend.name, str(backend.device), backend.precision, found.clip.height,
            found.clip.width, begin, end, panels, frames, pyramid=pyramid,
        )  # fmt: skip


def _add(clips: Clips, found: Found, relevance: Tensor, evidence: bool) -> None:
    """Keep one map of a clip."""
    whole = to_wire(relevance, found.cells, found.input_size, whole=True)
    explanation = msgspec.structs.replace(found.explanation, map=whole, evidence=evidence)
    try:
        clips.add(explanation, smooth=tuple(relevance.shape) == found.input_size)
    except OSError as error:
        where = tempfile.gettempdir()
        raise UserError(f"maps cannot be kept in {where!r}: {error.strerror}; name another TMPDIR") from None


def _stills(clip: FileClip, batch: Batch, result: Result) -> list[Still]:
    """What was found in one clip: one panel, or of a twin network's branches one each."""
    if batch.beside is None:
        return [Still(clip, result)]
    flow = replace(
        result, explainer=f"{result.explainer} of flow", relevance=batch.beside[0].float().cpu().numpy(),
        relevance_full=upsample(batch.forward, batch.beside)[0].cpu().numpy(), evidence=bool((batch.beside > 0).any()),
    )  # fmt: skip
    return [Still(clip, replace(result, explainer=f"{result.explainer} of RGB")), Still(clip, flow)]


def _pyramid(engine: Engine, row: Row, found: Found) -> Pyramid:
    """Where this network and backend have none: why."""
    frames = frames_seen(found)
    try:
        return Pyramid(row, frames, tree_of(engine, found), "")
    except UserError as error:
        return Pyramid(row, frames, (), str(error))
