"""The shared frame ring: one writer that never waits, readers that find out when they were lapped."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker, shared_memory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtx.errors import UserError

_MAGIC = 0x52545852494E4731
_PAGE = 4096
_HEADER = np.dtype([("magic", "<u8"), ("id", "<u8"), ("slots", "<u8"), ("slot_bytes", "<u8")])

Memory = Literal["memfd", "named"]
DEFAULT_MEMORY: Memory = "memfd" if hasattr(os, "memfd_create") else "named"


class Torn(Exception):
    """The writer came round while the frame was being read, or had already replaced it."""


class RingGone(Exception):
    """The ring's memory cannot be reached (its writer is gone, or it belongs to another user)."""


def _slot_bytes(height: int, width: int) -> int:
    return -(-height * width * 3 // _PAGE) * _PAGE


class _Layout:
    """A page of header, then one page with a sequence number per slot, then the slots."""

    def __init__(self, buffer: memoryview | mmap.mmap, slots: int, slot_bytes: int):
        self.header = np.frombuffer(buffer, _HEADER, 1)
        self.versions = np.frombuffer(buffer, "<u8", slots, offset=_PAGE)
        self.pixels = np.frombuffer(buffer, np.uint8, slots * slot_bytes, offset=2 * _PAGE)
        self.slot_bytes = slot_bytes

    def picture(self, slot: int, height: int, width: int) -> NDArray[np.uint8]:
        start = slot * self.slot_bytes
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


class RingWriter:
    """Slots for frames of up to height x width; version 2n+1 while frame n is written, 2n+2 when it is whole."""

    def __init__(self, height: int, width: int, slots: int = 8, memory: Memory = DEFAULT_MEMORY):
        self.height, self.width, self.slots = height, width, slots
        self._id = secrets.randbits(63)
        size = 2 * _PAGE + slots * _slot_bytes(height, width)
        self._fd, self._segment = -1, None
        buffer: memoryview | mmap.mmap
        if memory == "memfd":
            self._fd = _sealed(size)
            buffer = mmap.mmap(self._fd, size)
            self.address = f"memfd:{os.getpid()}:{self._fd}:{self._id:x}"
        else:
            self._segment = _named(size)
            buffer = _buffer(self._segment)
            self.address = f"named:{self._segment.name}:0:{self._id:x}"
        self._layout = _Layout(buffer, slots, _slot_bytes(height, width))
        self._layout.versions[:] = 0
        self._layout.header[0] = (_MAGIC, self._id, slots, self._layout.slot_bytes)
        self._buffer = buffer

    def begin(self, seq: int) -> tuple[int, NDArray[np.uint8]]:
        """The slot for frame `seq` and its pixels to draw into: uint8 H W 3."""
        slot = seq % self.slots
        self._layout.versions[slot] = 2 * seq + 1
        return slot, self._layout.picture(slot, self.height, self.width)

    def end(self, seq: int) -> None:
        """Frame `seq` is whole."""
        self._layout.versions[seq % self.slots] = 2 * seq + 2

    def close(self) -> None:
        """Let go of the memory; readers keep what they have mapped."""
        del self._layout, self._buffer
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._segment is not None:
            self._segment.unlink()
            self._segment.close()
            self._segment = None


class RingReader:
    """The other end: reads frames of one ring, named by the address in its messages."""

    def __init__(self, address: str):
        self.address = address
        try:
            kind, place, fd, identity = address.split(":")
            self._segment = None
            if kind == "memfd":
                self._buffer: mmap.mmap | memoryview = _map_of_other(int(place), int(fd))
            elif kind == "named":
                self._segment = _attach(place)
                self._buffer = _buffer(self._segment)
            else:
                raise RingGone(f"unknown kind of ring {kind!r}")
            wanted = int(identity, 16)
        except ValueError:
            raise RingGone(f"no ring's address: {address!r}") from None
        size = len(self._buffer)
        header = np.frombuffer(self._buffer, _HEADER, 1)[0] if size >= 2 * _PAGE else None
        if header is None or header["magic"] != _MAGIC or header["id"] != wanted:
            raise RingGone("the memory at this address is another one by now")
        self.slots, slot_bytes = int(header["slots"]), int(header["slot_bytes"])
        if self.slots * 8 > _PAGE or 2 * _PAGE + self.slots * slot_bytes > size:
            raise RingGone("the ring's header says more than there is")
        self._layout = _Layout(self._buffer, self.slots, slot_bytes)
        self._layout.pixels.flags.writeable = False  # Named memory could be written to.

    def view(self, seq: int, slot: int, height: int, width: int) -> NDArray[np.uint8]:
        """The pixels where they lie, without a copy: use them, then `check`. Raises Torn."""
        if slot >= self.slots or height * width * 3 > self._layout.slot_bytes:
            raise RingGone("the message points outside the ring")
        self.check(seq, slot)
        return self._layout.picture(slot, height, width)

    def check(self, seq: int, slot: int) -> None:
        """Raises Torn where the slot no longer holds frame `seq`, whole.

        x86 keeps the order of stores, so the check before and after proves the frame whole. Elsewhere the order may
        differ by some nanoseconds, against a slot that is not written again for several frame periods.
        """
        if int(self._layout.versions[slot]) != 2 * seq + 2:
            raise Torn

    def close(self) -> None:
        del self._layout, self._buffer
        if self._segment is not None:
            self._segment.close()


def _sealed(size: int) -> int:
    """Anonymous memory that nobody can shrink or grow under its readers, and that dies with its last user."""
    fd = os.memfd_create("rtx-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _allocate(fd, size, "memory")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _allocate(fd: int, size: int, what: str) -> None:
    """Take all pages now: a full shared memory is then an error that can be printed instead of a bus error later."""
    with _enough(size, what):
        os.posix_fallocate(fd, 0, size)


@contextlib.contextmanager
def _enough(size: int, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM):
            raise
        raise UserError(
            f"shared {what} is too small for a ring of {size / 2**20:.0f} MB ({os.strerror(error.errno)}): "
            "make it larger (docker run --shm-size=512m; ulimit -f unlimited), or lower camera.width and camera.height"
        ) from None


class _Segment(shared_memory.SharedMemory):
    """A segment that can be closed while views of its pixels live: the mapping then goes with the last of them."""

    def close(self) -> None:
        try:
            super().close()
        except BufferError:
            self._buf = self._mmap = None
            super().close()


def _named(size: int) -> _Segment:
    _sweep()
    name = f"rtx-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(4)}"
    with _enough(size, "memory"):
        segment = _Segment(name, create=True, size=size)
    if hasattr(os, "posix_fallocate"):
        try:
            _allocate(segment._fd, size, "memory (/dev/shm)")  # type: ignore[attr-defined]
        except BaseException:
            segment.close()
            segment.unlink()
            raise
    return segment


def _attach(name: str) -> _Segment:
    try:
        segment = _Segment(name)
    except (OSError, ValueError) as error:
        raise RingGone(f"no segment {name!r}: {error}") from None
    # Python < 3.13 believes that whoever maps a segment owns it, and would unlink it under the living writer.
    if f"-{os.getpid()}-" not in name:
        resource_tracker.unregister(segment._name, "shared_memory")  # type: ignore[attr-defined]
    return segment


def _buffer(segment: _Segment) -> memoryview:
    assert segment.buf is not None
    return segment.buf


def _map_of_other(pid: int, fd: int) -> mmap.mmap:
    """Another process' memory, read-only."""
    try:
        own = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RingGone(f"process {pid} or its ring is gone: {error.strerror}") from None
    try:
        return mmap.mmap(own, os.fstat(own).st_size, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise RingGone(f"ring of process {pid}: {error}") from None
    finally:
        os.close(own)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot, so that a reused pid is told apart; 0 where unknown."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except OSError:
        return "0"


def _sweep() -> None:
    """Remove named segments whose process is gone (killed together with its tracker)."""
    if sys.platform != "linux":
        return
    for name in os.listdir("/dev/shm"):
        parts = name.split("-")
        if len(parts) == 4 and parts[0] == "rtx" and parts[1].isdigit() and _started(int(parts[1])) != parts[2]:
            try:
                os.unlink(f"/dev/shm/{name}")
            except (FileNotFoundError, PermissionError):
                continue
