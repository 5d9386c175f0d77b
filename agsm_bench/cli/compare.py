"""`agsm-bench compare`: whether a run is worse than its baseline beyond noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agsm_bench.cli.writable import writable
from agsm_bench.errors import UserError
from agsm_bench.jsonl import write_named

if TYPE_CHECKING:
    from agsm_bench.compare import Comparison


class Format(StrEnum):
    RICH = "rich"
    MD = "md"
    JSON = "json"
    JUNIT = "junit"


Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="A metric to test, by its name in summary.json; again for more. (default: all)"),
]
Tolerances = Annotated[
    list[str] | None,
    typer.Option("--tolerance", help="METRIC=X: a loss of at most X is no regression; again for more."),
]


def compare(
    run: Annotated[Path, typer.Argument(help="Run folder, or one that is kept without images.")],
    baseline: Annotated[Path, typer.Option(help="A file of `agsm-bench baseline`, or another run's folder.")],
    metric: Metrics = None,
    tolerance: Tolerances = None,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.RICH,
    out: Annotated[Path | None, typer.Option(help="A file to write instead of the standard output.")] = None,
) -> None:
    """Compare a run with a baseline; exit code 1 where it is worse beyond noise.

    Paired by image, prompts resampled; with several training seeds in the baseline, another seed is no regression.

    \b
    agsm-bench compare runs/agsm-geneval --baseline results/baselines/geneval-agsm-shapes-mmdit.json
    agsm-bench compare runs/new --baseline runs/old --tolerance geneval/mean=0.01
    agsm-bench compare runs/new --baseline runs/old --format junit --out compare.xml
    """
    from agsm_bench.baseline import read_side
    from agsm_bench.compare import compare as compared
    from agsm_bench.measured import read_run

    found = compared(read_run(run), read_side(baseline), metric or (), parse_tolerances(tolerance or ()))
    show(found, format, out)
    raise typer.Exit(int(found.code))


def parse_tolerances(given: Sequence[str]) -> dict[str, float]:
    """METRIC=X of each; raises UserError."""
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not 0 <= found[name] < math.inf:
            raise UserError(
                f"--tolerance is '{text}'.", "Use METRIC=X with X from 0, e.g. --tolerance geneval/mean=0.01."
            )
    return found


def show(found: Comparison, format: Format, out: Path | None) -> None:
    """Prints a comparison, or writes it to a file."""
    from agsm_bench.report import comparison

    ways = {
        Format.RICH: comparison.to_terminal,
        Format.MD: comparison.to_markdown,
        Format.JSON: comparison.to_json,
        Format.JUNIT: comparison.to_junit,
    }
    text = ways[format](found)
    if out is None:
        typer.echo(text, nl=False)
        return
    with writable(out):
        write_named(out, text.encode())
    typer.echo(comparison.headline(found), err=True)
