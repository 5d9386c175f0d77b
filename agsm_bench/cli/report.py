"""`agsm-bench report`: a table of the paper, and beside it what our runs measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    table: Annotated[int | None, typer.Option(help="The paper's table, 1..13.")] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="4, 5, geneval or ablations; --out with .png, .svg or .pdf draws it."),
    ] = None,
    domain: Annotated[DomainName, typer.Option(help="Where the measured values come from.")] = DomainName.SHAPES,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.RICH,
    runs: Annotated[list[Path] | None, typer.Option(help="A further run folder; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file to write instead of the standard output.")] = None,
) -> None:
    """Print a table or figure of the paper with what our runs measured.

    agsm-bench report --table 1

    agsm-bench report --table 1 --format md --out table1.md

    agsm-bench report --figure 4 --out figure4.png
    """
    if (table is None) == (figure is None):
        raise UserError("Which table?", "Use either --table N or --figure N.")
    if figure is not None:
        _figure(figure, format, domain, runs or (), out)
        return
    assert table is not None
    name: Domain = "shapes" if domain is DomainName.SHAPES else "photo"
    # an unknown table is said before any run is read
    tables.load_paper(table)
    joined = tables.join(table, name, find_runs(runs or ()))
    text = terminal(joined, to_file=out is not None) if format is Format.RICH else TEXTS[format](joined)
    if out is None:
        typer.echo(text, nl=False)
        return
    with writable(out):
        out.write_text(text, encoding="utf-8")


def _figure(name: str, format: Format, domain: DomainName, runs: Sequence[Path], out: Path | None) -> None:
    from agsm_bench.cli.figures import show

    if domain is not DomainName.SHAPES:
        raise UserError("Figures measure on the shapes domain.", "Use --domain shapes.")
    with writable(out) if out else nullcontext():
        show(name, format, runs, out)


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Around writing a file that the user named."""
    try:
        yield
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
