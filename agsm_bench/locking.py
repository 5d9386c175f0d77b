"""One process at a time: a lock file that dies with its holder, and says who that is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from agsm_bench.errors import UserError
from agsm_bench.faults import LOCKLESS, advice
from agsm_bench.provenance import command

OTHER_OUT = "Wait until it ends, or use another --out."


@contextmanager
def alone(lock: Path, what: str | Path, fix: str = OTHER_OUT) -> Iterator[None]:
    """Holds the lock file, whose folder is there; `what` it stands for is named where another process holds it.

    Raises:
        UserError: another process holds it.
    """
    from filelock import FileLock, Timeout

    holder = lock.with_name(f"{lock.name}.holder")
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{what} is being written by {_holder(holder)}.", fix) from error
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        said = f"Files in {lock.parent} cannot be locked ({error.strerror})."
        raise UserError(said, advice(error.errno)) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}: {command()}")
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            holder.unlink(missing_ok=True)
        held.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text() or "another process"
    except OSError:
        return "another process"
