"""The page as a sink of the display: the newest view of each camera, for the viewers that ask."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path

import msgspec
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from rtx.config import Page
from rtx.explain.registry import DECLARED
from rtx.roster import CameraWish
from rtx.show.asks import Asks
from rtx.show.holding import HoldWish, to_browser
from rtx.show.page.address import certified, listen, url
from rtx.show.page.again import Again
from rtx.show.page.archive import routes as archived
from rtx.show.page.guard import ROLE, Guard
from rtx.show.page.metrics import exposition, lacking
from rtx.show.page.shot import Hello, Picture, Shot
from rtx.show.steering import Wish
from rtx.show.view import Look, View

MAX_VIEWERS = 64
WINDOW = 2
"""Answers that may be on their way to one viewer."""
MAX_REQUEST_BYTES = 4096
NICENESS = 10
"""Of the page's thread: sending pictures to many waits for the worker, not the worker for it."""
_STATIC = Path(__file__).with_name("static")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class _Viewer:
    """One open page: how many answers it may still be sent, and what it has of each camera."""

    def __init__(self) -> None:
        self.credit = 0
        self.seen: dict[str, int] = {}
        self.told: dict[type, object] = {}
        """What it was told last, of each kind."""
        self.held: bytes | None = None
        """A clip that it asked for, and has not been sent yet."""
        self.wake = asyncio.Event()


class _Line(WebSocketsSansIOProtocol):
    """A viewer's connection. Uvicorn 0.54 fails to end, with all its lines, where one of them is closing already."""

    def shutdown(self) -> None:
        if self.handshake_complete and self.conn.state is not State.OPEN:
            self.transport.abort()
        else:
            super().shutdown()


