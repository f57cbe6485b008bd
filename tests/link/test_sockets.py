"""The sockets: the newest message wins, tcp only among those that hold the keys, nothing that others can enter."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from rtx.config import Link
from rtx.errors import UserError
from rtx.link.frames import FrameWriter
from rtx.link.sockets import Keys, Sockets, check_endpoint, drain, endpoint, new_keys, private_folder, read_keys
from tests.waiting import until


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    new_keys(tmp_path / "keys.json")
    return read_keys(str(tmp_path / "keys.json"))


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(params=["ipc", "tcp"])
def ends(request: pytest.FixtureRequest, tmp_path: Path, keys: Keys, port: int) -> Iterator[tuple[Sockets, str]]:
    """Sockets and an address they may use."""
    address = f"ipc://{tmp_path}/x" if request.param == "ipc" else f"tcp://127.0.0.1:{port}"
    with Sockets(keys) as sockets:
        yield sockets, address


def received(reader: zmq.Socket[bytes], wait_ms: int = 0) -> bytes | None:
    return reader.recv() if reader.poll(wait_ms) else None


def connected(writer: zmq.Socket[bytes], reader: zmq.Socket[bytes]) -> bool:
    writer.send(b"hello", zmq.NOBLOCK)
    return received(reader, 20) is not None


def test_a_slow_reader_gets_the_newest_message_and_nothing_else(ends: tuple[Sockets, str]):
    sockets, address = ends
    writer, reader = sockets.publish(address), sockets.newest(address)
    until(lambda: connected(writer, reader))
    for number in range(1000):
        writer.send(str(number).encode(), zmq.NOBLOCK)
    # Neither end keeps more than one message, and the newest comes: said again, because one write may meet a read.
    seen: list[bytes] = []

    def newest_came() -> bool:
        writer.send(b"999", zmq.NOBLOCK)
        got = received(reader, 20)
        seen.extend([got] if got is not None else [])
        return got == b"999"

    until(newest_came)
    assert seen == sorted(seen, key=lambda text: (text != b"hello", int(text) if text.isdigit() else 0))
    assert len(seen) < 100


def test_a_reader_that_slept_gets_exactly_the_newest(tmp_path: Path):
    with Sockets() as writers, Sockets() as readers:
        writer, reader = writers.publish(f"ipc://{tmp_path}/x"), readers.newest(f"ipc://{tmp_path}/x")
        control, answer = writers.collect(f"ipc://{tmp_path}/done"), readers.send_to(f"ipc://{tmp_path}/done")
        until(lambda: connected(writer, reader))
        for number in range(1000):
            writer.send(str(number).encode(), zmq.NOBLOCK)
        # What was sent is on its way; once the reader's side has seen the end, one message waits, not a thousand.
        answer.send(b"")
        assert control.poll(2000)
        until(lambda: reader.poll(0))
        waiting = drain(reader)
        assert len(waiting) <= 2


def test_a_writer_without_a_reader_does_not_wait(tmp_path: Path):
    with Sockets() as sockets:
        writer = sockets.publish(f"ipc://{tmp_path}/x")
        for _ in range(10_000):
            writer.send(bytes(1000), zmq.NOBLOCK)


def test_a_reader_may_come_first(ends: tuple[Sockets, str]):
    sockets, address = ends
    reader = sockets.newest(address)
    writer = sockets.publish(address)
    until(lambda: connected(writer, reader))


def test_a_message_beyond_the_limit_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rtx.link.sockets.MAX_MESSAGE_BYTES", 1000)
    with Sockets() as sockets:
        writer, reader = sockets.publish(f"ipc://{tmp_path}/x"), sockets.newest(f"ipc://{tmp_path}/x")
        until(lambda: connected(writer, reader))
        drain(reader)
        writer.send(bytes(1001), zmq.NOBLOCK)
        assert received(reader, 200) is None


@pytest.mark.parametrize("kind", ["publish", "newest", "answer", "ask"])
def test_tcp_without_keys_is_refused(kind: str, port: int):
    with Sockets() as sockets, pytest.raises(UserError, match=r"tcp needs keys.*rtx keys new"):
        getattr(sockets, kind)(f"tcp://127.0.0.1:{port}")


def stranger(keys: Keys) -> Keys:
    """Knows the listener's public key, but holds a key of its own."""
    public, secret = zmq.curve_keypair()
    return msgspec.structs.replace(keys, client_public=public.decode(), client_secret=secret.decode())


def test_a_stranger_with_the_listeners_public_key_gets_nothing(keys: Keys, port: int):
    address = f"tcp://127.0.0.1:{port}"
    with Sockets(keys) as ours, Sockets(stranger(keys)) as theirs:
        writer, friend, other = ours.publish(address), ours.newest(address), theirs.newest(address)
        until(lambda: connected(writer, friend))
        for _ in range(20):
            until(lambda: connected(writer, friend))
        assert received(other, 100) is None


def test_a_reader_of_another_listeners_key_gets_nothing(keys: Keys, tmp_path: Path, port: int):
    new_keys(tmp_path / "other.json")
    others = read_keys(str(tmp_path / "other.json"))
    wrong = msgspec.structs.replace(keys, server_public=others.server_public)
    address = f"tcp://127.0.0.1:{port}"
    with Sockets(keys) as ours, Sockets(wrong) as theirs:
        writer, friend, other = ours.publish(address), ours.newest(address), theirs.newest(address)
        for _ in range(20):
            until(lambda: connected(writer, friend))
        assert received(other, 100) is None


