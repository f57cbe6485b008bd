"""Other systems hear of events: signed, tried again, and never waited for."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rtx.config import Camera, Events, Pipeline
from rtx.errors import UserError
from rtx.events import webhook as webhook_module
from rtx.events.recording import Recorder
from rtx.events.store import Event
from rtx.events.webhook import SIGNATURE, Webhook, sign
from rtx.preflight import check_events
from rtx.show.view import Look
from tests.events.test_recorder import Film, settings
from tests.waiting import until

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def an_event(folder: Path, number: int = 1) -> Event:
    return Event(
        id=number, camera="hall", label="kick", start=START, end=START + timedelta(seconds=2), peak=0.9, state="whole",
        model="figures", explainer="cam", motion_share=0.5, heat=None, clip=folder / "clips" / "x", size=7,
    )  # fmt: skip


class Receiver:
    """A server of the test's own: what it was sent, and what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                code = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook_module, "WAITS_S", (0.01, 0.02))
    made = Receiver()
    yield made
    made.server.shutdown()


def test_an_event_is_told_and_signed(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    hook = Webhook(Events(webhook=receiver.url, webhook_secret="env:HOOK_SECRET"), tmp_path)
    hook.tell(an_event(tmp_path))
    until(lambda: receiver.got)
    headers, body = receiver.got[0]
    said = json.loads(body)
    assert (said["type"], said["camera"], said["label"], said["seconds"]) == ("event", "hall", "kick", 2.0)
    assert said["start"] == "2026-11-22T12:00:00+00:00"
    assert said["clip"] == "clips/x", "no path of this machine"
    assert headers[SIGNATURE] == sign("s3cret", body)
    hook.close()


def test_what_is_not_taken_is_tried_again(receiver: Receiver, tmp_path: Path):
    receiver.answers = [500, 302]
    hook = Webhook(Events(webhook=receiver.url), tmp_path)
    hook.tell(an_event(tmp_path))
    until(lambda: len(receiver.got) == 3)
    assert len({body for _, body in receiver.got}) == 1
    hook.close()
    assert hook.failed == 0


def test_in_the_end_it_is_given_up_and_counted_and_the_next_is_told(
    receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOOK", receiver.url.replace("http://", "http://user:pw@"))
    receiver.answers = [500, 500, 500]
    hook = Webhook(Events(webhook="env:HOOK"), tmp_path)
    hook.tell(an_event(tmp_path, 1))
    hook.tell(an_event(tmp_path, 2))
    until(lambda: hook.failed >= 1)
    hook.close()
    said = capfd.readouterr().err
    assert "not taken" in said
    assert "pw" not in said


def test_what_speaks_no_http_is_not_taken_and_the_next_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webhook_module, "WAITS_S", ())
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-hello\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        hook = Webhook(Events(webhook=f"http://127.0.0.1:{server.getsockname()[1]}/"), tmp_path)
        for number in (1, 2):
            hook.tell(an_event(tmp_path, number))
        until(lambda: hook.failed == 2)
        hook.close()


def test_what_nobody_took_is_told_after_a_restart(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    """And what was taken is not told twice."""
    monkeypatch.setattr(webhook_module, "WAITS_S", ())
    receiver.answers = [500, 200]
    hooked = settings(tmp_path, webhook=receiver.url)
    with Recorder(hooked, Look()) as recorder:
        recorder.follow(["hall"])
        film = Film(recorder)
        for seconds, p in ((3, 0.1), (2, 0.95), (6, 0.1), (2, 0.95), (6, 0.1)):
            film.roll(seconds, p)
        until(lambda: len(receiver.got) == 2)
    with Recorder(hooked, Look()):
        until(lambda: len(receiver.got) == 3)
    with Recorder(hooked, Look()):
        pass
    assert [json.loads(body)["id"] for _, body in receiver.got] == [1, 2, 1]


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (Events(webhook="ftp://x"), r"events\.webhook = .*http"),
        (Events(webhook="http://x/", webhook_secret="plain"), r"webhook_secret.*env:NAME"),
        (Events(threshold=0.3, release=0.5), r"events\.release = 0\.5 is above events\.threshold"),
    ],
)
def test_mistakes_are_told_before_anything_starts(events: Events, says: str):
    with pytest.raises(UserError, match=says):
        check_events(Pipeline(camera=(Camera(source="scene:hall"),), events=events))
