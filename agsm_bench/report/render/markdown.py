"""A joined table in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from agsm_bench.report.render.grid import Entry, Grid, grids
from agsm_bench.report.render.notes import section_notes, to_fill
from agsm_bench.report.tables import JoinedTable

MARKS = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}


def to_markdown(joined: JoinedTable) -> str:
    """A heading, tables, notes and commands."""
    lines = [f"**Table {joined.paper.number}.** {joined.paper.caption}"]
    for section in joined.sections:
        for grid in grids(section, joined.domain):
            lines += ["", f"### {grid.title}", "", *_table(grid)]
        if notes := section_notes(section, joined):
            lines += ["", *(f"- {note}" for note in notes)]
        if commands := to_fill(section):
            lines += ["", "```", *commands, "```"]
    if joined.paper.notes:
        lines += ["", "Notes on the print:", "", *(f"- {note}" for note in joined.paper.notes)]
    return "\n".join(lines) + "\n"


def _table(grid: Grid) -> list[str]:
    """A heading that columns share is said in each of them: Markdown has no rows of headings."""
    grouped = any(name for name, _ in grid.blocks)
    kind = f" ({grid.kind})" if grid.kind.startswith("measured") else ""
    heads = [": ".join(filter(None, [head.group, f"{head.label} {head.arrow}".strip()])) + kind for head in grid.heads]
    rows = [["Backbone"] * grouped + [*grid.corner, *heads]]
    left = len(rows[0]) - sum(head.is_number for head in grid.heads)
    rows.append([":--" if i < left else "--:" for i in range(len(rows[0]))])
    for name, lines in grid.blocks:
        for line in lines:
            rows.append([name] * grouped + [*map(_joined, line.names), *map(_entry, line.entries)])
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _entry(entry: Entry) -> str:
    value, *below = entry.lines
    return _joined((MARKS[entry.mark].format(value), *below))


def _joined(lines: Sequence[str]) -> str:
    first, *more = lines
    return " ".join([first, *(text if text.startswith("(") else f"({text})" for text in more)])
