"""Where the pass finds what is scored already and puts what comes: a folder for anybody's images, or a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agsm_bench.benchmark import Read
from agsm_bench.faults import denied
from agsm_bench.jsonl import Journal, writing
from agsm_bench.locking import alone
from agsm_bench.records import parse_score
from agsm_bench.scoring.features import FeatureStore
from agsm_bench.scoring.items import Item
from agsm_bench.scoring.judging import Outcome, Task
from agsm_bench.scoring.selection import Chosen
from agsm_bench.store import LOCK, Run
from agsm_bench.types import Score

SCORES = "scores.jsonl"


class Sheet(Protocol):
    """The store of a pass."""

    def lacking(self, items: Sequence[Item], chosen: Sequence[Chosen]) -> list[Task]:
        """The items that lack a score of the present image and weights, in order."""
        ...

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Stores a batch."""
        ...

    def scores(self, name: str) -> Mapping[str, Score]:
        """What counts of a metric, by item id; of a metric of sets only what is unscored."""
        ...

    def features(self, name: str) -> FeatureStore:
        """Of a metric of sets."""
        ...


@dataclass(frozen=True)
class _Line:
    score: Score
    digest: str


@dataclass
class FolderSheet:
    """`scores.jsonl` and `features/` of a folder, for images that are no run; `with` it: it is locked."""

    folder: Path
    _digests: dict[str, str] = field(default_factory=dict, init=False)
    _lines: dict[tuple[str, str], _Line] = field(default_factory=dict, init=False)
    _stores: dict[str, FeatureStore] = field(default_factory=dict, init=False)
    _lock: AbstractContextManager[Any] | None = field(default=None, init=False)

    def __enter__(self) -> FolderSheet:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = alone(self.folder / LOCK, self.folder)
            self._lock.__enter__()
            self._journal.repair()
            lines = self._journal.read(_parse)
            self._lines = {(line.score.sample_id, line.score.metric): line for line in lines}
        return self

    def __exit__(self, *error: Any) -> None:
        if self._lock:
            self._lock.__exit__(*error)

    @property
    def _journal(self) -> Journal:
        return Journal(self.folder / SCORES)

    def lacking(self, items: Sequence[Item], chosen: Sequence[Chosen]) -> list[Task]:
        self._digests = {item.id: item.digest() for item in items}
        return _tasks(items, chosen, self._is_there)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        with writing(self.folder):
            _add_features(outcomes, self._digests, self.features)
            lines = [_Line(score, self._digests[score.sample_id]) for score in _scores(outcomes)]
            self._journal.append(map(_record, lines))
            self._lines |= {(line.score.sample_id, line.score.metric): line for line in lines}

    def scores(self, name: str) -> dict[str, Score]:
        """Of the items that `lacking` was told of, as far as they are of the present images."""
        found = {item: self._lines.get((item, name)) for item in self._digests}
        return {item: line.score for item, line in found.items() if line and line.digest == self._digests[item]}

    def features(self, name: str) -> FeatureStore:
        return self._stores.setdefault(name, FeatureStore(self.folder, name))

    def finalise(self) -> None:
        """Sorts the stores and drops what was replaced."""
        self._journal.replace(_record(self._lines[key]) for key in sorted(self._lines))
        for store in self._stores.values():
            store.finalise()

    def _is_there(self, item: str, name: str, chosen: Chosen) -> bool:
        digest, line = self._digests[item], self._lines.get((item, name))
        if line and (line.digest, line.score.version) == (digest, chosen.version_of(name)):
            return True
        return _is_set(chosen, name) and self.features(name).keys.get(item) == (digest, chosen.version_of(name))


@dataclass
class RunSheet:
    """A run open for writing. `Chosen.references` stands for the references: a run records its images alone."""

    run: Run
    _stores: dict[str, FeatureStore] = field(default_factory=dict, init=False)

    def lacking(self, items: Sequence[Item], chosen: Sequence[Chosen]) -> list[Task]:
        return _tasks(items, chosen, self._is_there)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        with self.run.changing():
            _add_features(outcomes, self.run.records.images, self.features)
            self.run.add_scores(_scores(outcomes))

    def scores(self, name: str) -> dict[str, Score]:
        return self.run.records.scores_by(name)

    def features(self, name: str) -> FeatureStore:
        return self._stores.setdefault(name, FeatureStore(self.run.folder, name))

    def _is_there(self, item: str, name: str, chosen: Chosen) -> bool:
        score, version = self.run.records.scores_of(item).get(name), chosen.version_of(name)
        if score and score.version == version:
            return True
        return _is_set(chosen, name) and self.features(name).keys.get(item) == (self.run.records.images[item], version)


def references_digest(items: Iterable[Item]) -> str:
    """16 hex digits over which reference and mask belong to which item."""
    lines = (" ".join([item.id, _hash(item.reference), _hash(item.mask)]) for item in items)
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _hash(read: Read | None) -> str:
    try:
        return sha256(read()).hexdigest() if read else "-"
    except (OSError, ValueError) as error:
        if denied(error):
            raise
        return "absent"


def _tasks(items: Sequence[Item], chosen: Sequence[Chosen], is_there: Callable[[str, str, Chosen], bool]) -> list[Task]:
    tasks = [
        Task(item, frozenset(name for each in chosen for name in each.names if not is_there(item.id, name, each)))
        for item in items
    ]
    return [task for task in tasks if task.names]


def _is_set(chosen: Chosen, name: str) -> bool:
    return chosen.metric.variants[name].per == "set"


def _scores(outcomes: Sequence[Outcome]) -> list[Score]:
    """Of outcomes that are no features."""
    return [
        Score(o.item.id, o.name, o.value, o.reason, o.version) for o in outcomes if not isinstance(o.value, np.ndarray)
    ]


def _add_features(
    outcomes: Sequence[Outcome], digests: Mapping[str, str], store: Callable[[str], FeatureStore]
) -> None:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if isinstance(outcome.value, np.ndarray):
            found.setdefault(outcome.name, []).append(outcome)
    for name, own in found.items():
        ids = [outcome.item.id for outcome in own]
        keys = [(digests[outcome.item.id], outcome.version) for outcome in own]
        store(name).add(ids, keys, np.stack([np.asarray(outcome.value) for outcome in own]))


def _record(line: _Line) -> dict[str, Any]:
    return asdict(line.score) | {"digest": line.digest}


def _parse(record: Any) -> _Line:
    digest = record.pop("digest")
    if not isinstance(digest, str):
        raise TypeError("its digest is no text")
    return _Line(parse_score(record), digest)
