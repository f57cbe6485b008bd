"""Where commands print to, and their bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)

Begin = Callable[[str], AbstractContextManager[Callable[[float], None]]]
"""While some work goes on, in words: who is told which share of it is done, 0..1."""


@contextlib.contextmanager
def bars() -> Iterator[Begin]:
    """Bars with the time that is left, on a terminal only; each goes when its work is done."""
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"),
               TimeRemainingColumn())  # fmt: skip
    # What is printed meanwhile goes where it was sent, not beside the bars.
    progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal, redirect_stdout=False)
    with progress:

        @contextlib.contextmanager
        def begin(words: str) -> Iterator[Callable[[float], None]]:
            task = progress.add_task(escape(words), total=1.0)
            try:
                yield lambda share: progress.update(task, completed=share)
            finally:
                progress.remove_task(task)

        yield begin
