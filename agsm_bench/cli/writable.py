"""Files that a user names with --out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agsm_bench.errors import UserError
from agsm_bench.faults import advice


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Around writing a file that the user named."""
    try:
        yield
    except OSError as error:
        fix = advice(error.errno, "choose another --out")
        raise UserError(f"{out} cannot be written ({error.strerror or error}).", fix) from error
