"""Other systems hear of an event that is over: JSON, signed, tried again while nobody takes it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path

import msgspec

from rtx.config import Events, resolve
from rtx.events.store import Event
from rtx.redact import redact

WAITS_S = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Before each further try."""
PATIENCE_S = 10.0
MOST = 1000
"""Events that wait; the oldest make room."""
SIGNATURE = "X-Rtx-Signature"


def sign(secret: str, body: bytes) -> str:
    """As it stands in the header: `sha256=` and the HMAC of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Webhook:
    """Told of events; a thread of its own sends, one after the other."""

    def __init__(self, settings: Events, folder: Path):
        self._url = resolve(settings.webhook) if settings.webhook else None
        self._secret = resolve(settings.webhook_secret) if settings.webhook_secret else None
        self._folder = folder
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=MOST)
        self.taken: deque[int] = deque(maxlen=MOST)
        """Numbers of events that were taken, for whoever keeps count."""
        self._wake, self._end = threading.Event(), threading.Event()
        self._opener = urllib.request.build_opener(_NoRedirect())
        self.failed = 0
        """Events that nobody took, however often it was tried."""
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        if self._url is not None:
            self._thread.start()

    @property
    def on(self) -> bool:
        """There is somebody to be told."""
        return self._url is not None

    def tell(self, event: Event) -> None:
        """It waits its turn; where too many do, the oldest makes room."""
        if self._url is None:
            return
        about = event.plain() | {"clip": str(event.clip.relative_to(self._folder))}
        if len(self._waiting) == MOST:
            self.failed += 1
        self._waiting.append((event.id, msgspec.json.encode({"type": "event", **about})))
        self._wake.set()

    def close(self) -> None:
        """What waits is tried once more, for a moment."""
        self._end.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    def _run(self) -> None:
        while True:
            if not self._waiting:
                if self._end.is_set():
                    return
                self._wake.wait()
                self._wake.clear()
                continue
            number, body = self._waiting.popleft()
            if self._deliver(body):
                self.taken.append(number)
            else:
                self.failed += 1

    def _deliver(self, body: bytes) -> bool:
        for wait in (*WAITS_S, None):
            why = self._post(body)
            if why is None:
                return True
            if wait is None or self._end.is_set():
                print(f"webhook {redact(self._url)}: not taken: {redact(why)}", file=sys.stderr, flush=True)
                return False
            self._end.wait(wait)
        return False

    def _post(self, body: bytes) -> str | None:
        """Why it was not taken; None where it was."""
        assert self._url is not None
        headers = {"Content-Type": "application/json", "User-Agent": "rtx"}
        if self._secret is not None:
            headers[SIGNATURE] = sign(self._secret, body)
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError.
            return str(error)
