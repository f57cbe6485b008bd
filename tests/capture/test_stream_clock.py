"""StreamClock against cameras whose true capture times are known."""

from __future__ import annotations

import numpy as np

from rtx.capture.rtsp import StreamClock
from rtx.capture.source import Stamp
from rtx.clock import NS_PER_MS, NS_PER_S

START = 5_000 * NS_PER_S
PERIOD = NS_PER_S // 25


def _run(delays_ms: list[float], rate: float = 1.0, clock: StreamClock | None = None) -> list[tuple[int, Stamp]]:
    """(true capture time, stamp) of each frame; the camera's clock runs at `rate`; frames come in order."""
    clock = clock or StreamClock()
    seen, arrival = [], 0
    for index, delay in enumerate(delays_ms):
        taken = START + index * PERIOD
        arrival = max(arrival, taken + int(delay * NS_PER_MS))
        seen.append((taken, clock.stamp(100 + index * PERIOD * rate / NS_PER_S, arrival)))
    return seen


def _errors_ms(seen: list[tuple[int, Stamp]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([(stamp.t_capture - taken) / NS_PER_MS for taken, stamp in seen])


def test_jitter_counts_as_age() -> None:
    jitter = np.random.default_rng(0).exponential(20, 500)
    errors = _errors_ms(_run((10 + jitter).tolist()))
    assert np.abs(errors[100:] - 10).max() < 3  # the least delay stays unknown; all above it is known


def test_backlog_counts_as_age() -> None:
    delays = [10.0] * 100
    delays[50] = 2000  # a stall; the frames after it come in one burst
    seen = _run(delays)
    assert np.abs(_errors_ms(seen)[1:] - 10).max() < 1
    assert not any(stamp.jump for _, stamp in seen)


def test_a_backlog_at_the_start_is_found_out_as_it_drains() -> None:
    errors = _errors_ms(_run([max(10.0, 800 - 100 * i) for i in range(50)]))
    assert errors[0] == 800
    assert np.abs(errors[25:] - 10).max() < 1


def test_drift_is_followed_both_ways() -> None:
    for rate in (1 - 100e-6, 1 + 100e-6):
        errors = _errors_ms(_run([10.0] * 25 * 1800, rate))  # half an hour: 180 ms of drift
        assert np.abs(errors - 10).max() < 1


def test_a_camera_that_counts_frames_at_a_nominal_rate_does_not_grow_ever_older() -> None:
    errors = _errors_ms(_run([10.0] * 25 * 600, rate=0.97))  # ten minutes: 18 s of drift
    assert np.abs(errors).max() < 300


def test_time_never_runs_back() -> None:
    jitter = np.random.default_rng(1).exponential(60, 500).tolist()
    stamps = [stamp.t_capture for _, stamp in _run(jitter)]
    assert stamps == sorted(stamps)


def test_a_leap_backward_is_a_jump() -> None:
    clock = StreamClock()
    clock.stamp(100.0, START)
    stamp = clock.stamp(3.0, START + PERIOD)
    assert stamp == Stamp(START + PERIOD, jump=True)
    assert clock.stamp(3.04, START + 2 * PERIOD) == Stamp(START + 2 * PERIOD, jump=False)


def test_a_leap_forward_is_a_jump_only_where_time_has_not_passed() -> None:
    clock = StreamClock()
    clock.stamp(100.0, START)
    assert clock.stamp(110.0, START + 10 * NS_PER_S) == Stamp(START + 10 * NS_PER_S, jump=False)
    assert clock.stamp(115.0, START + 11 * NS_PER_S) == Stamp(START + 11 * NS_PER_S, jump=True)
