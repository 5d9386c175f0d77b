"""A joined table for the terminal: rich's styles, on lines that are laid out here.

No cell is ever wrapped: a grid that is wider than the terminal is cut between its columns. rich's own tables measure
and wrap each cell several times, which for all thirteen tables takes longer than everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from agsm_bench.report.render.grid import (
    GAP,
    Grid,
    Line,
    fitting,
    grids,
    rooms,
    spans,
)
from agsm_bench.report.render.notes import section_notes, to_fill
from agsm_bench.report.tables import JoinedSection, JoinedTable
from agsm_bench.terminal import plain_console

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
STYLES = {"": "", "best": "bold", "second": "underline"}


class Piece(NamedTuple):
    """A line of a cell."""

    text: str
    style: str = ""


def to_rich(joined: JoinedTable, width: int) -> Group:
    """What to print on a terminal `width` columns wide."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    blocks: list[RenderableType] = [Text(f"Table {joined.paper.number}. {joined.paper.caption}", "bold"), ""]
    blocks += [Text(joined.stamp, "bold yellow"), ""] if joined.stamp else []
    for section in joined.sections:
        blocks += _tables(section, joined, width)
        blocks += [Padding(Text(s, "dim"), (0, 0, 0, 1)) for s in section_notes(section, joined)]
        # no wrapping: a command broken over lines cannot be pasted
        blocks += [Text(f"   {line}", "cyan", no_wrap=True, overflow="ignore") for line in to_fill(section)]
        blocks.append("")
    blocks += [Padding(Text(f"Note: {note}", "dim"), (0, 0, 0, 1)) for note in joined.paper.notes]
    return Group(*blocks)


def to_terminal(joined: JoinedTable, to_file: bool = False) -> str:
    """The table as it is printed on the terminal, or, without one, for a file."""
    console = plain_console(highlight=False, force_terminal=False if to_file else None)
    if not console.is_terminal:
        console.width = WIDTH
    with console.capture() as captured:
        console.print(to_rich(joined, console.width), crop=False)
    return captured.get()


def _tables(section: JoinedSection, joined: JoinedTable, width: int) -> Iterator[Text]:
    for grid in grids(section, joined.domain):
        measured = grid.kind.startswith("measured")
        stamp = f" · {joined.stamp}" if measured and joined.stamp else ""
        yield from _parts(grid, width, joined.domain * measured, stamp)


def _parts(grid: Grid, width: int, below: str, stamp: str) -> Iterator[Text]:
    """The grid, cut where it is too wide; `below` stands under every column's heading."""
    from rich.text import Text

    names = _columns_of_names(grid)
    used = sum(_width(column) + GAP for column in names)
    for index, part in enumerate(fitting(grid, width - used)):
        title = part.title + ", continued" * bool(index) + stamp
        text = Text(title, "bold", no_wrap=True, overflow="ignore")
        for line in _lines(part, names, below):
            yield text
            text = _text(line)
        yield text.append("\n")


def _text(line: Sequence[Piece]) -> Text:
    from rich.text import Text

    text, place = Text("".join(piece.text for piece in line).rstrip(), no_wrap=True, overflow="ignore"), 0
    for piece in line:
        if piece.style:
            text.stylize(piece.style, place, place + len(piece.text))
        place += len(piece.text)
    return text


def _lines(grid: Grid, names: Sequence[Sequence[Sequence[Piece]]], below: str) -> Iterator[list[Piece]]:
    """Every line of the drawing, as pieces."""
    columns = [*names, *(_column(grid, index, below) for index in range(len(grid.heads)))]
    widths = [*map(_width, names), *rooms(grid.heads)]
    right = [False] * len(names) + [head.is_number for head in grid.heads]
    rows = iter(zip(*columns, strict=True))
    if any(head.group for head in grid.heads):
        yield _shared_headings(grid, widths)
    yield from _row(next(rows), widths, right, at_the_bottom=True)
    yield [Piece("─" * (sum(widths) + GAP * (len(widths) - 1)), "dim")]
    for number, (group, lines) in enumerate(grid.blocks):
        if group:
            yield from [[Piece("")]] * bool(number)
            yield [Piece(group, "bold")]
        for cells in islice(rows, len(lines)):
            yield from _row(cells, widths, right)


def _shared_headings(grid: Grid, widths: Sequence[int]) -> list[Piece]:
    """Each in the middle of a rule over its columns."""
    first = len(grid.corner)
    line = [Piece(" " * sum(width + GAP for width in widths[:first]))]
    for group, count in spans(grid.heads):
        room = sum(widths[first : first + count]) + GAP * (count - 1)
        line.append(Piece(f" {group} ".center(room, "─") if len(group) + 2 < room else group.ljust(room), ""))
        line.append(Piece(" " * GAP))
        first += count
    return [piece if piece.text.strip("─ ") else Piece(" " * len(piece.text)) for piece in line]


def _row(
    cells: Sequence[Sequence[Piece]], widths: Sequence[int], right: Sequence[bool], at_the_bottom: bool = False
) -> Iterator[list[Piece]]:
    """A row of cells, as many lines as the highest has."""
    height = max(map(len, cells))
    for number in range(height):
        line: list[Piece] = []
        for cell, width, is_right in zip(cells, widths, right, strict=True):
            index = number - (height - len(cell)) * at_the_bottom
            piece = cell[index] if 0 <= index < len(cell) else Piece("")
            space = Piece(" " * (width - len(piece.text)))
            line += [*([space, piece] if is_right else [piece, space]), Piece(" " * GAP)]
        yield line


def _columns_of_names(grid: Grid) -> list[list[list[Piece]]]:
    """The columns with the rows' names: the heading, and then a cell a row."""
    lines = _all_lines(grid)
    return [
        [
            [Piece(name)],
            *([Piece(text, "dim" * bool(i)) for i, text in enumerate(line.names[column])] for line in lines),
        ]
        for column, name in enumerate(grid.corner)
    ]


def _column(grid: Grid, index: int, below: str) -> list[list[Piece]]:
    """A column of values: the heading, and then a cell a row."""
    head = grid.heads[index]
    # the space lets a narrow column break the heading there
    words = [*wrap(head.label.replace("/", "/ "), head.room), f"{head.arrow} {below}".strip()]
    cells = [[Piece(text) for text in words if text]]
    for line in _all_lines(grid):
        entry = line.entries[index]
        first, *more = entry.lines
        cells.append([Piece(first, STYLES[entry.mark]), *(Piece(text, "dim") for text in more)])
    return cells


def _all_lines(grid: Grid) -> list[Line]:
    return [line for _, lines in grid.blocks for line in lines]


def _width(column: Sequence[Sequence[Piece]]) -> int:
    return max(len(piece.text) for cell in column for piece in cell)
