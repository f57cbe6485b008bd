"""The frame ring: a writer that never waits, readers that find out, memory that nobody leaves behind."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtx.config import Link
from rtx.link.frames import Frame, FrameReader, FrameWriter
from rtx.link.ring import Memory, RingGone, RingReader, RingWriter, Torn
from rtx.link.sockets import Sockets
from tests.waiting import until

HEIGHT, WIDTH = 48, 80
SHM = Path("/dev/shm")

linux = pytest.mark.skipif(sys.platform != "linux", reason="sealed anonymous memory and /dev/shm are Linux's")
memories = pytest.mark.parametrize("memory", ["memfd", "named"])

WRITER = """
import sys, time
from rtx.link.ring import RingWriter
ring = RingWriter(48, 80, memory=sys.argv[1])
ring.begin(0)[1][:] = 7
ring.end(0)
print(ring.address, flush=True)
time.sleep(60)
"""


def write(ring: RingWriter, seq: int, value: int) -> int:
    slot, pixels = ring.begin(seq)
    pixels[:] = value
    ring.end(seq)
    return slot


def left_behind() -> list[str]:
    return [path.name for path in SHM.glob("rtx-*")]


@pytest.fixture(params=["memfd", "named"])
def ring(request: pytest.FixtureRequest) -> Iterator[RingWriter]:
    writer = RingWriter(HEIGHT, WIDTH, memory=request.param)
    yield writer
    writer.close()


@pytest.fixture
def writer_elsewhere(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process with a ring whose frame 0 is all 7; its address is in `stdout`."""
    command = [sys.executable, "-c", WRITER, request.param]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


elsewhere = pytest.mark.parametrize("writer_elsewhere", ["memfd", "named"], indirect=True)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_what_was_written_is_read(ring: RingWriter):
    reader = RingReader(ring.address)
    for seq in range(20):
        slot = write(ring, seq, seq)
        assert (reader.view(seq, slot, HEIGHT, WIDTH) == seq).all()
        reader.check(seq, slot)
    reader.close()


@elsewhere
def test_frames_cross_processes(writer_elsewhere: subprocess.Popen[str]):
    reader = RingReader(address_of(writer_elsewhere))
    assert (reader.view(0, 0, HEIGHT, WIDTH) == 7).all()
    reader.close()


def test_a_frame_that_is_being_written_is_torn(ring: RingWriter):
    reader = RingReader(ring.address)
    slot, _ = ring.begin(0)
    with pytest.raises(Torn):
        reader.view(0, slot, HEIGHT, WIDTH)
    ring.end(0)
    reader.view(0, slot, HEIGHT, WIDTH)
    reader.close()


def test_a_frame_that_was_replaced_is_torn(ring: RingWriter):
    reader = RingReader(ring.address)
    for seq in range(ring.slots + 1):
        write(ring, seq, seq)
    with pytest.raises(Torn):
        reader.view(0, 0, HEIGHT, WIDTH)
    reader.close()


def test_being_lapped_while_reading_is_noticed(ring: RingWriter):
    reader = RingReader(ring.address)
    slot = write(ring, 0, 1)
    reader.view(0, slot, HEIGHT, WIDTH)
    for seq in range(1, ring.slots):
        write(ring, seq, 1)
    reader.check(0, slot)  # All other slots may change.
    ring.begin(ring.slots)
    with pytest.raises(Torn):
        reader.check(0, slot)
    reader.close()


def test_a_frame_larger_than_its_slot_is_not_read(ring: RingWriter):
    reader = RingReader(ring.address)
    slot = write(ring, 0, 1)
    for wrong in ((slot, 4 * HEIGHT, WIDTH), (ring.slots, HEIGHT, WIDTH), (1024, HEIGHT, WIDTH)):
        with pytest.raises(RingGone):
            reader.view(0, *wrong)
    reader.close()


def test_a_reader_cannot_write(ring: RingWriter):
    reader = RingReader(ring.address)
    slot = write(ring, 0, 1)
    with pytest.raises(ValueError, match="read-only"):
        reader.view(0, slot, HEIGHT, WIDTH)[:] = 0
    reader.close()


