"""`agsm-bench score RUN`: score again, without generating."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def score(
    runs: Annotated[list[Path], typer.Argument(help="A run folder, or several shards of one run to merge.")],
    out: Annotated[Path | None, typer.Option(help="Where the merged run goes; needed for several shards.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score a run's images again, or merge the shards of a run.

    \b
    agsm-bench score runs/geneval-shapes-mmdit
    agsm-bench score runs/part0 runs/part1 --out runs/whole
    """
    from agsm_bench.cli.eval import show
    from agsm_bench.cli.progress import phases
    from agsm_bench.rescore import rescore

    with phases("score") as progress:
        folder, summary = rescore(runs, out, progress)
    show(summary, folder, json_)
