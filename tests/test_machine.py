"""The machine: how many threads make one pass where nobody has said so."""

from __future__ import annotations

import pytest

from rtx import machine


@pytest.mark.parametrize(
    ("said", "expected"), [(None, 4), ("", 4), ("1", 1), (" 2 ", 2), ("3,1", 3), ("16", 4), ("0", 4), ("many", 4)]
)
def test_a_pass_has_a_thread_for_each_core_or_as_few_as_openmp_is_told(
    said: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert machine.default_threads() == expected
