"""`agsm-bench baseline`: keep what a run measured, to compare later ones with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.cli.compare import Metrics, Tolerances, parse_tolerances


def baseline(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that differ in their training seeds alone.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    metric: Metrics = None,
    tolerance: Tolerances = None,
) -> None:
    """Keep what runs measured in one small file, to compare later runs with.

    It has every score, and is sealed by its own hash.
    Name several training seeds, five or more, and comparisons allow for what another seed changes. The metrics and
    tolerances given here are what later comparisons test.

    \b
    agsm-bench baseline runs/agsm-geneval-{0,1,2,3,4} --out baselines/agsm.json
    agsm-bench baseline runs/geneval-sd15 --metric geneval/mean --tolerance geneval/mean=0.01 --out baselines/sd15.json
    """
    from agsm_bench.baseline import joined, write_baseline
    from agsm_bench.compare import check_names
    from agsm_bench.measured import prompt_tags, quantities, read_run

    found = joined([read_run(folder) for folder in runs])
    gate = dict.fromkeys(metric or (), 0.0) | parse_tolerances(tolerance or ())
    # what has no value by image or group cannot be compared with a file
    check_names(gate, quantities(found.columns, prompt_tags(found.spec, found.samples)))
    write_baseline(found, gate, out)
    runs_of = f"{found.seeds} training seeds" if found.seeds > 1 else "one run"
    typer.echo(f"{out}: {found.spec.benchmark} on {found.spec.backbone}, {runs_of}, {out.stat().st_size:,} bytes")
