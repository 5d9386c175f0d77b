"""`agsm-bench report --figure`: a figure as a picture, as data, or all of these in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from agsm_bench.errors import UserError
from agsm_bench.jsonl import write_named
from agsm_bench.report import figures
from agsm_bench.report.drawing import PICTURES
from agsm_bench.report.figures import DATA
from agsm_bench.report.runs import find_runs

ENDINGS = f"Let --out end with one of {', '.join((*PICTURES, *(f'.{each}' for each in DATA)))}, or name a folder."


def show(name: str, format: str, runs: Sequence[Path], out: Path | None) -> None:
    """Prints a figure's points, or writes it to a file by its suffix, or in every form into a folder.

    Args:
        name: of `figure_files.NAMES`.
        format: rich, csv or json.
        runs: further run folders.
        out: a picture, a .csv or .json, or a folder.
    """
    figure = figures.load(name)
    form = _form(format, out)
    found = find_runs(runs)
    if out and form == "folder":
        figures.write(name, found, out)
        return
    points = figures.points_of(name, figure, found)
    if out is None:
        typer.echo(figures.as_text(name, figure, points, form), nl=False)
    elif form == "picture":
        figure.draw(points, out)
    else:
        write_named(out, figures.as_text(name, figure, points, form).encode())


def _form(format: str, out: Path | None) -> str:
    """rich, csv, json, picture or folder."""
    if format not in ("rich", *DATA):
        raise UserError(f"A figure has no {format} form.", "Use csv or json, or --out with .png, .svg or .pdf.")
    suffix = out.suffix if out else ""
    if format in DATA:
        if suffix in PICTURES:
            raise UserError(f"{out} is a picture, not {format}.", f"Leave out --format, or end --out with .{format}.")
        return format
    if out is None or suffix[1:] in DATA:
        return suffix[1:] or "rich"
    if out.is_dir() or not suffix:
        return "folder"
    if suffix not in PICTURES:
        raise UserError(f"{out} names no kind of picture.", ENDINGS)
    return "picture"
