"""What a joined table implies and does not hold: the best of a group, and differences to its base row.

Published and measured values are each compared with their own kind. Groups are the paper's backbones, and ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, Literal

from agsm_bench.report.tables import Column, JoinedSection, Measured, MeasuredRow, Row, Section

Mark = Literal["", "best", "second"]
Place = tuple[str, str]
"""Key of a row, key of a column."""

ENOUGH = 3
"""Rows that a group needs for a second best: of two, it would be the worst."""


def published_groups(section: Section) -> list[tuple[str, list[Row]]]:
    """The rows by the paper's backbone, in order."""
    return [(group, list(rows)) for group, rows in groupby(section.rows, key=lambda row: row.group)]


def measured_groups(measured: Measured) -> list[tuple[str, list[MeasuredRow]]]:
    """The rows by our backbone, in order, the paper's before those of ours alone."""
    groups: dict[str, list[MeasuredRow]] = {}
    for row in measured.rows:
        groups.setdefault(row.recipe.backbone, []).append(row)
    return list(groups.items())


def published_marks(section: Section) -> dict[Place, Mark]:
    """The best of each group, computed, as the print's bold is not recorded; and the second best.

    Where the print underlines anything in the section the second best are its underlines, whatever they mark.
    """
    found: dict[Place, Mark] = {}
    for _, rows in published_groups(section):
        for column in section.columns:
            if column.direction:
                values = {row.key: Decimal(row.values[column.key]) for row in rows}
                found |= {(row, column.key): mark for row, mark in ranked(values, column.direction).items()}
    printed: dict[Place, Mark] = {(row.key, key): "second" for row in section.rows for key in row.marks}
    return {place: mark for place, mark in found.items() if mark == "best"} | printed if printed else found


def measured_marks(measured: Measured) -> dict[Place, Mark]:
    """The best and second best of each of our backbones, by the values alone: the intervals may overlap."""
    return {
        (row, column.key): mark
        for _, rows in measured_groups(measured)
        for column in measured.columns
        if column.direction
        for row, mark in ranked(_values(rows, column), column.direction).items()
    }


def ranked(values: Mapping[str, Any], direction: Literal["up", "down"]) -> dict[str, Mark]:
    """The best of some numbers and, of at least three, the second best; nothing where all are equal.

    Ties share their mark, and where several are best there is no second.
    """
    distinct = sorted(set(values.values()), reverse=direction == "up")
    if len(distinct) < 2:
        return {}
    best, second, *_ = distinct
    firsts: dict[str, Mark] = {key: "best" for key, value in values.items() if value == best}
    if len(values) < ENOUGH or len(firsts) > 1:
        return firsts
    return firsts | {key: "second" for key, value in values.items() if value == second}


def published_difference(section: JoinedSection, row: Row, column: Column) -> str:
    """A published value minus that of its base row, signed, with the decimals of the print; empty without one."""
    base = next((each for each in section.published.rows if each.key == section.bases.get(row.key)), None)
    if base is None or column.direction is None:
        return ""
    difference = Decimal(row.values[column.key]) - Decimal(base.values[column.key])
    return f"{difference:+f}" if difference else f"{difference:f}"


def measured_difference(section: JoinedSection, row: MeasuredRow, column: Column) -> float | None:
    """A measured value minus that of its base row; None where one of them is absent.

    It has no interval here: that of two runs of the same prompts and noise takes their scores, image by image.
    """
    rows = section.measured.rows if section.measured else ()
    base = next((each for each in rows if each.key == section.bases.get(row.key)), None)
    if base is None or column.direction is None or not {column.key} <= row.cells.keys() & base.cells.keys():
        return None
    return row.cells[column.key].value - base.cells[column.key].value


def difference_to_paper(measured: Measured, row: MeasuredRow, column: Column) -> float | None:
    """A measured value minus the published one, on photographs alone: elsewhere the two are not one metric."""
    published = row.paper.values.get(column.key) if row.paper else None
    if measured.domain != "photo" or published is None or column.key not in row.cells or column.direction is None:
        return None
    return row.cells[column.key].value - float(published)


def base_labels(section: JoinedSection) -> list[str]:
    """What the base rows are called, each name once."""
    names = {row.key: row.label for row in section.published.rows}
    used = dict.fromkeys(section.bases[key] for key in _keys(section) if key in section.bases)
    return list(dict.fromkeys(names[key] for key in used if key in names))


def _keys(section: JoinedSection) -> list[str]:
    measured = section.measured.rows if section.measured else ()
    return [*(row.key for row in section.published.rows), *(row.key for row in measured)]


def _values(rows: Sequence[MeasuredRow], column: Column) -> dict[str, float]:
    """Rounded as they are shown: what reads as equal is to have the same mark."""
    return {row.key: round(row.cells[column.key].value, column.decimals) for row in rows if column.key in row.cells}


def has_differences(section: JoinedSection, keys: Iterable[str]) -> bool:
    """Whether any of these rows is compared with another of them."""
    own = set(keys)
    return any(section.bases.get(key) in own for key in own)
