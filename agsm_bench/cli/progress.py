"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from agsm_bench.parallel import launched


class AmountColumn(MofNCompleteColumn):
    """How much of how much: a count, or megabytes of a task that counts bytes."""

    _bytes = DownloadColumn()

    def render(self, task: Task) -> Text:
        return self._bytes.render(task) if task.fields.get("in_bytes") else super().render(task)


def progress_bar() -> Progress:
    """A bar with counts, elapsed and remaining time; plain lines are not redrawn where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        AmountColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )


def say(text: str) -> None:
    """Prints a line; of several processes only the first does."""
    if launched().first:
        typer.echo(text)


class ShowProgress(Protocol):
    """Told how far a phase is."""

    def __call__(self, phase: str, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def phases(title: str, in_bytes: Collection[str] = ()) -> Iterator[ShowProgress]:
    """A bar for every phase of a task, from its first step on: an early error is not preceded by an empty bar.

    Phases named in `in_bytes` count bytes. Of several processes (`accelerate launch`) the first one shows its own.
    """
    if not launched().first:
        yield lambda phase, done, total, note="": None
        return
    with ExitStack() as stack:
        bars: list[Progress] = []
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int, note: str = "") -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar()))
            if phase not in tasks:
                tasks[phase] = bars[0].add_task(
                    f"{title}: {phase}", total=total, completed=done - 1, note=note, in_bytes=phase in in_bytes
                )
            bars[0].update(tasks[phase], completed=done, total=total, note=note)

        yield show
