"""How sure a mean is: percentiles of the means of samples drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 1000
SEED = 0
FEW = 8
"""Of fewer values no interval is told: drawn anew, they only ever say what they are."""
SAYS = f"95 % intervals over clips, of {FEW} and more (bootstrap, {DRAWS} draws, seed {SEED})"


class Mean(NamedTuple):
    """Of some values."""

    mean: float
    low: float
    """With `high`, where the mean of as many other clips would lie, 19 times of 20."""
    high: float
    n: int


Middle = Callable[..., Any]
"""`numpy.mean` or `numpy.median`: takes an array and `axis`."""


def mean_of(values: Sequence[float], middle: Middle = np.mean) -> Mean | None:
    """Of what is not NaN; None of nothing. (Efron's percentile bootstrap over clips.)"""
    known = np.asarray([value for value in values if not np.isnan(value)], np.float64)
    if not len(known):
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(known), (DRAWS, len(known)))
    low, high = np.percentile(middle(known[drawn], axis=1), (2.5, 97.5))
    return Mean(float(middle(known)), float(low), float(high), len(known))


DIGITS = {"s": 4}
"""Behind the point, by unit, where two are too few."""


def said(of: Mean | None, clips: int = 0, unit: str = "") -> str:
    """A mean with its interval; where it is of fewer than `clips`, or of `FEW`, of how many."""
    if of is None:
        return ""
    digits = DIGITS.get(unit, 1 if abs(of.mean) >= 100 else 2)
    mean = f"{of.mean:.{digits}f}{unit and f' {unit}'}"
    if of.n < FEW:
        return f"{mean} of {of.n}"
    return f"{mean} ({of.low:.{digits}f} to {of.high:.{digits}f}){f' of {of.n}' if of.n < clips else ''}"
