"""`agsm-bench list`: the plugins, read without importing them."""

from __future__ import annotations

from typing import Annotated

import typer

from agsm_bench import plugins
from agsm_bench.errors import UserError


def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="trainers, benchmarks, backbones or metrics.")] = None,
) -> None:
    """List trainers, benchmarks, backbones and metrics, each with its one-line description."""
    if kind is not None and kind not in plugins.KINDS:
        raise UserError(f"There is no kind of plugin '{kind}'.", f"Known: {', '.join(plugins.KINDS)}.")
    for each in [kind] if kind else plugins.KINDS:
        if kind is None:
            typer.echo(f"{each}:")
        for name in plugins.names(each):
            typer.echo(f"  {name:<14} {plugins.description(each, name)}")
