"""`agsm-bench report`: a table of the paper, and beside it what our runs measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.cli.writable import writable
from agsm_bench.errors import UserError
from agsm_bench.jsonl import write_named
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
    LATEX = "latex"
    HTML = "html"


def report(
    table: Annotated[int | None, typer.Option(help="The paper's table, 1..13.")] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="4, 5, geneval or ablations; --out with .png, .svg or .pdf draws it."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All tables; --out is a folder then.")] = False,
    domain: Annotated[DomainName, typer.Option(help="Where the measured values come from.")] = DomainName.SHAPES,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.RICH,
    runs: Annotated[list[Path] | None, typer.Option(help="A further run folder; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file to write instead of the standard output; with --all a folder.")
    ] = None,
) -> None:
    """Print tables or a figure of the paper with what our runs measured.

    agsm-bench report --table 1

    agsm-bench report --table 1 --format md --out table1.md

    agsm-bench report --all --format html --out tables

    agsm-bench report --figure 4 --out figure4.png
    """
    if (table is not None) + (figure is not None) + everything != 1:
        raise UserError("Which table?", "Use one of --table N, --figure NAME and --all.")
    if figure is not None:
        _figure(figure, format, domain, runs or (), out)
        return
    numbers = [*tables.NUMBERS] if table is None else [table]
    for number in numbers:
        tables.load_paper(number)  # an unknown table is said before any run is read
    name: Domain = "shapes" if domain is DomainName.SHAPES else "photo"
    found = find_runs(runs or ())
    joined = [tables.join(number, name, found) for number in numbers]
    if out is None:
        typer.echo(render.all_as_text(joined, format) if everything else render.as_text(joined[0], format), nl=False)
    elif everything:
        with writable(out):
            render.write_folder(joined, format, out)
    else:
        with writable(out):
            write_named(out, render.FORMS[format](joined[0]).encode())


def _figure(name: str, format: Format, domain: DomainName, runs: Sequence[Path], out: Path | None) -> None:
    from agsm_bench.cli.figures import show

    if domain is not DomainName.SHAPES:
        raise UserError("Figures measure on the shapes domain.", "Use --domain shapes.")
    with writable(out) if out else nullcontext():
        show(name, format, runs, out)
