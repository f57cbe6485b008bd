"""Where results are kept, with the machine, versions, commit and time; and how they are shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rtx.machine import commit, machine

RESULTS = Path(__file__).with_name("results")


def keep(name: str, result: dict[str, Any]) -> Path:
    """Write results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine()}
    path.write_text(json.dumps(about | result, indent=2) + "\n")
    print(json.dumps(result))
    return path


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console(width=140).print(table)


def percentiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """p50, p95, max, n; rounded to microseconds where the values are ms."""
    if not values:
        return {"p50": None, "p95": None, "max": None, "n": 0}
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {
        "p50": round(statistics.median(ordered), 3), "p95": round(p95, 3), "max": round(ordered[-1], 3),
        "n": len(ordered),
    }  # fmt: skip
