"""Rtsp against a real server, whose capture clock is read off the pixels, and against scripted streams."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from rtx.capture import rtsp
from rtx.capture.clockbars import read_clock
from rtx.capture.rtsp import Rtsp
from rtx.capture.source import SourceLost, Stamp
from rtx.clock import NS_PER_S, ms, now
from rtx.config import Camera
from rtx.errors import UserError
from tests.capture.conftest import Paper
from tests.rtsp import RtspServer, why_not


def _opened(url: str) -> Rtsp:
    source = Rtsp(Camera(source=url))
    source.open()
    return source


def _read_until(source: Rtsp, paper: Paper, good: Callable[[Stamp], bool], limit_s: float = 10) -> Stamp:
    """Read on until a frame is `good`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if good(stamp := source.read(paper)):
            return stamp
    raise AssertionError(f"no such frame within {limit_s} s")


def _age_ms(paper: Paper) -> float:
    t = read_clock(paper.picture)
    assert t is not None, "the frame's clock cannot be read"
    return ms(now() - t)


def _lost_after(source: Rtsp, paper: Paper) -> tuple[str, float]:
    began = time.monotonic()
    while time.monotonic() - began < 20:
        try:
            source.read(paper)
        except SourceLost as lost:
            return str(lost), time.monotonic() - began
    raise AssertionError("frames went on for 20 s")


def test_age_read_off_the_pixels(rtsp_server: RtspServer, paper: Paper) -> None:
    source = _opened(rtsp_server.url)
    _read_until(source, paper, lambda _: _age_ms(paper) < 150)  # what piled up while opening is drained
    ages, errors = [], []
    for _ in range(50):
        stamp = source.read(paper)
        truth = read_clock(paper.picture)
        assert truth is not None
        ages.append(ms(now() - truth))
        errors.append(abs(ms(stamp.t_capture - truth)))
        assert not stamp.jump
    assert paper.picture.shape == (360, 640, 3)
    assert np.median(ages) < 150
    assert np.median(errors) < 150
    assert source.decode_errors == 0
    source.close()
    source.close()


def test_no_jump_at_the_start(rtsp_server: RtspServer, paper: Paper) -> None:
    source = _opened(rtsp_server.url)
    stamps = [source.read(paper) for _ in range(10)]
    source.close()
    assert not any(stamp.jump for stamp in stamps)
    times = [stamp.t_capture for stamp in stamps]
    assert times == sorted(times)


def test_killed_then_restarted(rtsp_server: RtspServer, paper: Paper) -> None:
    source = _opened(rtsp_server.url)
    source.read(paper)
    rtsp_server.stop()
    _, took = _lost_after(source, paper)
    assert took < 5
    with pytest.raises(SourceLost, match="nothing listens there"):
        source.open()
    rtsp_server.start()
    source.open()
    _read_until(source, paper, lambda _: _age_ms(paper) < 150)
    source.close()


def test_frozen_then_thawed(rtsp_server: RtspServer, paper: Paper) -> None:
    source = _opened(rtsp_server.url)
    source.read(paper)
    rtsp_server.freeze()
    text, took = _lost_after(source, paper)
    assert took < 5
    assert "no answer in time" in text
    rtsp_server.thaw()
    source.open()
    _read_until(source, paper, lambda _: _age_ms(paper) < 150)
    source.close()