@linux
def test_nobody_can_shrink_or_grow_it():
    ring = RingWriter(HEIGHT, WIDTH, memory="memfd")
    _, pid, fd, _ = ring.address.split(":")
    other = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR)
    seals = fcntl.fcntl(other, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK
    assert seals & fcntl.F_SEAL_GROW
    assert seals & fcntl.F_SEAL_SEAL
    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(other, size)
    os.close(other)
    ring.close()


@elsewhere
def test_a_reader_survives_the_writers_death(writer_elsewhere: subprocess.Popen[str]):
    address = address_of(writer_elsewhere)
    reader = RingReader(address)
    pixels = reader.view(0, 0, HEIGHT, WIDTH)
    writer_elsewhere.kill()
    writer_elsewhere.wait()
    assert (pixels == 7).all()
    reader.check(0, 0)
    del pixels
    reader.close()


@linux
@pytest.mark.parametrize("writer_elsewhere", ["memfd"], indirect=True)
def test_who_comes_after_the_writers_death_is_told(writer_elsewhere: subprocess.Popen[str]):
    address = address_of(writer_elsewhere)
    writer_elsewhere.kill()
    writer_elsewhere.wait()
    with pytest.raises(RingGone):
        RingReader(address)


@memories
def test_a_closed_ring_is_gone(memory: Memory):
    ring = RingWriter(HEIGHT, WIDTH, memory=memory)
    ring.close()
    with pytest.raises(RingGone):
        RingReader(ring.address)


@linux
def test_a_ring_is_not_taken_for_the_one_before_it():
    old = RingWriter(HEIGHT, WIDTH, memory="memfd")
    old.close()
    new = RingWriter(HEIGHT, WIDTH, memory="memfd")
    assert new.address.rpartition(":")[0] == old.address.rpartition(":")[0], "the same process and descriptor"
    with pytest.raises(RingGone):
        RingReader(old.address)
    new.close()


@pytest.mark.parametrize(
    "address",
    ["", "memfd", "memfd:x:y:z", "memfd:1:2", "disk:1:2:3", "named:rtx-nobody:0:1", "named:../etc:0:1", ":::"],
)
def test_nonsense_is_no_ring(address: str):
    with pytest.raises(RingGone):
        RingReader(address)


@linux
def test_another_file_of_the_writer_is_no_ring():
    with open("/dev/null") as null, pytest.raises(RingGone):
        RingReader(f"memfd:{os.getpid()}:{null.fileno()}:1")


@linux
@memories
def test_a_closed_ring_leaves_nothing(memory: Memory):
    before = left_behind()
    ring = RingWriter(HEIGHT, WIDTH, memory=memory)
    reader = RingReader(ring.address)
    reader.close()
    ring.close()
    assert left_behind() == before


@linux
@pytest.mark.parametrize("ring", ["named"], indirect=True)
def test_a_reader_that_ends_takes_nothing_with_it(ring: RingWriter):
    """Python before 3.13 unlinks a segment when any process that mapped it exits."""
    write(ring, 0, 9)
    code = f"from rtx.link.ring import RingReader; r = RingReader({ring.address!r}); print(r.view(0, 0, 48, 80)[0, 0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["[9", "9", "9]"]
    assert done.stderr == ""
    RingReader(ring.address).close()


@linux
@pytest.mark.parametrize("writer_elsewhere", ["named"], indirect=True)
def test_what_a_killed_writer_left_is_swept_by_the_next(writer_elsewhere: subprocess.Popen[str]):
    name = address_of(writer_elsewhere).split(":")[1]
    assert (SHM / name).exists()
    # The tracker that Python starts beside it would clean up; kill -9 of the whole group takes that one too.
    tracker = until(lambda: children_of(writer_elsewhere.pid), 5)
    for pid in (*tracker, writer_elsewhere.pid):
        os.kill(pid, 9)
    writer_elsewhere.wait()
    assert (SHM / name).exists()
    RingWriter(HEIGHT, WIDTH, memory="named").close()
    assert not (SHM / name).exists()


@linux
@pytest.mark.parametrize("writer_elsewhere", ["named"], indirect=True)
def test_a_living_writers_memory_is_not_swept(writer_elsewhere: subprocess.Popen[str]):
    name = address_of(writer_elsewhere).split(":")[1]
    RingWriter(HEIGHT, WIDTH, memory="named").close()
    assert (SHM / name).exists()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


TOO_SMALL = """
import resource, sys
from rtx.errors import UserError
from rtx.link.ring import RingWriter
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    ring = RingWriter(720, 1280, memory=sys.argv[1])
    ring.begin(0)[1][:] = 1
except UserError as error:
    print(error)
"""


@linux
@memories
def test_memory_that_is_too_small_is_one_clear_line(memory: Memory):
    said = subprocess.run(
        [sys.executable, "-c", TOO_SMALL, memory, "limit"], capture_output=True, text=True, timeout=30, check=False
    )
    assert said.returncode == 0
    assert "too small for a ring of 21 MB" in said.stdout
    assert "camera.width" in said.stdout


@linux
def test_a_docker_sized_dev_shm_is_one_clear_line_and_no_bus_error():
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", small], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not permitted here")
    script = f'{small} && "$0" -c "$1" named "" && ls /dev/shm'
    said = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, TOO_SMALL],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    assert "too small" in said.stdout
    assert "--shm-size" in said.stdout
    assert len(said.stdout.splitlines()) == 1, "something was left in /dev/shm"


