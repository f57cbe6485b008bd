"""Latency histograms: percentiles within 2 % of the truth, in bounded memory."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtx.measure.ages import Ages

SAMPLES = {
    "log-normal": np.random.default_rng(1).lognormal(5, 1, 20_000),
    "uniform": np.random.default_rng(2).uniform(1, 1000, 20_000),
    "two humps": np.concatenate([np.full(9000, 10.0), np.full(1000, 900.0)]),
    "one value": np.full(100, 33.3),
    "below a millisecond": np.random.default_rng(3).uniform(0.1, 1, 5000),
    "an hour": np.random.default_rng(4).uniform(1e6, 3.6e6, 5000),
}


def ages_of(values: np.ndarray) -> Ages:
    ages = Ages()
    for value in values:
        ages.add(float(value))
    return ages


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentiles_are_numpys_within_2_percent(name: str, share: float):
    truth = np.percentile(SAMPLES[name], 100 * share, method="inverted_cdf")
    assert ages_of(SAMPLES[name]).percentile(share) == pytest.approx(truth, rel=0.02)


def test_the_highest_is_exact():
    values = SAMPLES["log-normal"]
    assert ages_of(values).summary().max == pytest.approx(values.max(), abs=0.01)


def test_a_summary_is_in_order():
    summary = ages_of(SAMPLES["log-normal"]).summary()
    assert summary.p50 <= summary.p95 <= summary.p99 <= summary.max  # type: ignore[operator]
    assert summary.n == 20_000


def test_nothing_measured_is_nothing_said():
    summary = Ages().summary()
    assert (summary.p50, summary.p95, summary.p99, summary.max, summary.n) == (None, None, None, None, 0)
    assert Ages().percentile(0.5) is None


def test_merged_is_as_if_counted_together():
    values = SAMPLES["uniform"]
    left, right = ages_of(values[:7000]), ages_of(values[7000:])
    left.merge(right)
    assert left.summary() == ages_of(values).summary()


def test_it_travels_as_a_message():
    ages = ages_of(SAMPLES["uniform"])
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(ages.plain()), strict=False)
    back = Ages({int(number): count for number, count in plain["counts"].items()}, plain["highest"])
    assert back.summary() == ages.summary()


@given(st.lists(st.floats(-1e12, 1e12), max_size=50))
def test_no_age_breaks_it_or_lets_it_grow(values: list[float]):
    ages = ages_of(np.array(values))
    assert ages.summary().n == len(values)
    assert all(0 <= number < 1024 for number in ages.counts)
