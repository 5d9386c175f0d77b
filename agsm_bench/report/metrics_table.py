"""Tables for the terminal of metrics of images: a collection's scores, and what metrics there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

ARROWS = {"up": "↑", "down": "↓", "neither": ""}
REASONS = 5
"""Unscored images that are named."""


def scores_table(summary: Mapping[str, Any]) -> Table:
    """The table of what `score --images` found."""
    from rich.text import Text

    title = f"{summary['images']} images"
    table = _table(title, [*summary["warnings"], *unscored_lines(summary["unscored"])])
    for head in ("metric", "", "value", "95% interval", "images", "unscored"):
        table.add_column(head, justify="left" if head in ("metric", "") else "right", no_wrap=head == "metric")
    for name, found in summary["metrics"].items():
        scale, counts = found["table_scale"], (str(found["n"]), str(found["unscored"] or ""))
        value, *ends = (scaled(found[key], scale) for key in ("value", "low", "high"))
        table.add_row(Text(name), ARROWS[found["better"]], value, " to ".join(ends), *counts)
    return table


def unscored_lines(unscored: list[Mapping[str, Any]]) -> Iterable[str]:
    """What could not be scored, the first few by name."""
    for score in unscored[:REASONS]:
        yield f"unscored: {score['sample_id']} by {score['metric']}: {score['reason']}"
    if len(unscored) > REASONS:
        yield f"... and {len(unscored) - REASONS} more; scores.jsonl has all."


def scaled(value: float | None, scale: float) -> str:
    """As the tables show it: four digits that count."""
    return "–" if value is None else f"{value * scale:.4g}"


def _table(title: str, quiet: Iterable[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    caption = Text("\n").join(Text(line, "yellow") for line in quiet)
    table = Table(title=Text(title, "bold"), caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    return table