def test_a_reader_without_curve_gets_nothing(keys: Keys, port: int):
    address = f"tcp://127.0.0.1:{port}"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    plain = context.socket(zmq.SUB)
    plain.linger = 0
    plain.subscribe(b"")
    plain.connect(address)
    with Sockets(keys) as ours:
        writer, friend = ours.publish(address), ours.newest(address)
        for _ in range(20):
            until(lambda: connected(writer, friend))
        assert received(plain, 100) is None
    context.destroy(0)


def test_a_port_that_is_taken_is_one_clear_line(keys: Keys):
    with socket.socket() as taken, Sockets(keys) as sockets:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot listen on tcp://127\.0\.0\.1:\d+: .*another rtx"):
            sockets.publish(f"tcp://127.0.0.1:{taken.getsockname()[1]}")


def test_a_key_file_is_for_its_user_only(tmp_path: Path):
    old = os.umask(0)
    try:
        new_keys(tmp_path / "keys.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_file_that_others_can_open_is_refused(tmp_path: Path, mode: int):
    new_keys(tmp_path / "keys.json")
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        read_keys(str(tmp_path / "keys.json"))


def test_a_key_file_is_never_replaced(tmp_path: Path):
    new_keys(tmp_path / "keys.json")
    before = (tmp_path / "keys.json").read_bytes()
    with pytest.raises(UserError, match=r"keys\.json"):
        new_keys(tmp_path / "keys.json")
    assert (tmp_path / "keys.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"server_public": 3}', b"[]"])
def test_what_is_no_key_file_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match=r"keys\.json.*is no key file.*rtx keys new"):
        read_keys(str(path))


def test_a_key_that_is_too_short_is_no_key(tmp_path: Path, keys: Keys):
    path = tmp_path / "short.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(keys, client_secret=keys.client_secret[:35])))
    path.chmod(0o600)
    with pytest.raises(UserError, match="is no key file"):
        read_keys(str(path))


def test_a_missing_key_file_says_how_to_make_one():
    with pytest.raises(UserError, match=r"nowhere\.json.*rtx keys new"):
        read_keys("nowhere.json")


def test_keys_do_not_show_their_secrets(keys: Keys):
    assert keys.server_secret not in repr(keys)
    assert keys.client_secret not in f"{keys}"


def test_the_socket_folder_is_private_and_does_not_stay():
    with private_folder() as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        (Path(folder) / "frames-0").touch()
    assert not Path(folder).exists()


@pytest.mark.parametrize("runtime", [None, "x" * 90, "nowhere"])
def test_a_socket_file_fits_into_its_address_wherever_the_folder_is(
    runtime: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / runtime))
    if runtime and len(runtime) > 50:
        (tmp_path / runtime).mkdir()
    with private_folder() as folder:
        assert len(endpoint("ipc", folder, "frames-clock", 999).removeprefix("ipc://")) < 107


def test_each_camera_has_its_own_endpoint():
    kinds = ("frames", "frames-clock", "maps", "maps-clock", "shown")
    names = {endpoint("ipc", "/run/x", kind, index) for kind in kinds for index in range(4)}
    assert len(names) == 20
    assert endpoint("ipc", "/run/x", "frames", 2) == "ipc:///run/x/frames-2"


def test_each_camera_has_two_ports():
    base = "tcp://10.0.0.1:5000"
    assert [endpoint(base, "", "frames", i) for i in range(3)] == [f"tcp://10.0.0.1:{p}" for p in (5000, 5002, 5004)]
    assert endpoint(base, "", "frames-clock", 1) == "tcp://10.0.0.1:5003"
    assert endpoint("tcp://[::1]:5000", "", "maps-clock", 0) == "tcp://[::1]:5001"


@pytest.mark.parametrize(
    "base", ["", "tcp", "tcp://", "tcp://:5000", "tcp://host", "tcp://host:x", "tcp://host:0", "udp://h:1", "h:5000"]
)
def test_an_endpoint_that_is_none_is_named(base: str):
    with pytest.raises(UserError, match=r"link\.frames = .*expected 'ipc' or 'tcp://HOST:PORT'"):
        check_endpoint("link.frames", base, "keys.json")


def test_a_tcp_endpoint_without_keys_is_refused():
    with pytest.raises(UserError, match=r"link\.keys"):
        check_endpoint("link.frames", "tcp://10.0.0.1:5000", None)
    check_endpoint("link.frames", "tcp://10.0.0.1:5000", "keys.json")
    check_endpoint("link.frames", "ipc", None)


def test_a_frame_too_large_for_a_message_is_one_clear_line(
    keys: Keys, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rtx.link.frames.MAX_MESSAGE_BYTES", 1000)
    with Sockets(keys) as sockets:
        writer = FrameWriter(sockets, Link(frames=f"tcp://127.0.0.1:{port}"), str(tmp_path), 0, "hall")
        writer.canvas(480, 640)[:] = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
        with pytest.raises(UserError, match=r"camera 'hall': a frame of 640 x 480 .*link\.jpeg_quality"):
            writer.publish(1, 0)
