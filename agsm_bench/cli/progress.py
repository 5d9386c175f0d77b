"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar() -> Progress:
    """A bar with counts, elapsed and remaining time; plain lines are not redrawn where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


class ShowProgress(Protocol):
    """Told how far a phase is."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def phases(title: str) -> Iterator[ShowProgress]:
    """A bar for every phase of a task, from its first step on: an early error is not preceded by an empty bar."""
    with ExitStack() as stack:
        bars: list[Progress] = []
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int, note: str = "") -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar()))
            if phase not in tasks:
                tasks[phase] = bars[0].add_task(f"{title}: {phase}", total=total, completed=done - 1, note=note)
            bars[0].update(tasks[phase], completed=done, total=total, note=note)

        yield show
