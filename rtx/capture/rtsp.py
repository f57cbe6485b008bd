"""A network camera through PyAV: real time-outs, life judged by the stream's own time stamps, true ages."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
import av.logging
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from rtx.capture.canvas import place
from rtx.capture.source import Canvas, SourceLost, Stamp
from rtx.clock import NS_PER_S, now
from rtx.config import Camera, resolve
from rtx.errors import unknown
from rtx.redact import redact

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp")
OPEN_S = 5.0
READ_S = 1.5
"""Twice this until a silent camera is lost: at the first time-out FFmpeg hands out what it had of a frame."""
FROZEN_S = 3.0

_LEAP = NS_PER_S
_WINDOW = 8 * NS_PER_S
"""The least delay is taken over so long. Streams that stall for longer are reopened before."""
_UNTIMED = {"mpjpeg", "mjpeg", "h264", "hevc"}
"""Formats without time stamps: FFmpeg numbers their frames at an assumed rate that says nothing of age."""

av.logging.set_level(None)  # FFmpeg's own messages hold the URL, and so the password


class StreamClock:
    """Maps a stream's time stamps to the monotonic clock.

    The offset between the two is the least `arrival - pts` of the last seconds: jitter and backlog count as age, and
    a camera whose clock is slow (many count frames at a nominal rate) does not seem to grow ever older.
    """

    def __init__(self) -> None:
        # Arrivals with their offsets, both rising: an earlier, larger offset can never be the least again.
        self._least: deque[tuple[int, int]] = deque()
        self._pts = 0

    def stamp(self, pts_s: float, arrival: int) -> Stamp:
        """Capture time of the frame with time stamp `pts_s` (s) that came at `arrival` (monotonic ns)."""
        pts = round(pts_s * NS_PER_S)
        offset = arrival - pts
        # No frame comes before it was taken: so far ahead of us, the camera's clock was set.
        jump = bool(self._least) and (pts < self._pts or offset < self._least[0][1] - _LEAP)
        if jump:
            self._least.clear()
        while self._least and self._least[-1][1] >= offset:
            self._least.pop()
        self._least.append((arrival, offset))
        while self._least[0][0] < arrival - _WINDOW:
            self._least.popleft()
        self._pts = pts
        return Stamp(pts + self._least[0][1], jump)


class Rtsp:
    """rtsp, rtsps, http(s) and udp streams. Every packet is decoded: the caller keeps the newest frame."""

    live = True

    def __init__(self, camera: Camera) -> None:
        self._url = resolve(camera.source)
        self._shown = redact(self._url)
        self._mirror = camera.mirror
        scheme = self._url.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise unknown("kind of stream", scheme, SCHEMES)
        self._container: InputContainer | None = None
        self._frames: Iterator[tuple[VideoFrame, float | None, int]] = iter(())
        self.decode_errors = 0
        """Packets that could not be decoded."""

    def open(self) -> None:
        """Raises SourceLost: a camera that is not there now, or refuses us, may be mended meanwhile."""
        self.close()
        try:
            self._container = av.open(
                self._url,
                timeout=(OPEN_S, READ_S),
                options={
                    "rtsp_transport": "tcp",
                    "allowed_media_types": "video",
                    # Else a second of frames is kept back to guess the rate from.
                    "fpsprobesize": "0",
                },
            )
            if not self._container.streams.video:
                raise SourceLost(f"{self._shown}: the stream holds no video")
        except av.FFmpegError as error:
            raise self._lost(error) from None
        except SourceLost:
            self.close()
            raise
        self._clock = StreamClock()
        self._frames = self._decoded(self._container)

    def read(self, canvas: Canvas) -> Stamp:
        """Wait for the next frame and draw it. SourceLost where the stream ends, freezes or falls silent."""
        try:
            frame, pts_s, arrival = next(self._frames)
        except StopIteration:
            self.close()
            raise SourceLost(f"{self._shown}: the stream ended") from None
        except av.FFmpegError as error:
            raise self._lost(error) from None
        except SourceLost:
            self.close()
            raise
        # One thread: swscale's own pool costs more than it gives beside busy neighbours.
        picture = np.asarray(frame.to_ndarray(format="bgr24", threads=1), np.uint8)
        place(picture, canvas, self._mirror)
        return Stamp(arrival) if pts_s is None else self._clock.stamp(pts_s, arrival)

    def close(self) -> None:
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
        self._container = None

    def _decoded(self, container: InputContainer) -> Iterator[tuple[VideoFrame, float | None, int]]:
        """Each new frame with its time stamp (s; None where it has none) and arrival (ns)."""
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # each further thread would hold back one frame
        stream.codec_context.flags |= Flags.low_delay
        timed = container.format.name not in _UNTIMED
        newest: float | None = None
        alive = now()
        # Every stream, not only the video: where sound goes on without pictures, that must be seen.
        for packet in container.demux():
            arrival = now()
            if packet.stream_index == stream.index:
                for frame in self._decode(packet):
                    pts_s = frame.time if timed and frame.pts is not None else None
                    # A frozen camera's relay may repeat its last frame, time stamp and all: that is no life.
                    if pts_s is None or pts_s != newest:
                        newest = pts_s
                        yield frame, pts_s, arrival
                        alive = arrival = now()
            if arrival - alive > FROZEN_S * NS_PER_S:
                raise SourceLost(f"{self._shown}: frozen: data comes, no new picture for {FROZEN_S:.0f} s")

    def _decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        try:
            return packet.decode()
        except av.FFmpegError:
            self.decode_errors += 1
            return []

    def _lost(self, error: av.FFmpegError) -> SourceLost:
        self.close()
        return SourceLost(f"{self._shown}: {redact(_reason(error, self._url))}")


def _reason(error: av.FFmpegError, url: str) -> str:
    """FFmpeg's error in words that say what to look at."""
    match error:
        case av.error.HTTPUnauthorizedError():
            return "wrong user or password (401)"
        case av.error.HTTPForbiddenError():
            return "access refused (403)"
        case av.error.HTTPNotFoundError():
            return "no such stream there (404)"
        case av.error.ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case av.error.ExitError() | av.error.TimeoutError():
            return "no answer in time"
        case av.error.InvalidDataError():  # also of one who takes the call and then says nothing
            return "no video stream came"
    if error.errno == errno.EIO and not _resolves(url):  # FFmpeg has no error of its own for this
        return "unknown host"
    return error.strerror or type(error).__name__


def _resolves(url: str) -> bool:
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except (OSError, ValueError):
        return False
    return True