class PageSink:
    """Serves the page from a thread of its own. `show`, `status` and `close` belong to the display's thread.

    Viewers pull: each asks with `next` when it has drawn, and is then sent of every camera the newest view, where
    it has not seen it. Nothing is queued for a viewer, so that a slow one gets fewer views, never older ones.
    What a viewer wants to be explained (`Wish`, as JSON) goes to the steering; all viewers are told what is explained.
    """

    overlay_ms = 0.0

    def __init__(
        self, config: Page, cameras: list[str], look: Look, budget_ms: float, asks: Asks, events: Path
    ) -> None:
        """`events`: the folder of what was recorded."""
        self._listener = listen(config)
        self.address = url(config, self._listener.getsockname()[1])
        self._cameras = cameras
        self._asks, self._events, self._again = asks, events, Again(events)
        self._says = Hello(
            cameras=cameras, explainers=[of.plain for of in DECLARED.values()], labels=asks.steering.labels,
            opacity=look.opacity, display=look.display, colours=look.colours,
            budget_ms=budget_ms,
        )  # fmt: skip
        self._newest: dict[str, Shot] = {}
        self._pictures: dict[str, Picture] = {}
        self._numbers = count(1)
        self._viewers: tuple[_Viewer, ...] = ()
        self._frames = self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(self._app(), config),
                ssl_certfile=config.certificate if certified(config) else None,
                ssl_keyfile=config.key,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                ws=_Line,
                ws_max_size=MAX_REQUEST_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="page", daemon=True)

    def start(self) -> None:
        for told in (self._asks.steering, self._asks.seating):
            told.listeners.append(self._tell)
        self._thread.start()

    def show(self, view: View) -> None:
        """Offer a view to the viewers; costs next to nothing while none of them waits."""
        if self._loop is None or not any(viewer.credit for viewer in self._viewers):
            # Kept, it would be sent to the next viewer who asks, however old it is then.
            self._newest.pop(view.camera, None)
            return
        picture = self._pictures.get(view.camera)
        if picture is None or picture.frame != (view.epoch, view.seq):
            picture = self._pictures[view.camera] = Picture(view)
        self._newest[view.camera] = Shot(next(self._numbers), view, picture)
        self._loop.call_soon_threadsafe(self._wake)

    def refresh(self, view: View) -> None:
        """The last frame with new states and ages: sent like a new one, its JPEG made already."""
        self.show(view)

    def follow(self, cameras: list[str]) -> None:
        """Viewers hear of it by what they are told of the cameras."""
        self._cameras, self._says = cameras, msgspec.structs.replace(self._says, cameras=cameras)
        for gone in self._newest.keys() - set(cameras):
            self._newest.pop(gone, None)
            self._pictures.pop(gone, None)

    def quit(self) -> bool:
        """A page cannot end the run."""
        return False

    def status(self) -> dict[str, int]:
        """Viewers now; frames and bytes sent to all of them so far."""
        return {"viewers": len(self._viewers), "frames": self._frames, "bytes": self._bytes}

    def close(self) -> None:
        """End the thread and close all connections."""
        self._server.should_exit = True
        self._again.close()
        if self._thread.ident is not None:
            self._thread.join(2)
        self._listener.close()

    async def _run(self) -> None:
        if sys.platform == "linux":  # Elsewhere it would be the whole display's.
            niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._listener])

    def _app(self) -> Starlette:
        routes = [
            Route("/" if path.name == "index.html" else f"/{path.name}", _file(path))
            for path in sorted(_STATIC.iterdir())
        ]
        told = [
            Route("/metrics", self._metrics), Route("/healthz", self._healthz), Route("/readyz", self._readyz),
            WebSocketRoute("/ws", self._view),
        ]  # fmt: skip
        return Starlette(routes=[*routes, *told, *archived(self._events, self._again)])

    async def _metrics(self, request: Request) -> Response:
        health = self._asks.health.newest
        if health is None:
            return PlainTextResponse(f"{lacking(None)}\n", status_code=503)
        return Response(exposition(health, self.status()), media_type=CONTENT_TYPE_LATEST)

    async def _healthz(self, request: Request) -> Response:
        heard = self._asks.health.newest is not None
        return PlainTextResponse("ok\n" if heard else f"{lacking(None)}\n", status_code=200 if heard else 503)

    async def _readyz(self, request: Request) -> Response:
        why = lacking(self._asks.health.newest)
        # Names and states of cameras are for those who have a token.
        said = why if request.scope[ROLE] is not None else "not ready"
        return PlainTextResponse(f"{said if why else 'ok'}\n", status_code=503 if why else 200)

    def _deliver(self, viewer: _Viewer, held: bytes) -> None:
        viewer.held = held
        self._tell()

    def _tell(self) -> None:
        """Something other than a view has changed: nobody should wait for the next view to hear of it."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for viewer in self._viewers:
            viewer.wake.set()

    async def _view(self, socket: WebSocket) -> None:
        """One viewer, from its coming to its going."""
        await socket.accept()
        if len(self._viewers) >= MAX_VIEWERS:
            await socket.close(1013, f"{MAX_VIEWERS} viewers are connected already")
            return
        viewer = _Viewer()
        self._viewers = (*self._viewers, viewer)
        tasks = [
            asyncio.create_task(self._answer(socket, viewer)),
            asyncio.create_task(self._listen(socket, viewer)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers = tuple(other for other in self._viewers if other is not viewer)
            for task in tasks:
                task.cancel()
        for task in done:
            if (refusal := task.result()) is not None:
                await socket.close(1008, refusal)

    async def _answer(self, socket: WebSocket, viewer: _Viewer) -> None:
        try:
            says = msgspec.structs.replace(self._says, may_steer=_may_steer(socket))
            await socket.send_text(msgspec.json.encode(says).decode())
            while True:
                for state in (self._asks.steering.state, self._asks.seating.state):
                    if state is not None and state != viewer.told.get(type(state)):
                        viewer.told[type(state)] = state
                        await socket.send_text(msgspec.json.encode(state).decode())
                if viewer.held is not None:
                    held, viewer.held = viewer.held, None
                    await socket.send_bytes(held)
                news = self._news(viewer) if viewer.credit else []
                if not news:
                    await viewer.wake.wait()
                    viewer.wake.clear()
                    continue
                viewer.credit -= 1
                for shot in news:
                    viewer.seen[shot.view.camera] = shot.number
                    message = shot.message(last=shot is news[-1])
                    await socket.send_bytes(message)
                    self._frames += 1
                    self._bytes += len(message)
        except WebSocketDisconnect:
            return  # gone while it was being answered

    def _news(self, viewer: _Viewer) -> list[Shot]:
        shots = [self._newest.get(camera) for camera in self._cameras]
        return [shot for shot in shots if shot and shot.number > viewer.seen.get(shot.view.camera, 0)]

    async def _listen(self, socket: WebSocket, viewer: _Viewer) -> str | None:
        """Take a viewer's requests until it goes; a reason where it is to be sent away."""
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            if text == "next":
                viewer.credit = min(viewer.credit + 1, WINDOW)
                if self._news(viewer):
                    viewer.wake.set()
                continue
            try:
                wish = msgspec.json.decode(text or "", type=Wish | HoldWish | CameraWish)
                steers = _may_steer(socket)
                if not isinstance(wish, HoldWish):
                    if not steers:
                        return "this token is only for watching"
                    if isinstance(wish, Wish):
                        self._asks.steering.ask(wish)
                    else:
                        self._asks.seating.ask(wish)
                elif wish.tree is not None and not steers:
                    viewer.held = to_browser(
                        wish.camera, "a pyramid takes a pass of its own; your token is for watching"
                    )
                    viewer.wake.set()
                else:
                    self._asks.holding.ask(viewer, wish, partial(self._deliver, viewer))
            except msgspec.ValidationError as error:
                if not _may_steer(socket):
                    return "unknown request"
                self._asks.steering.ask(f"this is nothing that could be explained: {error}")
            except msgspec.DecodeError:
                return "unknown request"
        return None


def _may_steer(socket: WebSocket) -> bool:
    return bool(socket.scope[ROLE] == "steer")


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content, kind = path.read_bytes(), _TYPES[path.suffix]

    async def send(request: Request) -> Response:
        return Response(content, media_type=kind)

    return send
