"""`agsm-bench leaderboard`: one sorted table of many runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.cli.writable import writable
from agsm_bench.jsonl import write_named


class Format(StrEnum):
    RICH = "rich"
    MD = "md"
    CSV = "csv"
    JSON = "json"
    MODEL_INDEX = "model-index"


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one benchmark and domain.")],
    metric: Annotated[
        str | None, typer.Option(help="What to sort by, as summary.json names it. (default: the benchmark's)")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge/--no-merge", help="Training seeds as one row.")] = True,
    format: Annotated[Format, typer.Option(help="How to print it; model-index: for a model card on the hub.")] = (
        Format.RICH
    ),
    out: Annotated[Path | None, typer.Option(help="A file to write instead of the standard output.")] = None,
) -> None:
    """One sorted table of many runs, also as a model card's metadata.

    The best is first; what does not differ from it beyond noise is marked.

    \b
    agsm-bench leaderboard results/runs/geneval-*
    agsm-bench leaderboard runs/*-geneval --metric denoising/gap --format md --out leaderboard.md
    agsm-bench leaderboard runs/agsm-geneval-{0,1,2} --format model-index
    """
    from agsm_bench.report import leaderboard_text as texts
    from agsm_bench.report.leaderboard import leaderboard as ranked

    ways = {
        Format.RICH: texts.to_terminal,
        Format.MD: texts.to_markdown,
        Format.CSV: texts.to_csv,
        Format.JSON: texts.to_json,
        Format.MODEL_INDEX: texts.to_model_index,
    }
    text = ways[format](ranked(runs, metric, merge=merge))
    if out is None:
        typer.echo(text, nl=False)
        return
    with writable(out):
        write_named(out, text.encode())
