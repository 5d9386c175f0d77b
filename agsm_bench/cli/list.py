"""`agsm-bench list`: plugins and figures; only metrics are imported, for what they need."""

from __future__ import annotations

from typing import Annotated

import typer

from agsm_bench import plugins
from agsm_bench.errors import UserError
from agsm_bench.report import figure_files
from agsm_bench.scoring.listing import rows

FIGURES = "figures"


def list_plugins(
    kind: Annotated[
        str | None, typer.Argument(help="trainers, benchmarks, backbones, metrics, editors, detectors or figures.")
    ] = None,
) -> None:
    """List trainers, benchmarks, backbones, metrics, editors, detectors and figures, a line each."""
    kinds = (*plugins.KINDS, FIGURES)
    if kind is not None and kind not in kinds:
        raise UserError(f"There is no kind of plugin '{kind}'.", f"Known: {', '.join(kinds)}.")
    for each in [kind] if kind else kinds:
        if kind is None:
            typer.echo(f"{each}:")
        if each == FIGURES:
            _figures()
            continue
        for name in plugins.names(each):
            typer.echo(f"  {name:<14} {plugins.description(each, name)}")
            if each == "metrics":
                for row in rows(name):
                    said = f"{row.better:<6}  {row.needs:<20}  {row.weights:<15}  {row.extra}"
                    typer.echo(f"    {row.name:<28} {said}".rstrip())


def _figures() -> None:
    for name in figure_files.NAMES:
        typer.echo(f"  {name:<14} {figure_files.title(name)}")
