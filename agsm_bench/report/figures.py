"""The figures by name: those of the paper by their numbers, and two that show cells of its tables.

A figure has points (`agsm_bench.report.points`), from result files alone, and is drawn from these and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from agsm_bench.damage import conforming
from agsm_bench.errors import UserError
from agsm_bench.jsonl import write_named
from agsm_bench.report import ablations, bars, points, scatter, stability
from agsm_bench.report.drawing import missing_note
from agsm_bench.report.figure_files import NAMES, path_of, stem
from agsm_bench.report.files import readable
from agsm_bench.report.points import Point
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Run

NUMBERS = ("4", "5")
"""Those of the paper. The others need no runs but the tables'."""


class Figure(Protocol):
    """What all kinds of figures can do."""

    @property
    def title(self) -> str: ...

    @property
    def fill(self) -> str:
        """The command that measures what is missing."""

    @property
    def recipes(self) -> list[Recipe]:
        """Of all measured points."""

    def points(self, runs: Sequence[Run]) -> list[Point]:
        """All of them; one without runs says how to measure it."""

    def draw(self, points: Sequence[Point], path: Path) -> None:
        """By the suffix of `path` as PNG, SVG or PDF; the same bytes for the same points. Raises OSError."""


LOADERS: Mapping[str, Callable[[], Figure]] = dict(
    zip(NAMES, (stability.load, scatter.load, bars.load, ablations.load), strict=True)
)
DATA = ("csv", "json")
"""Forms of a figure's points."""


def load(name: str) -> Figure:
    """A figure that ships.

    Raises:
        UserError: no runs make it.
        MissingError: its file is damaged.
    """
    if name not in LOADERS:
        raise UserError(f"No runs make Figure {name}.", f"Figures that runs make: {', '.join(NAMES)}.")
    with readable(path_of(name)):
        return conforming(LOADERS[name]())


def points_of(name: str, figure: Figure, runs: Sequence[Run]) -> list[Point]:
    """The figure's points. Raises MissingError: its file names cells that no table has."""
    with readable(path_of(name)):
        return figure.points(runs)


def as_text(name: str, figure: Figure, found: Sequence[Point], form: str = "rich") -> str:
    """Points as `form` says: csv, json, or rich, which are tables for a terminal."""
    if form == "csv":
        return points.to_csv(found)
    if form == "json":
        return points.to_json(name, figure.title, found)
    note = missing_note(found, figure.fill)
    return points.to_text(f"Figure {name}. {figure.title}", found) + (f"{note}\n" if note else "")


def write(name: str, runs: Sequence[Run], folder: Path) -> list[Path]:
    """A figure as PNG, SVG, CSV and JSON in a folder, which is made where there is none. Raises OSError."""
    figure = load(name)
    found = points_of(name, figure, runs)
    folder.mkdir(parents=True, exist_ok=True)
    pictures, data = ([folder / f"{stem(name)}.{form}" for form in forms] for forms in (("png", "svg"), DATA))
    for path in pictures:
        figure.draw(found, path)
    for path in data:
        write_named(path, as_text(name, figure, found, path.suffix[1:]).encode())
    return pictures + data


def draw_all(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Every figure as `write` does, in a folder. Raises OSError."""
    return [path for name in NAMES for path in write(name, runs, folder)]
