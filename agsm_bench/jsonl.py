"""Files that survive a killed process: atomic writes, and JSONL that is only appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError, UserError
from agsm_bench.faults import advice

T = TypeVar("T")

SYNC_EVERY = 32
"""Appends between two fsyncs; what a power cut takes is done again."""
_TAIL = 2**16
"""Bytes that are looked at once for the last newline."""
_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


@contextmanager
def writing(folder: Path, elsewhere: str = "use another --out") -> Iterator[None]:
    """A disk that is full or a folder that is not ours is the user's to mend, without a traceback.

    `elsewhere`: how to name another folder.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be written ({reason}).", advice(error.errno, elsewhere)) from error


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, sync: bool = True, shared: bool = False) -> None:
    """A reader sees the old file or the new one, never a part. `data` may come in pieces.

    The name of the part is always the same: whoever writes the file again also replaces a leftover. Files that
    no lock keeps for one process are `shared`, and each process has a part of its own.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            stream.writelines([data] if isinstance(data, bytes) else data)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.replace(part, path)
    except (OSError, ValueError) as error:  # a full disk is not to hold half a file, too
        if isinstance(error, OSError):
            error.filename = str(path)
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_named(path: Path, data: bytes) -> None:
    """A file that the user named: whole or as it was, where a link leads to, too; a pipe or device as it is."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        write_atomically(path.resolve(), data, sync=False, shared=True)  # it can be made again


@dataclass
class Journal:
    """A JSONL file with one writer. A line counts once its newline is there."""

    path: Path
    fix: str = "Delete the line, and its sample is done again: sed -i {number}d {path}"
    """What to type where a line is damaged."""
    _unsynced: int = field(default=0, init=False)

    def read(self, parse: Callable[[Any], T]) -> Iterator[T]:
        """Every line, parsed; a torn last one (a killed process) is left out.

        Raises:
            MissingError: another line is damaged, or `parse` refuses it.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield parse(json.loads(line.decode()))
                except DAMAGED as error:
                    raise MissingError(
                        f"{self.path} line {number} is damaged ({why(error)}).",
                        self.fix.format(number=number, path=self.path),
                    ) from error

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines after a whole last line: call `repair` once before."""
        try:
            with self.path.open("ab") as stream:
                stream.write(b"".join(_lines(records)))
                stream.flush()
                self._unsynced += 1
                if self._unsynced >= SYNC_EVERY:
                    os.fsync(stream.fileno())
                    self._unsynced = 0
        except OSError as error:  # a full disk takes half a line
            error.filename = str(self.path)
            with suppress(OSError):
                self.repair()
            raise

    def repair(self) -> None:
        """Cuts a torn last line off."""
        if self.path.exists():
            with self.path.open("rb+") as stream:
                stream.truncate(_end_of_lines(stream))

    def replace(self, records: Iterable[Mapping[str, Any]]) -> None:
        """The file anew, atomically."""
        write_atomically(self.path, _lines(records))


def _lines(records: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    return (_encode(record).encode() + b"\n" for record in records)


def _end_of_lines(stream: BinaryIO) -> int:
    """Where the last whole line ends, looked for from the end: the file may be long."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL)
        stream.seek(start)
        if newline := stream.read(end - start).rfind(b"\n") + 1:
            return start + newline
        end = start
    return 0
