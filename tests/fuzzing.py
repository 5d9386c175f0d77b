"""Damaged files against what reads them: they are read, or refused in words, and nothing else happens.

A test file has a table of kinds, and calls `fuzz` with each of them: a few damaged files in the default suite, hundreds
in the slow one. The n-th file of a kind is always the same; one that fails is kept, and shown in the message.
"""

from __future__ import annotations

import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from mutations import DEEP, Form, mutate

from agsm_bench.errors import ExitCode, UserError

FEW, MANY = range(15), range(400)
"""Damaged files of a kind in the default suite, and in the slow one."""
SECONDS = 10
"""That reading one may take."""
MEMORY = 3 * 2**30
"""Bytes that reading one may take, besides what the process has."""
SHOWN = 1500
"""Bytes of a file that a message shows."""
Tree = dict[Path, tuple[int, int]]


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    name: str
    make: Callable[[Path], Path]
    """Writes a valid one, with what belongs to it, into an empty folder."""
    read: Callable[[Path], object]
    """Reads it as the harness does, and asserts that what it gives is plausible."""
    form: Form = "bytes"
    found: tuple[Callable[[bytes], bytes], ...] = ()
    """Damage that once went through, which is done in every suite."""
    hostile: bool = False
    """Whether the file is to be refused even as it is made."""


@dataclass(frozen=True)
class Failure:
    """A damaged file that was neither read nor refused."""

    number: int
    done: tuple[str, ...]
    file: Path
    """A copy of it."""
    error: BaseException

    @property
    def words(self) -> str:
        """What went wrong, and where; the same for all files that fail alike."""
        frames = traceback.extract_tb(self.error.__traceback__)
        inner = next((f for f in reversed(frames) if "agsm_bench" in f.filename or "test_" in f.filename), frames[-1])
        return f"{type(self.error).__name__} at {Path(inner.filename).name}:{inner.lineno} {inner.line}"

    def __str__(self) -> str:
        data = self.file.read_bytes()
        shown = data if len(data) < SHOWN else data[:SHOWN] + b"..."
        made = f"file {self.number} ({', '.join(self.done)})"
        return f"{self.words}\n{str(self.error)[:300]}\n{made}, {self.file}: {shown!r}"


class HangError(BaseException):
    """Reading took too long; no `except Exception` is to swallow it."""


def damaging(kinds: Sequence[Kind]) -> pytest.MarkDecorator:
    """Gives a test each kind with the numbers of its damaged files: a few, and in the slow suite many."""
    few = [pytest.param(kind, FEW, id=kind.name) for kind in kinds]
    many = [pytest.param(kind, MANY, id=f"{kind.name}-many", marks=pytest.mark.slow) for kind in kinds]
    return pytest.mark.parametrize(("kind", "numbers"), [*few, *many])


def fuzz(kind: Kind, scratch: Path, numbers: Iterable[int]) -> None:
    """Damages the valid file in as many ways, and asserts that each is read or refused, and that nothing is lost."""
    folder = scratch / "in"
    folder.mkdir()
    found = list(failures(kind, folder, numbers))
    different = {failure.words: failure for failure in found}
    assert not found, f"{len(found)} failures of {kind.name}\n" + "\n\n".join(map(str, different.values()))


def failures(kind: Kind, folder: Path, numbers: Iterable[int]) -> Iterator[Failure]:
    """What goes wrong; the files are left beside `folder`."""
    path = kind.make(folder)
    valid = path.read_bytes()
    assert (refused(kind, path) is not None) == kind.hostile
    for number, data, done in damaged(kind, valid, numbers):
        path.write_bytes(data)
        before = tree(folder)
        try:
            refused(kind, path)
            assert path.read_bytes() == data, "the file was changed"
            assert tree(folder) == before, "files were written, or are gone"
        except (Exception, HangError) as error:
            bad = folder.with_name(f"{folder.name}-{kind.name}-{number}{path.suffix}")
            bad.write_bytes(data)
            yield Failure(number, tuple(done), bad, error)
    path.write_bytes(valid)
    assert (refused(kind, path) is not None) == kind.hostile


def damaged(kind: Kind, valid: bytes, numbers: Iterable[int]) -> Iterator[tuple[int, bytes, list[str]]]:
    """(number, contents, what was done)."""
    for number, damage in enumerate(kind.found, 1):
        yield -number, damage(valid), ["found before"]
    for number in numbers:
        yield number, *mutate(Random(f"{kind.name} {number}"), valid, kind.form)


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """The first `old` of a file becomes `new`."""

    def damage(valid: bytes) -> bytes:
        assert old.encode() in valid
        return valid.replace(old.encode(), new.encode(), 1)

    return damage


def nested(valid: bytes) -> bytes:
    """Too deep for any parser."""
    return b"[" * DEEP + b"\n"


def refused(kind: Kind, path: Path) -> UserError | None:
    """How the file is refused; None where it is read. Whatever else happens is raised."""
    with limited(), warnings.catch_warnings(action="ignore"):
        try:
            kind.read(path)
        except UserError as error:
            check_words(error)
            return error
    return None


def check_words(error: UserError) -> None:
    """An error says what is wrong and what to do, in words that a terminal can show, and has a code of its own."""
    assert error.message.strip()
    assert error.fix.strip()
    assert error.code in (ExitCode.USAGE, ExitCode.MISSING)
    assert len(str(error)) < 5000, "it pours the file's contents out"


@contextmanager
def limited(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Raises HangError after so many seconds, and MemoryError beyond so many bytes more than there are now."""

    def hang(*_: Any) -> None:
        raise HangError(f"no end after {seconds:g} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + memory, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def tree(folder: Path) -> Tree:
    """Every file and folder beside and below: size, and time of the last change."""
    found = {}
    for path in folder.parent.rglob("*"):
        stat = path.lstat()
        found[path] = (stat.st_size, stat.st_mtime_ns) if path.is_file() else (0, 0)
    return found
