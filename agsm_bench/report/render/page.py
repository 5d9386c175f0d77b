"""Joined tables as one HTML page that needs no script, no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from agsm_bench.report.render.grid import grids, spans
from agsm_bench.report.render.notes import section_notes, to_fill
from agsm_bench.report.tables import JoinedTable

if TYPE_CHECKING:
    from jinja2 import Template


def to_html(joined: JoinedTable) -> str:
    """A page of one table."""
    return page([joined], f"Table {joined.paper.number}")


def page(tables: Sequence[JoinedTable], title: str = "Tables 1 to 13") -> str:
    """A page of several tables, with links to each of them."""
    return _template().render(
        title=f"{title}: published, and measured on {tables[0].domain}",
        tables=[(joined, [_section(joined, index) for index in range(len(joined.sections))]) for joined in tables],
    )


@cache
def _template() -> Template:
    """Compiled once for the pages of all tables."""
    from agsm_bench.report.pages import environment

    return environment().get_template("tables.html")


def _section(joined: JoinedTable, index: int) -> dict[str, object]:
    section = joined.sections[index]
    drawn = [(grid, list(spans(grid.heads))) for grid in grids(section, joined.domain)]
    return {"grids": drawn, "notes": section_notes(section, joined), "commands": to_fill(section)}
