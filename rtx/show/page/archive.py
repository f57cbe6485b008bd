"""What was recorded, for the page: the list of events, their clips, and their maps to draw over them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rtx.clock import NS_PER_MS
from rtx.errors import UserError
from rtx.events.clip import made_again, read
from rtx.events.store import OVERLAY, PLAIN, Event, NothingRecorded, Store
from rtx.explain.registry import parse
from rtx.show.overlay import GRID
from rtx.show.page.again import Again
from rtx.show.page.guard import ROLE

MOST = 500
"""Events in one answer, the newest."""


def routes(folder: Path, again: Again) -> list[Route]:
    """`folder`: of the events."""
    archive = _Archive(folder, again)
    return [
        Route("/events", archive.events),
        Route("/events/{number:int}/maps", archive.maps),
        Route("/events/{number:int}/explainers", archive.explainers),
        Route("/events/{number:int}/explainers", archive.explain, methods=["POST"]),
        Route("/events/{number:int}/{film}", archive.film),
    ]


class _Archive:
    """Each request opens the database anew: it may be made, moved or tidied meanwhile. Called in threads."""

    def __init__(self, folder: Path, again: Again):
        self._folder, self._again = folder, again

    def events(self, request: Request) -> Response:
        """Newest first; `camera`, `label`, `since`, `until` (ISO times) choose."""
        asked = request.query_params
        try:
            times = {name: datetime.fromisoformat(asked[name]) for name in ("since", "until") if asked.get(name)}
            for time in times.values():
                time.astimezone()
        except (ValueError, OverflowError) as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        try:
            with Store.reading(self._folder) as store:
                found = store.events(asked.get("camera") or None, asked.get("label") or None, most=MOST, **times)
        except NothingRecorded:
            found = []
        except UserError as error:
            return PlainTextResponse(f"{error}\n", status_code=500)
        return JSONResponse([_about(event) for event in found])

    def film(self, request: Request) -> Response:
        """One of the two MP4s, any part of it."""
        event, film = self._event(request), request.path_params["film"]
        if event is None or film not in (PLAIN, OVERLAY) or not (event.clip / film).is_file():
            return PlainTextResponse("no such clip\n", status_code=404)
        return FileResponse(event.clip / film, media_type="video/mp4")

    def maps(self, request: Request) -> Response:
        """Length of the header (4 bytes, little endian), header (JSON), heats of 56 x 56 bytes.

        `by`: an explainer that explained it later; without it, as it was recorded.
        """
        event = self._event(request)
        try:
            moments = [] if event is None else read(event.clip, request.query_params.get("by") or None)
        except UserError as error:
            return PlainTextResponse(f"{error}\n", status_code=404)
        header = msgspec.json.encode({
            "side": GRID,
            "moments": [
                {"at_ms": of.at / NS_PER_MS, "rect": of.rect, "seen": of.seen, "top": of.top, "target": of.target}
                for of in moments
            ],
        })  # fmt: skip
        heats = [of.heat().values.tobytes() for of in moments]
        return Response(
            b"".join((len(header).to_bytes(4, "little"), header, *heats)), media_type="application/octet-stream"
        )

    def explainers(self, request: Request) -> Response:
        """By whom this clip was explained since, and what is being done or was last."""
        event = self._event(request)
        if event is None:
            return PlainTextResponse("no such event\n", status_code=404)
        work = self._again.work
        return JSONResponse({"made": list(made_again(event.clip)), "work": work and msgspec.to_builtins(work)})

    def explain(self, request: Request) -> Response:
        """Explain it once more: `by` says how."""
        if request.scope[ROLE] != "steer":
            return PlainTextResponse("this token may watch, not steer\n", status_code=403)
        event, explainer = self._event(request), request.query_params.get("by", "")
        if event is None:
            return PlainTextResponse("no such event\n", status_code=404)
        try:
            parse(explainer)
        except UserError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        if not self._again.ask(event.id, explainer):
            return PlainTextResponse("another clip is being explained\n", status_code=409)
        return Response(status_code=202)

    def _event(self, request: Request) -> Event | None:
        try:
            with Store.reading(self._folder) as store:
                return store.event(request.path_params["number"])
        except UserError:
            return None


def _about(event: Event) -> dict[str, Any]:
    """As the page has it, which knows no folders."""
    return {name: value for name, value in event.plain().items() if name != "clip"}
