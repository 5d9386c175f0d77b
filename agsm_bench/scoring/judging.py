"""The pass: decode in threads ahead of the network, judge in batches, and let one bad picture fail alone."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import Any

import numpy as np

from agsm_bench.errors import UserError
from agsm_bench.faults import denied
from agsm_bench.images import reason
from agsm_bench.metric import Judge, ReadsPrompts, Variant
from agsm_bench.scoring.items import Item, Opened
from agsm_bench.scoring.selection import Chosen
from agsm_bench.scoring.settings import PassSettings

LARGE = 2**26
"""Bytes of weights from which memory is looked through for what is left of them, which takes half a second."""
AHEAD = 2
"""Batches that are decoded while one is judged."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Task:
    """An item, and the full names of the metrics that it lacks."""

    item: Item
    names: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What one metric says of one item."""

    item: Item
    name: str
    version: str
    value: float | np.ndarray | None
    """The raw score, or the features for a metric of sets; None: unscored."""
    reason: str | None = None
    """Why it is unscored; of a score, that its prompt was cut."""


@dataclass(frozen=True)
class _Seat:
    """A loaded judge in one of its roles."""

    name: str
    variant: Variant
    judge: Judge
    version: str


Prepared = Mapping[str, Any]
"""By metric: its inputs, or the ValueError for which there are none."""


def judged(
    tasks: Sequence[Task], chosen: Sequence[Chosen], settings: PassSettings, progress: Progress
) -> Iterator[list[Outcome]]:
    """Batches of outcomes, as they come. Models that do not fit into the memory together have their turns.

    Raises:
        UserError: of a judge's loading, or the memory is too small for one picture.
    """
    asked = frozenset(name for task in tasks for name in task.names)
    wanted = [each for each in chosen if asked & set(each.names)]
    for turn in settings.turns(wanted):
        names = {name for each in turn for name in each.names}
        yield from _turn([task for task in tasks if task.names & names], turn, settings, progress)
        if sum(each.bytes for each in turn) > LARGE:
            gc.collect()  # the memory of this turn's models is the next one's


def _turn(
    tasks: Sequence[Task], chosen: Sequence[Chosen], settings: PassSettings, progress: Progress
) -> Iterator[list[Outcome]]:
    seats, done = [seat for each in chosen for seat in _seats(each, each.loaded(settings.device))], 0
    names = [seat.name for seat in seats]
    phase = ", ".join(names) if len(names) < 4 else f"{len(names)} metrics"
    for batch in _prefetched(tasks, seats, settings):
        yield [outcome for seat in seats for outcome in _outcomes(seat, batch)]
        done += len(batch)
        progress(phase, done, len(tasks))


def _seats(chosen: Chosen, judge: Judge) -> list[_Seat]:
    return [_Seat(name, variant, judge, chosen.version_of(name)) for name, variant in chosen.variants.items()]


def _prefetched(
    tasks: Sequence[Task], seats: Sequence[_Seat], settings: PassSettings
) -> Iterator[list[tuple[Task, Prepared]]]:
    remaining, waiting = iter(tasks), deque[list[tuple[Task, Future[Prepared]]]]()
    with ThreadPoolExecutor(settings.workers) as pool:
        try:
            while True:
                while len(waiting) <= AHEAD and (batch := list(islice(remaining, settings.batch_size))):
                    waiting.append([(task, pool.submit(_prepare, task, seats)) for task in batch])
                if not waiting:
                    return
                yield [(task, future.result()) for task, future in waiting.popleft()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare(task: Task, seats: Sequence[_Seat]) -> Prepared:
    opened, prepared = Opened(task.item), dict[str, Any]()
    for seat in seats:
        if seat.name in task.names:
            try:
                prepared[seat.name] = seat.judge.prepare(seat.name, opened.picture(seat.variant.needs))
            except ValueError as error:
                prepared[seat.name] = error
    return prepared


def _outcomes(seat: _Seat, batch: Sequence[tuple[Task, Prepared]]) -> Iterator[Outcome]:
    there = [(task.item, prepared[seat.name]) for task, prepared in batch if seat.name in prepared]
    good = [(item, inputs) for item, inputs in there if not isinstance(inputs, ValueError)]
    for item, error in there:
        if isinstance(error, ValueError):
            yield Outcome(item, seat.name, seat.version, None, reason(error))
    if good:
        items, inputs = zip(*good, strict=True)
        for item, value in zip(items, _values(seat, inputs), strict=True):
            yield _outcome(seat, item, value)


def _outcome(seat: _Seat, item: Item, value: Any) -> Outcome:
    if isinstance(value, Exception):
        return Outcome(item, seat.name, seat.version, None, reason(value))
    if seat.variant.per == "set":
        known = bool(np.isfinite(value).all())
        return Outcome(item, seat.name, seat.version, value if known else None, None if known else "not a number")
    if not isfinite(value):
        return Outcome(item, seat.name, seat.version, None, f"the score is {float(value)}")
    return Outcome(item, seat.name, seat.version, round(float(value), seat.variant.decimals), _cut(seat, item))


def _cut(seat: _Seat, item: Item) -> str | None:
    """That the end of a prompt was not read; None where all of it was."""
    if "prompt" not in seat.variant.needs or not isinstance(seat.judge, ReadsPrompts):
        return None
    there, read = seat.judge.tokens(item.prompt or "")
    return f"{read} of its prompt's {there} tokens are read" if read < there else None


def _values(seat: _Seat, inputs: Sequence[Any]) -> list[Any]:
    """A value each, or the exception of a picture that fails by itself; a batch that fails is halved."""
    try:
        return list(seat.judge.judge(seat.name, inputs))
    except UserError:
        raise
    except Exception as error:
        if len(inputs) < 2:
            if denied(error):  # as for want of memory; the command line says what to do
                raise
            return [error]
    # not within the `except`: what failed the batch is no cause of what fails a picture
    half = len(inputs) // 2
    return _values(seat, inputs[:half]) + _values(seat, inputs[half:])
