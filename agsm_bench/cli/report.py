"""`agsm-bench report`: a table of the paper, and beside it what our runs measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agsm_bench.errors import UserError
from agsm_bench.report import render, tables
from agsm_bench.report.runs import Cell, Run, find_runs
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


WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
PICTURES = (".png", ".svg", ".pdf")


def report(
    table: Annotated[int | None, typer.Option(help="The paper's table, 1..13.")] = None,
    figure: Annotated[
        int | None,
        typer.Option(help="The paper's figure, 4 or 5; --out with .png, .svg or .pdf draws it."),
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
        raise UserError("Which table?", "Use either --table N or --figure N, or --all.")
    if figure is not None:
        _figure(figure, format, runs or (), out)
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
            out.write_text(render.FORMS[format](joined[0]), encoding="utf-8")


def _figure(number: int, format: Format, runs: Sequence[Path], out: Path | None) -> None:
    from agsm_bench.report import figures, scatter

    if format not in (Format.RICH, Format.CSV):
        raise UserError(f"A figure has no {format} form.", "Use --format csv, or --out with .png, .svg or .pdf.")
    if out is not None and out.suffix not in PICTURES:
        raise UserError(f"{out} names no kind of picture.", f"Let --out end with one of {', '.join(PICTURES)}.")
    if number in scatter.NUMBERS:
        _scatter(number, format, runs, out)
        return
    figure, found = figures.load_figure(number), find_runs(runs)
    if out is None:
        measured = figures.measure(figure, found)
        text = figures.to_csv(figure.metric, measured) if format is Format.CSV else figure_text(number, found)
        typer.echo(text, nl=False)
        return
    with writable(out):
        figures.draw(figure, figures.measure(figure, found), out)


def _scatter(number: int, format: Format, runs: Sequence[Path], out: Path | None) -> None:
    from agsm_bench.report import scatter

    figure, found = scatter.load_scatter(number), find_runs(runs)
    if out is None:
        text = scatter.to_csv(figure, found) if format is Format.CSV else figure_text(number, found)
        typer.echo(text, nl=False)
        return
    with writable(out):
        scatter.draw(figure, found, out)


def figure_text(number: int, runs: Sequence[Run]) -> str:
    """A figure's points as a table, with 95% intervals."""
    from agsm_bench.report import scatter

    return _points_text(number, runs) if number in scatter.NUMBERS else _steps_text(number, runs)


def _points_text(number: int, runs: Sequence[Run]) -> str:
    """A row a point."""
    from rich.console import Console
    from rich.table import Table

    from agsm_bench.report import scatter

    console = Console(highlight=False, width=WIDTH)
    with console.capture() as captured:
        figure = scatter.load_scatter(number)
        for panel in figure.panels:
            names = ("", "tokens", f"{panel.x.label} ↓", f"{panel.y.label} ↑", "runs")
            table = Table(*names, title=f"Figure {number}. {panel.title}", box=None)
            for each in scatter.measure(panel, runs):
                values = [
                    f"{axis.scale * cell.value:.3g} ({axis.scale * cell.low:.3g} to {axis.scale * cell.high:.3g})"
                    for axis, cell in ((panel.x, each.x), (panel.y, each.y))
                ]
                table.add_row(each.point.group, each.point.series, *values, str(each.y.runs))
            console.print(table)
    return captured.get()


def _steps_text(number: int, runs: Sequence[Run]) -> str:
    """A row a step, in per cent."""
    from rich.console import Console
    from rich.table import Table

    from agsm_bench.report import figures

    figure = figures.load_figure(number)
    cells = {each.line.label: dict(each.cells) for each in figures.measure(figure, runs)}
    table = Table("step", *cells, title=f"Figure {number}. {figure.title}: {figure.label}, %", box=None)
    for step in dict.fromkeys(step for line in figure.lines for step, _ in line.points):
        table.add_row(str(step), *(_point(found.get(step)) for found in cells.values()))
    console = Console(highlight=False, width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _point(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    runs = f"{cell.runs} run" + "s" * (cell.runs > 1)
    return f"{100 * cell.value:.1f} ({100 * cell.low:.1f} to {100 * cell.high:.1f}, {runs})"


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Around writing a file that the user named."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}).", "Choose another --out.") from error
