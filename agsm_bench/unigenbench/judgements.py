"""The judge's verdicts in a folder: `judgements.jsonl`, which survives a kill, and sorted is always the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

from agsm_bench.folders import ensure_writable
from agsm_bench.jsonl import Journal, writing
from agsm_bench.locking import alone
from agsm_bench.records import split_id
from agsm_bench.unigenbench.question import Verdict

FILE = "judgements.jsonl"
LOCK = ".judgements.lock"


class Asked(NamedTuple):
    """What a judgement hangs on."""

    sample_id: str
    image: str
    """SHA-256 (hex) of the PNG."""
    model: str
    """The judge's name at its server."""
    question: str
    """`question.question_id`."""


@dataclass(frozen=True)
class Judgement:
    """What the judge said of an image."""

    asked: Asked
    verdicts: tuple[Verdict, ...] = ()
    """In the order of the test points; empty where it failed."""
    failed: str | None = None
    """Why there are no verdicts."""


@dataclass(eq=False)
class JudgementStore:
    """Judgements of a folder; to read them, `JudgementStore(folder)`. Of several on one thing the last counts."""

    folder: Path
    _writable: bool = field(default=False, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """The store for writing, alone; the folder is made.

        Raises:
            UserError: the folder cannot be written, or another process judges in it.
        """
        ensure_writable(folder)
        with alone(folder / LOCK, folder / FILE):
            store = cls(folder, _writable=True)
            with writing(folder):
                store._journal.repair()
            yield store
            store._writable = False

    @property
    def all(self) -> Mapping[Asked, Judgement]:
        """Every judgement; raises MissingError where the file is damaged."""
        return self._judgements

    def verdicts(self, asked: Iterable[Asked]) -> dict[str, Judgement]:
        """By sample id those that are there, failed ones included."""
        return {key.sample_id: self._judgements[key] for key in asked if key in self._judgements}

    def add(self, judgement: Judgement) -> None:
        """Keeps a judgement at once; from any thread."""
        with self._lock, self._changing():
            self._journal.append([_record(judgement)])
            self._judgements[judgement.asked] = judgement

    def rewrite(self) -> None:
        """The file sorted, with one line a judgement."""
        with self._lock, self._changing():
            self._journal.replace(_record(self._judgements[key]) for key in sorted(self._judgements))

    @cached_property
    def _journal(self) -> Journal:
        return Journal(self.folder / FILE, "Delete the line, and its image is judged again: sed -i {number}d {path}")

    @cached_property
    def _judgements(self) -> dict[Asked, Judgement]:
        return {judgement.asked: judgement for judgement in self._journal.read(_parse)}

    @contextmanager
    def _changing(self) -> Iterator[None]:
        if not self._writable:
            raise RuntimeError(f"{self.folder} is not open for writing")
        with writing(self.folder):
            yield


def _record(judgement: Judgement) -> Mapping[str, Any]:
    verdicts = [asdict(verdict) for verdict in judgement.verdicts]
    return {**judgement.asked._asdict(), "verdicts": verdicts, "failed": judgement.failed}


def _parse(record: Any) -> Judgement:
    asked = Asked(*(str(record[name]) for name in Asked._fields))
    split_id(asked.sample_id)
    verdicts = tuple(Verdict(**verdict) for verdict in record["verdicts"])
    if not all(isinstance(verdict.yes, bool) for verdict in verdicts):
        raise ValueError("an answer is neither true nor false")
    if bool(verdicts) == bool(record["failed"]):
        raise ValueError("it needs either verdicts or the reason for having none")
    return Judgement(asked, verdicts, record["failed"])
