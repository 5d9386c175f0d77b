"""`agsm-bench list`: the plugins; only metrics are imported, for what they need."""

from __future__ import annotations

from typing import Annotated

import typer

from agsm_bench import plugins
from agsm_bench.errors import UserError
from agsm_bench.scoring.listing import rows


def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="trainers, benchmarks, backbones, metrics or detectors.")] = None,
) -> None:
    """List trainers, benchmarks, backbones, metrics and detectors, each with its one-line description."""
    if kind is not None and kind not in plugins.KINDS:
        raise UserError(f"There is no kind of plugin '{kind}'.", f"Known: {', '.join(plugins.KINDS)}.")
    for each in [kind] if kind else plugins.KINDS:
        if kind is None:
            typer.echo(f"{each}:")
        for name in plugins.names(each):
            typer.echo(f"  {name:<14} {plugins.description(each, name)}")
            if each == "metrics":
                for row in rows(name):
                    said = f"{row.better:<6}  {row.needs:<20}  {row.weights:<15}  {row.extra}"
                    typer.echo(f"    {row.name:<28} {said}".rstrip())
