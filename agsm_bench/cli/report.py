"""`agsm-bench report`: a table of the paper, and beside it what our runs measured."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.errors import UserError
from agsm_bench.report import render, tables
from agsm_bench.report.runs import find_runs
from agsm_bench.types import Domain


class DomainName(StrEnum):
    SHAPES = "shapes"
    PHOTO = "photo"


class Format(StrEnum):
    RICH = "rich"
    MD = "md"
    CSV = "csv"
    JSON = "json"


WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
TEXTS = {Format.MD: render.to_markdown, Format.CSV: render.to_csv, Format.JSON: render.to_json}


def report(
    table: Annotated[int, typer.Option(help="The paper's table, 1..13.")],
    domain: Annotated[DomainName, typer.Option(help="Where the measured values come from.")] = DomainName.SHAPES,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.RICH,
    runs: Annotated[list[Path] | None, typer.Option(help="A further run folder; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file to write instead of the standard output.")] = None,
) -> None:
    """Print a table of the paper with what our runs measured.

    agsm-bench report --table 1

    agsm-bench report --table 1 --format md --out table1.md
    """
    name: Domain = "shapes" if domain is DomainName.SHAPES else "photo"
    # an unknown table is said before any run is read
    tables.load_paper(table)
    joined = tables.join(table, name, find_runs(runs or ()))
    text = terminal(joined, to_file=out is not None) if format is Format.RICH else TEXTS[format](joined)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}).", "Choose another --out.") from error


def terminal(joined: tables.JoinedTable, to_file: bool = False) -> str:
    """The table as it is printed on the terminal, or, without one, for a file."""
    from rich.console import Console

    console = Console(highlight=False, force_terminal=False if to_file else None)
    if not console.is_terminal:
        console.width = WIDTH
    with console.capture() as captured:
        console.print(render.to_rich(joined, console.width), crop=False)
    return captured.get()
