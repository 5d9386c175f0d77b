"""A joined table as JSON, and back: published values are strings as printed, measured ones numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agsm_bench.report.commands import commands
from agsm_bench.report.derived import (
    difference_to_paper,
    measured_difference,
    measured_marks,
    published_difference,
    published_marks,
)
from agsm_bench.report.recipes import Recipe, Training
from agsm_bench.report.render.notes import section_notes
from agsm_bench.report.runs import Cell
from agsm_bench.report.tables import (
    Column,
    JoinedSection,
    JoinedTable,
    Measured,
    MeasuredRow,
    PaperTable,
    Row,
    RunNote,
    Section,
)

SCHEMA = 1


def to_json(joined: JoinedTable) -> str:
    """Every value, published (strings as printed) and measured (numbers) apart."""
    return json.dumps({"schema": SCHEMA, **_table(joined)}, ensure_ascii=False, indent=2) + "\n"


def to_json_all(tables: Sequence[JoinedTable]) -> str:
    """Several tables as one list."""
    data = {"schema": SCHEMA, "tables": [_table(joined) for joined in tables]}
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> JoinedTable:
    """The table that a text of `to_json` holds, equal to the one that was written.

    Raises:
        ValueError, KeyError, TypeError: it is no such text.
    """
    data = json.loads(text)
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
    sections = tuple(map(_read_section, data["sections"]))
    paper = PaperTable(data["table"], data["caption"], tuple(s.published for s in sections), tuple(data["notes"]))
    return JoinedTable(paper, data["domain"], sections, data["stamp"])


def _table(joined: JoinedTable) -> dict[str, Any]:
    return {
        "table": joined.paper.number,
        "caption": joined.paper.caption,
        "domain": joined.domain,
        "stamp": joined.stamp,
        "sections": [_section(section, joined) for section in joined.sections],
        "notes": joined.paper.notes,
    }


def _section(section: JoinedSection, joined: JoinedTable) -> dict[str, Any]:
    published, marks = section.published, published_marks(section.published)
    data = asdict(published)
    for row, written in zip(published.rows, data["rows"], strict=True):
        found = {column.key: published_difference(section, row, column) for column in published.columns}
        written["differences"] = {key: text for key, text in found.items() if text}
        written["ranks"] = {key: marks[row.key, key] for key in row.values if (row.key, key) in marks}
    return {
        "published": data,
        "measured": _measured(section, section.measured) if section.measured else None,
        "used": asdict(section.used) if section.used else None,
        "bases": section.bases,
        "footnotes": section_notes(section, joined),
    }


def _measured(section: JoinedSection, measured: Measured) -> dict[str, Any]:
    marks = measured_marks(measured)
    rows = [
        _recipe(row.recipe)
        | {
            "key": row.key,
            "in_paper": row.paper is not None,
            "words": row.options,
            "runs": [asdict(run) for run in row.runs],
            "cells": {
                column.key: asdict(row.cells[column.key])
                | {
                    "rank": marks.get((row.key, column.key), ""),
                    "difference": measured_difference(section, row, column),
                    "to_paper": difference_to_paper(measured, row, column),
                }
                for column in measured.columns
                if column.key in row.cells
            },
            "command": commands(row.recipe),
        }
        for row in measured.rows
    ]
    return {
        "domain": measured.domain,
        "benchmark": measured.benchmark,
        "protocol": measured.protocol,
        "columns": [asdict(column) for column in measured.columns],
        "rows": rows,
        "left_out": [{"name": name, "reason": reason} for name, reason in measured.left_out],
    }


def _recipe(recipe: Recipe) -> dict[str, Any]:
    tuned = recipe.variant
    return {
        "backbone": recipe.backbone,
        "variant": tuned and {"trainer": tuned.trainer, "options": dict(tuned.options), "pairs": dict(tuned.pairs)},
        "trainer": recipe.trainer,
        "options": dict(recipe.training),
        "evaluation": dict(recipe.evaluation),
        "editing": dict(recipe.editing),
        "model": dict(recipe.model),
    }


def _read_section(data: Mapping[str, Any]) -> JoinedSection:
    published = _read_published(data["published"])
    measured = _read_measured(data["measured"], published) if data["measured"] else None
    used = _read_published(data["used"]) if data["used"] else None
    return JoinedSection(published, measured, data["bases"], used)


def _read_published(data: Mapping[str, Any]) -> Section:
    columns = tuple(Column(**column) for column in data["columns"])
    rows = tuple(
        Row(*(row[name] for name in ("key", "group", "label", "cite", "values", "marks"))) for row in data["rows"]
    )
    return Section(data["key"], data["title"], data["row_header"], columns, rows)


def _read_measured(data: Mapping[str, Any], published: Section) -> Measured:
    printed = {row.key: row for row in published.rows}
    rows = tuple(
        MeasuredRow(
            row["key"],
            printed[row["key"]] if row["in_paper"] else None,
            tuple(row["words"]),
            _read_recipe(row, data["benchmark"]),
            tuple(map(_read_run, row["runs"])),
            {key: _read_cell(cell) for key, cell in row["cells"].items()},
        )
        for row in data["rows"]
    )
    columns = tuple(Column(**column) for column in data["columns"])
    left_out = tuple((each["name"], each["reason"]) for each in data["left_out"])
    return Measured(data["domain"], data["benchmark"], columns, rows, left_out, tuple(data["protocol"]))


def _read_recipe(row: Mapping[str, Any], benchmark: str) -> Recipe:
    backbone, tuned = row["backbone"], row["variant"]
    variant = tuned and Training(
        tuned["trainer"], backbone, tuple(tuned["options"].items()), tuple(tuned["pairs"].items())
    )
    names = ("options", "evaluation", "editing", "model")
    options, evaluation, editing, model = (tuple(row[name].items()) for name in names)
    return Recipe(benchmark, backbone, row["trainer"], options, evaluation, variant, editing, model)


def _read_run(data: Mapping[str, Any]) -> RunNote:
    return RunNote(**{**data, "seeds": tuple(data["seeds"]), "warnings": tuple(data["warnings"])})


def _read_cell(data: Mapping[str, Any]) -> Cell:
    return Cell(**{name: data[name] for name in Cell.__dataclass_fields__})
