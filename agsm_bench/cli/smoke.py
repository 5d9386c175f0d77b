"""`agsm-bench smoke`: the regression gate on this package itself."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.cli.compare import Format, show


def smoke(
    seed: Annotated[int, typer.Option(help="Of the training.", min=0)] = 100,
    folder: Annotated[
        Path | None, typer.Option(help="Where to keep the training and the run. (default: a temporary folder)")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="What to compare with. (default: results/baselines/smoke.json)")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print the comparison.")] = Format.RICH,
    out: Annotated[Path | None, typer.Option(help="A file for the comparison instead of the standard output.")] = None,
) -> None:
    """Train and evaluate for a minute, and compare: the regression gate on this package.

    Exit code 1 where it has got worse.

    The baseline has several training seeds, none of them this one's: another seed is no regression.

    \b
    agsm-bench smoke
    agsm-bench smoke --format junit --out smoke.xml
    """
    from agsm_bench.baseline import read_side
    from agsm_bench.cli.progress import phases
    from agsm_bench.compare import compare
    from agsm_bench.measured import read_run
    from agsm_bench.smoke import baseline_file, run_smoke

    base = read_side(baseline or baseline_file())
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agsm-bench-smoke-")))
        run = run_smoke(root, seed, stack.enter_context(phases("smoke")))
        found = compare(read_run(run), base)
    show(found, format, out)
    raise typer.Exit(int(found.code))