@pytest.mark.skipif(why_not() is not None, reason="no RTSP server")
def test_passwords(
    paper: Paper,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RtspServer(auth="viewer:s3cret") as server:
        monkeypatch.setenv("HALL", server.url_as("viewer:s3cret"))
        source = _opened("env:HALL")
        source.read(paper)
        server.stop()
        text, _ = _lost_after(source, paper)
        assert "s3cret" not in text
        server.start()
        with pytest.raises(SourceLost, match="wrong user or password") as lost:
            _opened(server.url_as("viewer:wr0ng"))
    assert "wr0ng" not in str(lost.value)
    assert "127.0.0.1" in str(lost.value)
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "s3cret" not in printed
    assert "wr0ng" not in printed


def test_no_such_stream(rtsp_server: RtspServer) -> None:
    with pytest.raises(SourceLost, match="no such stream"):
        _opened(rtsp_server.url + "s")


def test_an_unknown_host() -> None:
    with pytest.raises(SourceLost, match="unknown host"):
        _opened("rtsp://viewer:pw@no-such-host.invalid/1")


def test_an_unknown_scheme() -> None:
    with pytest.raises(UserError, match="did you mean 'rtsp'"):
        Rtsp(Camera(source="rtp://10.0.0.1/"))


class _Container:
    """A stream by script: each packet is (seconds to let pass, time stamp or None or an error)."""

    def __init__(self, script: Iterator[tuple[float, float | Exception | None]], clock: SimpleNamespace) -> None:
        context = SimpleNamespace(thread_count=0, flags=0)
        self.streams = SimpleNamespace(video=[SimpleNamespace(index=0, codec_context=context)])
        self.format = SimpleNamespace(name="rtsp")
        self._script, self._clock = script, clock
        self.closed = False

    def demux(self) -> Iterator[Any]:
        for pause, content in self._script:
            self._clock.ns += int(pause * NS_PER_S)
            yield SimpleNamespace(stream_index=0, decode=lambda content=content: self._decode(content))

    @staticmethod
    def _decode(content: float | Exception | None) -> list[Any]:
        if isinstance(content, Exception):
            raise content
        frame = av.VideoFrame.from_ndarray(np.zeros((36, 64, 3), np.uint8), format="bgr24")
        if content is not None:
            frame.pts, frame.time_base = round(content * 1000), Fraction(1, 1000)
        return [frame]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Rtsp, _Container]]:
    def make(script: Iterator[tuple[float, float | Exception | None]]) -> tuple[Rtsp, _Container]:
        clock = SimpleNamespace(ns=1000 * NS_PER_S)
        container = _Container(script, clock)
        monkeypatch.setattr(rtsp.av, "open", lambda *_, **__: container)
        monkeypatch.setattr(rtsp, "now", lambda: clock.ns)
        return _opened("rtsp://viewer:pw@camera/1"), container

    return make


def test_frames_that_repeat_are_frozen(scripted: Callable[..., tuple[Rtsp, _Container]], paper: Paper) -> None:
    source, container = scripted(itertools.chain([(0.04, 1.0), (0.04, 1.04)], itertools.repeat((0.04, 1.04))))
    source.read(paper)
    source.read(paper)
    with pytest.raises(SourceLost, match="frozen") as lost:
        source.read(paper)
    assert "pw" not in str(lost.value)
    assert container.closed


def test_a_broken_packet_is_counted(scripted: Callable[..., tuple[Rtsp, _Container]], paper: Paper) -> None:
    broken = av.error.InvalidDataError(0, "broken")
    source, _ = scripted(iter([(0.04, 1.0), (0.04, broken), (0.04, broken), (0.04, 1.12)]))
    first, second = source.read(paper), source.read(paper)
    assert source.decode_errors == 2
    assert second == Stamp(first.t_capture + 120_000_000)
    with pytest.raises(SourceLost, match="ended"):
        source.read(paper)


def test_frames_without_time_stamps_are_taken_as_they_come(
    scripted: Callable[..., tuple[Rtsp, _Container]], paper: Paper
) -> None:
    source, _ = scripted(iter([(0.0, None), (0.5, None), (0.5, 7.0), (0.04, 7.04)]))
    times = [source.read(paper) for _ in range(4)]
    steps = [b.t_capture - a.t_capture for a, b in itertools.pairwise(times)]
    assert steps == [500_000_000, 500_000_000, 40_000_000]
    assert not any(stamp.jump for stamp in times)
