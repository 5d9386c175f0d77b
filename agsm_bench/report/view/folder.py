"""The folder that a page is written to: ours alone, one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agsm_bench.errors import UserError
from agsm_bench.folders import write_json
from agsm_bench.jsonl import writing
from agsm_bench.locking import alone
from agsm_bench.report.view.chunks import DATA
from agsm_bench.report.view.pictures import FOLDER

MARKER = "view.json"
PAGE = "index.html"
LOCK = ".lock"
OURS = (MARKER, PAGE, DATA, FOLDER)


@contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Around writing a page: the old one is gone until the new one is whole, what can be used again stays.

    Raises:
        UserError: the folder holds anything that is not of a page, is in use, or cannot be written.
    """
    _check_ours(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / LOCK, folder):
            write_json(folder / MARKER, {"made_by": "agsm-bench view"})
            (folder / PAGE).unlink(missing_ok=True)
            yield


def _check_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder.", "Use another --out.")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    visible = [name for name in there if not name.startswith(".")]
    foreign = [name for name in visible if name not in OURS or MARKER not in visible]
    if foreign:
        raise UserError(f"{folder} holds {foreign[0]}, which is of no page of ours.", "Use another --out.")
