"""ZeroMQ sockets: newest-wins between one publisher and one reader of one camera, CURVE wherever it is tcp."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from socket import has_ipv6
from types import TracebackType
from typing import Any, Literal

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from rtx import private
from rtx.errors import UserError
from rtx.link.wire import MAX_MESSAGE_BYTES

Kind = Literal["frames", "frames-clock", "maps", "maps-clock", "shown", "choice", "hold"]


class Keys(msgspec.Struct, frozen=True):
    """CURVE key pairs (Z85) of the side that listens and the side that connects."""

    server_public: str
    server_secret: str
    client_public: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Keys(server_public={self.server_public!r}, secrets hidden)"


def new_keys(path: Path) -> None:
    """Make a key file that only the user can read. Never replaces one."""
    pairs = (*zmq.curve_keypair(), *zmq.curve_keypair())
    private.write_new(path, msgspec.json.encode(Keys(*(key.decode() for key in pairs))))


def read_keys(path: str) -> Keys:
    content = private.read("link.keys", path, "rtx keys new FILE")
    try:
        keys = msgspec.json.decode(content, type=Keys)
        for key in (keys.server_public, keys.server_secret, keys.client_public, keys.client_secret):
            if len(z85.decode(key)) != 32:
                raise ValueError("a key is not 32 bytes")
    except (ValueError, msgspec.DecodeError):
        raise UserError(f"link.keys = {path!r} is no key file; make one with `rtx keys new FILE`") from None
    return keys


def endpoint(base: str, folder: str, kind: Kind, index: int) -> str:
    """Where camera number `index` is spoken of: a socket file, or a port counted from `base` (tcp://HOST:PORT).

    What is spoken of all cameras has the ports after theirs.
    """
    if base == "ipc":
        return f"ipc://{folder}/{kind}" if kind in ("choice", "hold") else f"ipc://{folder}/{kind}-{index}"
    head, _, port = base.rpartition(":")
    return f"{head}:{int(port) + 2 * index + kind.endswith('clock')}"


def check_endpoint(key: str, base: str, keys: str | None) -> None:
    """Raises UserError where `base` is neither `ipc` nor `tcp://HOST:PORT` with keys."""
    if base == "ipc":
        return
    head, _, port = base.rpartition(":")
    if not head.startswith("tcp://") or len(head) <= len("tcp://") or not port.isdigit() or not 0 < int(port) < 65000:
        raise UserError(f"{key} = {base!r}: expected 'ipc' or 'tcp://HOST:PORT'")
    if keys is None:
        raise UserError(f"{key} = {base!r}: tcp needs keys; run `rtx keys new FILE` and set link.keys on every host")


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A folder for socket files that only the user can enter; removed at the end."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if not base or not os.access(base, os.W_OK) or len(base) > 50:
        base = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="rtx-", dir=base if len(base) <= 60 else "/tmp") as folder:
        yield folder


class Sockets:
    """The sockets of one process. `with Sockets(keys) as sockets:` closes them all."""

    def __init__(self, keys: Keys | None = None):
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.linger = 0
        self._keys = keys
        self._authenticator: ThreadAuthenticator | None = None
        self._open: list[zmq.Socket[bytes]] = []

    def publish(self, address: str) -> zmq.Socket[bytes]:
        """Send to whoever listens; what a reader has not taken yet is replaced.

        libzmq's slot of one message gives up a write that meets a read, so that a single message may be lost: what
        must arrive is told again until it was answered, or is followed by the next.
        """
        return self._bind(zmq.PUB, address, conflate=True)

    def newest(self, address: str) -> zmq.Socket[bytes]:
        """Receive the newest message of one publisher, never an older one."""
        socket = self._connect(zmq.SUB, address, conflate=True)
        socket.subscribe(b"")
        return socket

    def collect(self, address: str) -> zmq.Socket[bytes]:
        """Receive from many senders; at most 1,000 messages wait."""
        return self._bind(zmq.PULL, address)

    def send_to(self, address: str) -> zmq.Socket[bytes]:
        """Send to a collector; what it does not take in time is dropped by the sender."""
        return self._connect(zmq.PUSH, address)

    def answer(self, address: str) -> zmq.Socket[bytes]:
        return self._bind(zmq.ROUTER, address)

    def ask(self, address: str) -> zmq.Socket[bytes]:
        return self._connect(zmq.DEALER, address)

    def _bind(self, kind: int, address: str, conflate: bool = False) -> zmq.Socket[bytes]:
        socket = self._new(kind, conflate)
        if address.startswith("tcp://"):
            keys = self._need_keys(address)
            self._admit_only(keys.client_public)
            socket.curve_server = True
            socket.curve_secretkey, socket.curve_publickey = (
                keys.server_secret.encode(),
                keys.server_public.encode(),
            )
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise UserError(f"cannot listen on {address}: {error.strerror}; is another rtx running there?") from None
        return socket

    def _connect(self, kind: int, address: str, conflate: bool = False) -> zmq.Socket[bytes]:
        socket = self._new(kind, conflate)
        if address.startswith("tcp://"):
            keys = self._need_keys(address)
            socket.curve_serverkey = keys.server_public.encode()
            socket.curve_secretkey, socket.curve_publickey = (
                keys.client_secret.encode(),
                keys.client_public.encode(),
            )
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            raise UserError(f"cannot connect to {address}: {error.strerror}") from None
        return socket

    def _new(self, kind: int, conflate: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        self._open.append(socket)
        if conflate:
            socket.conflate = 1  # Only counts if set before bind or connect.
        else:
            socket.rcvhwm = 1000
            socket.sndhwm = 100
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        # A dead peer behind tcp is noticed; a live one is found again quickly.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
        socket.reconnect_ivl = 50
        socket.reconnect_ivl_max = 1000
        socket.ipv6 = has_ipv6
        return socket

    def _need_keys(self, address: str) -> Keys:
        if self._keys is None:
            raise UserError(f"{address}: tcp needs keys; run `rtx keys new FILE` and set link.keys")
        return self._keys

    def _admit_only(self, client_public: str) -> None:
        """Knowing the listener's public key is not enough: the client must hold the one key that is admitted."""
        if self._authenticator is None:
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            self._authenticator.configure_curve_callback("*", _OneClient(client_public.encode()))

    def close(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
        for socket in self._open:
            socket.close(0)
        self._context.destroy(0)

    def __enter__(self) -> Sockets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _OneClient:
    def __init__(self, admitted: bytes):
        self._admitted = admitted

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._admitted


def drain(socket: zmq.Socket[Any]) -> list[bytes]:
    """All messages that wait, oldest first; at most what the socket's limit lets wait."""
    messages: list[bytes] = []
    while len(messages) < 1000:
        try:
            messages.append(socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            break
    return messages
