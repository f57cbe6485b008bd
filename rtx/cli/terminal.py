"""Where commands print to, and their bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)

Begin = Callable[[str], Callable[[float], None]]
"""Of some work, in words: who is told which share of it is done, 0..1."""


@contextlib.contextmanager
def bars() -> Iterator[Begin]:
    """Bars with the time that is left, on a terminal only; they go when all is done."""
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:

        def begin(words: str) -> Callable[[float], None]:
            task = progress.add_task(escape(words), total=1.0)

            def told(share: float) -> None:
                progress.update(task, completed=share)
                if share >= 1 and len(progress.tasks) > 1:
                    progress.update(task, visible=False)

            return told

        yield begin
