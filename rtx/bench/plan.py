"""Which cases are measured, one after another, and the report of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product

import msgspec
from rich.console import Console

from rtx.bench.measure import measure
from rtx.bench.results import Bench, Case, Measured
from rtx.config import Pipeline, of_sources
from rtx.errors import UserError
from rtx.machine import commit, machine
from rtx.nets import cards
from rtx.preflight import check_pipeline

SOURCE = "synthetic:?size=1280x720&fps=30"
"""Open loop: frames come at their own pace, whether anybody takes them or not."""


def plan(
    devices: Sequence[str], models: Sequence[str], backends: Sequence[str], explainers: Sequence[str],
    cameras: Sequence[int],
) -> list[Case]:  # fmt: skip
    """Every combination, those that belong together beside each other."""
    return [
        Case(device=device, backend=backend, model=model, explainer=explainer, cameras=n)
        for model, explainer, backend, device, n in product(models, explainers, backends, devices, cameras)
    ]


def pipeline_of(case: Case, changes: Sequence[str]) -> Pipeline:
    """The run that measures a case: shown to nobody, but drawn; nothing given up to keep within the budget."""
    settings = {name: getattr(case, name) for name in ("device", "backend", "model", "explainer")}
    asked = [f"worker.{name}={msgspec.json.encode(value).decode()}" for name, value in settings.items()]
    pipeline = of_sources([SOURCE] * case.cameras, ['show.sinks=["none"]', *changes, *asked])
    if _clip_by_clip(case):
        return msgspec.structs.replace(pipeline, worker=msgspec.structs.replace(pipeline.worker, continual=False))
    return pipeline


def _clip_by_clip(case: Case) -> bool:
    """Only torch follows a stream frame by frame."""
    return case.backend != "torch" and cards.card(case.model).causal


def run(
    cases: Sequence[Case], changes: Sequence[str], seconds: float, tick: Callable[[Case, float], None],
    done: Callable[[Bench], None], console: Console,
) -> Bench:  # fmt: skip
    """Measure all; `tick` hears of seconds that have gone by in a case, `done` has all there is after each."""
    about = machine()  # Before: afterwards the load would be our own.
    first = pipeline_of(cases[0], changes)
    results: list[Measured] = []
    found = Bench(
        when=datetime.now(UTC).isoformat(timespec="seconds"), commit=commit(), machine=about,
        settings={"seconds": seconds, "source": SOURCE, "changes": list(changes)},
        budget_ms=first.budget.heatmap_age_ms, allowed_misses=first.budget.deadline_misses, results=results,
    )  # fmt: skip
    for case in cases:
        results.append(_measured(case, changes, seconds, tick, results, console))
        done(found)
    return found


def _measured(
    case: Case, changes: Sequence[str], seconds: float, tick: Callable[[Case, float], None],
    results: Sequence[Measured], console: Console,
) -> Measured:  # fmt: skip
    for earlier in results:
        same = (earlier.case.device, earlier.case.backend) == (case.device, case.backend)
        if same and f"device {case.device!r}" in earlier.not_measured:
            return Measured(case=case, not_measured=earlier.not_measured)
    try:
        pipeline = pipeline_of(case, changes)
        check_pipeline(pipeline, console)
    except UserError as error:
        return Measured(case=case, not_measured=str(error))
    allowed = pipeline.budget.deadline_misses
    rigid = msgspec.structs.replace(pipeline, budget=msgspec.structs.replace(pipeline.budget, deadline_misses=1.0))
    result = measure(case, rigid, seconds, lambda s: tick(case, s))
    holds = result.heatmap.n > 0 and result.late <= allowed
    return msgspec.structs.replace(result, holds=holds, clip_by_clip=_clip_by_clip(case))
