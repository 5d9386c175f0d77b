"""`agsm-bench demo`: the whole job on the miniature world, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.terminal import plain_console


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; resumes what is in it.")] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Training steps.")] = 600,
    limit: Annotated[int | None, typer.Option(help="Only so many of the 553 prompts.")] = None,
) -> None:
    """Train AGSM on shapes-mmdit, evaluate base and tokens on GenEval, write demo/report.html."""
    from agsm_bench.cli.progress import phases
    from agsm_bench.demo import run_demo
    from agsm_bench.errors import ExitCode, UserError
    from agsm_bench.report.summary import comparison_table

    try:
        with phases("demo") as progress:
            folders = run_demo(out, progress, steps=steps, limit=limit)
    except KeyboardInterrupt as error:
        fix = "Run the same command to go on."
        raise UserError(f"Interrupted; {out} keeps what is done.", fix, ExitCode.INTERRUPTED) from error
    plain_console().print(comparison_table(folders.base, folders.agsm))
    typer.echo(f"Images side by side: {folders.page}")
