"""Runs to a folder of pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agsm_bench.contracts import Progress
from agsm_bench.jsonl import write_atomically
from agsm_bench.report.view.chunks import write_data
from agsm_bench.report.view.folder import PAGE, opened
from agsm_bench.report.view.loading import load
from agsm_bench.report.view.page import render


def write_view(runs: Sequence[Path], out: Path, progress: Progress) -> Path:
    """Writes the pages of run folders and returns the first page's path; a killed build, called again, goes on.

    Args:
        runs: run folders; the first is the one that the others are compared with.
        out: a new folder, or that of earlier pages.
        progress: told of every batch of pictures.

    Raises:
        UserError: the runs do not belong together, or `out` holds anything else or cannot be written.
        MissingError: a run is absent, empty or damaged.
    """
    shown = load(runs)
    with opened(out):
        page = render(shown, out)
        write_data(shown, out, progress)
        write_atomically(out / PAGE, page.encode())
    return out / PAGE