class Pair:
    """A writer and a reader of frames, over ipc."""

    def __init__(self, sockets: Sockets, folder: Path, memory: Memory):
        link = Link(memory=memory)
        self.writer = FrameWriter(sockets, link, str(folder), 0, "hall")
        self.reader = FrameReader(sockets, link, str(folder), 0)
        self.publish(0)
        until(self._connected)

    def _connected(self) -> bool:
        self.writer.publish_again()
        return isinstance(self.reader.take(), Frame)

    def publish(self, value: int, height: int = HEIGHT, width: int = WIDTH) -> None:
        self.writer.canvas(height, width)[:] = value
        self.writer.publish(1, 1000 + value)

    def take(self) -> Frame:
        """The newest frame, as soon as one comes that is not a repetition."""
        taken = until(self._newer)
        assert isinstance(taken, Frame)
        return taken

    def _newer(self) -> Frame | None:
        taken = self.reader.take()
        return taken if isinstance(taken, Frame) and taken.seq == self.writer.seq else None


@pytest.fixture(params=["memfd", "named"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with Sockets() as sockets:
        pair = Pair(sockets, tmp_path, request.param)
        yield pair
        pair.reader.close()
        pair.writer.close()


def test_a_frame_arrives_as_it_was_drawn(pair: Pair):
    pair.publish(5)
    frame = pair.take()
    assert (frame.camera, frame.epoch, frame.seq, frame.t_capture) == ("hall", 1, 1, 1005)
    assert (frame.pixels == 5).all()
    assert pair.reader.whole(frame)


def test_another_resolution_is_another_ring(pair: Pair):
    pair.publish(1)
    before, shape = pair.reader._ring, pair.take().pixels.shape
    pair.publish(2, HEIGHT // 2, WIDTH * 2)
    frame = pair.take()
    assert shape == (HEIGHT, WIDTH, 3)
    assert frame.pixels.shape == (HEIGHT // 2, WIDTH * 2, 3)
    assert (frame.pixels == 2).all()
    assert pair.reader._ring is not before
    assert not any(pair.reader.drops.values())


def test_a_lapped_reader_counts_and_drops_the_frame(pair: Pair):
    pair.publish(1)
    frame = pair.take()
    for value in range(2, 10):
        pair.publish(value)
    assert not pair.reader.whole(frame)
    assert pair.reader.drops["lapped"] == 1
    newest = pair.take()
    assert pair.reader.whole(newest)
    assert (newest.pixels == 9).all()


def test_frames_that_nobody_took_are_counted_as_stale(pair: Pair):
    pair.publish(1)
    pair.take()
    for value in range(2, 42):
        pair.publish(value)
    taken: set[int] = set()
    until(lambda: isinstance(frame := pair.reader.take(), Frame) and (taken.add(frame.seq) or frame.seq == 41))
    assert pair.reader.drops["stale"] > 0
    assert pair.reader.drops["stale"] + pair.reader.drops["lapped"] + len(taken) == 40


def test_a_frame_whose_memory_is_gone_is_counted(pair: Pair):
    pair.publish(3)
    message, fresh = pair.writer._last, pair.reader.drops
    assert message is not None
    assert pair.reader._ring is not None
    pair.reader._ring.close()
    pair.reader._ring = pair.reader._last = None
    pair.writer.close()
    pair.writer._ring = None
    pair.writer.publish_again()
    until(lambda: pair.reader.take() is None and fresh["gone"])
    assert fresh["gone"] >= 1


def test_nothing_of_this_process_is_in_dev_shm_now():
    """Last in this file: whatever the tests above made is gone."""
    assert not [name for name in left_behind() if name.startswith(f"rtx-{os.getpid()}-")]
