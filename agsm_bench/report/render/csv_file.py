"""A joined table as CSV, one line a cell, and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

from agsm_bench.report.csv_cells import guarded, unguarded
from agsm_bench.report.derived import (
    Place,
    difference_to_paper,
    measured_difference,
    measured_marks,
    published_difference,
    published_marks,
)
from agsm_bench.report.tables import JoinedSection, JoinedTable


@dataclass(frozen=True)
class Record:
    """A cell. Published values are text as printed, measured ones numbers; what is absent is empty."""

    table: int
    section: str
    row: str
    label: str
    group: str
    column: str
    heading: str
    """Of the column, in words."""
    direction: str
    """Where better is: up, down, or empty."""
    published: str = ""
    mark: str = ""
    """As printed: underline."""
    published_rank: str = ""
    """best or second of its backbone; the second as printed where the print underlines."""
    published_difference: str = ""
    """To the base row, with the decimals of the print."""
    base: str = ""
    """Key of the base row."""
    domain: str = ""
    backbone: str = ""
    variant: str = ""
    trainer: str = ""
    options: str = ""
    """What the row is about, in words."""
    metric: str = ""
    scale: float | None = None
    """Of measured values: what the metric is multiplied by."""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    measured_rank: str = ""
    measured_difference: float | None = None
    difference_to_paper: float | None = None
    runs: int | None = None
    n: int | None = None
    """Images of a run."""
    clusters: int | None = None
    """Prompts of a run."""
    used: str = ""
    """A setting of our trainings."""


def to_csv(joined: JoinedTable) -> str:
    """One line per cell; a field is empty where nothing is published or measured. Numbers keep every digit."""
    return write_csv(records(joined))


def write_csv(found: Iterable[Record]) -> str:
    """Records with a heading, also of several tables."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Record)], lineterminator="\n")
    writer.writeheader()
    # DictWriter writes a float with repr, which reads back as the same number
    writer.writerows({name: guarded(value) for name, value in asdict(record).items()} for record in found)
    return out.getvalue()


def from_csv(text: str) -> list[Record]:
    """The records that a text of `to_csv` holds, equal to those that were written.

    Raises:
        ValueError: it is no such text.
    """
    kinds = get_type_hints(Record)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    if reader.fieldnames != list(kinds):
        raise ValueError("these are not the columns of a table of agsm-bench")
    return [Record(**{name: _parsed(kinds[name], value) for name, value in row.items()}) for row in reader]


def _parsed(kind: Any, value: str | None) -> Any:
    """A field by its type; None, where a line ends early, is refused."""
    if value is None:
        raise ValueError("a line is cut short")
    if kind is str:
        return unguarded(value)
    number = int if kind is int or kind == int | None else float
    return number(value) if value else None


def records(joined: JoinedTable) -> Iterator[Record]:
    """Every cell, published, used and measured."""
    for section in joined.sections:
        published, measured, used = section.published, section.measured, section.used
        columns = {c.key: c for c in (*published.columns, *(measured.columns if measured else ()))}
        keys = [row.key for row in published.rows]
        keys += [row.key for row in measured.rows] if measured else []
        keys += [row.key for row in used.rows] if used else []
        printed, ours = _published(section), _measured(section, joined.domain) | _used(section, joined.domain)
        for key in dict.fromkeys(keys):
            for column in columns.values():
                place = (key, column.key)
                about: dict[str, Any] = {
                    "table": joined.paper.number,
                    "section": published.key,
                    "row": key,
                    "column": column.key,
                }
                about |= {"heading": column.label, "direction": column.direction or ""}
                about |= {"base": section.bases.get(key, ""), "label": "", "group": ""}
                yield Record(**about | printed.get(place, {}) | ours.get(place, {}))


def _published(section: JoinedSection) -> dict[Place, dict[str, Any]]:
    marks = published_marks(section.published)
    return {
        (row.key, column.key): {
            "label": row.label,
            "group": row.group,
            "published": row.values[column.key],
            "mark": row.marks.get(column.key, ""),
            "published_rank": marks.get((row.key, column.key), ""),
            "published_difference": published_difference(section, row, column),
        }
        for row in section.published.rows
        for column in section.published.columns
    }


def _measured(section: JoinedSection, domain: str) -> dict[Place, dict[str, Any]]:
    measured, found = section.measured, dict[Place, dict[str, Any]]()
    marks = measured_marks(measured) if measured else {}
    for row in measured.rows if measured else ():
        recipe = row.recipe
        about = {"domain": domain, "backbone": recipe.backbone, "trainer": recipe.trainer or ""}
        about |= {"variant": recipe.variant.trainer if recipe.variant else "", "options": ", ".join(row.options)}
        for column in measured.columns if measured else ():
            fields = about | {"metric": column.metric or "", "scale": column.scale}
            if cell := row.cells.get(column.key):
                value = asdict(cell)
                fields |= {"measured": value.pop("value"), **value}
                fields["measured_rank"] = marks.get((row.key, column.key), "")
                fields["measured_difference"] = measured_difference(section, row, column)
                fields["difference_to_paper"] = difference_to_paper(measured, row, column) if measured else None
            found[row.key, column.key] = fields
    return found


def _used(section: JoinedSection, domain: str) -> dict[Place, dict[str, Any]]:
    return {
        (row.key, key): {"domain": domain, "backbone": row.label, "used": value}
        for row in (section.used.rows if section.used else ())
        for key, value in row.values.items()
    }
