"""A joined table as text: rich for the terminal, Markdown, CSV and JSON.

Published and measured values never share a column. People read measured values with the column's decimals; CSV and
JSON keep every digit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from agsm_bench.report.commands import commands
from agsm_bench.report.tables import Column, JoinedSection, JoinedTable, Measured, MeasuredRow, Section

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

ARROWS = {"up": " ↑", "down": " ↓", None: ""}
NOTHING = "-"
CSV_FIELDS = (
    *("table", "section", "row", "label", "group", "column", "direction", "published", "mark"),
    *("domain", "backbone", "variant", "trainer", "metric"),
    *("measured", "low", "high", "interval", "runs", "n", "clusters"),
)


def to_rich(joined: JoinedTable, width: int) -> Group:
    """What to print on a terminal `width` columns wide."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    blocks: list[RenderableType] = [Text(f"Table {joined.paper.number}. {joined.paper.caption}", "bold"), ""]
    blocks += [Text(joined.stamp, "bold yellow"), ""] if joined.stamp else []
    for section in joined.sections:
        blocks.append(_rich_published(section.published))
        if section.measured:
            blocks += _rich_measured(section.measured, width, joined.stamp)
        blocks += [Padding(Text(s, "dim"), (0, 0, 0, 1)) for s in _section_notes(section, joined)]
        # no wrapping: a command broken over lines cannot be pasted
        blocks += [Text(f"   {line}", "cyan", no_wrap=True, overflow="ignore") for line in _to_fill(section)]
        blocks.append("")
    blocks += [Padding(Text(f"Note: {note}", "dim"), (0, 0, 0, 1)) for note in joined.paper.notes]
    return Group(*blocks)


def to_markdown(joined: JoinedTable) -> str:
    """GitHub's Markdown."""
    lines = [f"**Table {joined.paper.number}.** {joined.paper.caption}"]
    for section in joined.sections:
        lines += ["", f"### {_published_title(section.published)}", "", *_md_published(section.published)]
        if section.measured:
            lines += ["", f"### Measured on {joined.domain}", "", *_md_measured(section.measured)]
        lines += ["", *(f"- {note}" for note in _section_notes(section, joined))]
        if commands := _to_fill(section):
            lines += ["", "```", *commands, "```"]
    if joined.paper.notes:
        lines += ["", "Notes on the print:", "", *(f"- {note}" for note in joined.paper.notes)]
    return "\n".join(lines) + "\n"


def to_csv(joined: JoinedTable) -> str:
    """One line per cell; a field is empty where nothing is published or measured."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for section in joined.sections:
        for record in _records(section):
            writer.writerow({"table": joined.paper.number, "section": section.published.key, **record})
    return out.getvalue()


def to_json(joined: JoinedTable) -> str:
    """Every value, published (strings as printed) and measured (numbers) apart."""
    data = {
        "schema": 1,
        "table": joined.paper.number,
        "caption": joined.paper.caption,
        "domain": joined.domain,
        "sections": [
            {
                "published": asdict(section.published),
                "measured": _measured_json(section.measured) if section.measured else None,
                "footnotes": _section_notes(section, joined),
            }
            for section in joined.sections
        ],
        "notes": joined.paper.notes,
    }
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _measured_json(measured: Measured) -> dict[str, Any]:
    rows = [
        {
            "key": row.key,
            "in_paper": row.paper is not None,
            "backbone": row.recipe.backbone,
            "variant": tuned and {"trainer": tuned.trainer, "options": dict(tuned.options)},
            "trainer": row.recipe.trainer,
            "options": dict(row.recipe.training),
            "evaluation": dict(row.recipe.evaluation),
            "runs": [{"name": run.folder.name, "identity": run.identity} for run in row.runs],
            "cells": {key: asdict(cell) for key, cell in row.cells.items()},
            "command": commands(row.recipe),
        }
        for row, tuned in ((row, row.recipe.variant) for row in measured.rows)
    ]
    left_out = [{"name": run.folder.name, "reason": reason} for run, reason in measured.left_out]
    columns = [asdict(column) for column in measured.columns]
    return {"domain": measured.domain, "columns": columns, "rows": rows, "left_out": left_out}


def _records(section: JoinedSection) -> Iterator[dict[str, Any]]:
    published, measured = section.published, section.measured
    filled = {row.key: row for row in measured.rows} if measured else {}
    columns = {c.key: c for c in (*published.columns, *(measured.columns if measured else ()))}
    printed = {row.key: row for row in published.rows}
    for key in [*printed, *(key for key in filled if key not in printed)]:
        row, ours = printed.get(key), filled.get(key)
        for column in columns.values():
            record: dict[str, Any] = {"row": key, "column": column.key, "direction": column.direction}
            if row:
                record |= {"label": row.label, "group": row.group, "mark": row.marks.get(column.key, "")}
                record["published"] = row.values.get(column.key, "")
            if ours and measured and column.metric:
                record |= {"domain": measured.domain, "metric": column.metric}
                record |= {"backbone": ours.recipe.backbone, "trainer": ours.recipe.trainer}
                record["variant"] = ours.recipe.variant and ours.recipe.variant.trainer
                if cell := ours.cells.get(column.key):
                    record |= {"measured": cell.value, **asdict(cell)}
            yield record


def _section_notes(section: JoinedSection, joined: JoinedTable) -> list[str]:
    measured, domain = section.measured, joined.domain
    if measured is None:
        metrics = any(column.direction for column in section.published.columns)
        return [f"Nothing of this section is measured on {domain}."] if metrics else []
    notes = [joined.stamp] if joined.stamp else []
    notes.append(
        f"Published: the paper's numbers, on photos. Measured on {domain}: our runs. "
        "Compare the differences between rows, not the values."
    )
    notes += _unmeasured(section.published, measured)
    for backbone, rows in _by_backbone(measured):
        groups = ", ".join(dict.fromkeys(row.paper.group for row in rows if row.paper))
        place = f"stands for the paper's {groups}" if groups else "is not in the paper"
        notes.append(f"{backbone} {place}.")
    if any(row.cells for row in measured.rows):
        notes.append(
            "low–high: the 95% interval: of one run by bootstrap over prompts; of several, whose mean is shown, over "
            "prompts and training seeds (Student's). n: images of a run."
        )
    used = [run for row in measured.rows for run in row.runs]
    notes += [f"{run.folder.name}: {run.unscored} images unscored." for run in used if run.unscored]
    notes += [f"{run.folder.name}: {warning}" for run in used for warning in run.warnings]
    if measured.left_out:
        names = ", ".join(f"{run.folder.name} ({reason})" for run, reason in measured.left_out)
        notes.append(f"Runs left out, {len(measured.left_out)}: {names}.")
    if _to_fill(section):
        quick = " --quick" if joined.stamp else ""
        notes.append(f"Not measured yet. To fill it: agsm-bench reproduce --table {joined.paper.number}{quick}, or:")
    return notes


def _unmeasured(section: Section, measured: Measured) -> list[str]:
    ours = {column.key for column in measured.columns}
    missing = [column.label for column in section.columns if column.direction and column.key not in ours]
    return [f"Not measured on {measured.domain}: {', '.join(missing)}."] if missing else []


def _to_fill(section: JoinedSection) -> list[str]:
    measured = section.measured
    return list(dict.fromkeys(commands(row.recipe) for row in measured.rows if not row.cells)) if measured else []


def _by_backbone(measured: Measured) -> list[tuple[str, list[MeasuredRow]]]:
    return [(name, list(rows)) for name, rows in groupby(measured.rows, key=lambda row: row.recipe.backbone)]


def _published_title(section: Section) -> str:
    groups = {row.group for row in section.rows}
    return f"{section.title}, published" + (f" ({groups.pop()})" if len(groups) == 1 else "")


def _shows_groups(section: Section) -> bool:
    groups = {row.group for row in section.rows}
    return len(groups) > 1 and any(row.group != row.label for row in section.rows)


def _heading(column: Column) -> str:
    return column.label + ARROWS[column.direction]


def _cell_lines(row: MeasuredRow, column: Column) -> list[str]:
    cell, places = row.cells.get(column.key), column.decimals
    if cell is None:
        return [NOTHING]
    return [f"{cell.value:.{places}f}", f"{cell.low:.{places}f}–{cell.high:.{places}f}"]


def _row_name(row: MeasuredRow) -> list[str]:
    tuned, place = row.recipe.variant, [f"for {row.paper.label}"] if row.paper else []
    return [row.recipe.trainer or "no tokens", *([f"on {tuned.trainer}"] if tuned else []), *row.options, *place]


def _row_runs(row: MeasuredRow) -> list[str]:
    if not row.cells:
        return [NOTHING]
    return [f"{len(row.runs)} run" + "s" * (len(row.runs) > 1), f"n {min(run.expected for run in row.runs)}"]


def _md_published(section: Section) -> list[str]:
    grouped = _shows_groups(section)
    head = ["Backbone"] * grouped + [section.row_header, *map(_heading, section.columns)]
    body = []
    for row in section.rows:
        label = row.label + (f" ({row.cite})" if row.cite else "")
        values = [f"<u>{v}</u>" if k in row.marks else v for k, v in row.values.items()]
        body.append([row.group] * grouped + [label, *values])
    return _md_table(head, body, left=1 + grouped)


def _md_measured(measured: Measured) -> list[str]:
    columns = [f"{_heading(c)} (measured on {measured.domain})" for c in measured.columns]
    body = []
    for row in measured.rows:
        cells = [_cell_lines(row, column) for column in measured.columns]
        lines = [_row_name(row), _row_runs(row), *cells]
        body.append([row.recipe.backbone, *(" ".join([first, *(f"({s})" for s in more)]) for first, *more in lines)])
    return _md_table(["Backbone", "Tokens", "Runs", *columns], body, left=3)


def _md_table(head: list[str], body: list[list[str]], left: int) -> list[str]:
    rule = [":--" if i < left else "--:" for i in range(len(head))]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in [head, rule, *body]]


def _rich_published(section: Section) -> Table:
    from rich.text import Text

    grouped = _shows_groups(section)
    table = _rich_table(_published_title(section))
    for name in [""] * grouped + [section.row_header]:
        table.add_column(name, overflow="fold")
    for column in section.columns:
        # the space lets a narrow terminal break the heading there
        head = f"{column.label.replace('/', '/ ')}\n{ARROWS[column.direction].strip()}".rstrip()
        table.add_column(head, justify="right" if column.direction else "left", overflow="fold")
    for group, rows in groupby(section.rows, key=lambda row: row.group):
        for i, row in enumerate(rows):
            values = [Text(v, "underline" if k in row.marks else "") for k, v in row.values.items()]
            table.add_row(*[Text("" if i else group)] * grouped, Text(row.label), *values)
        table.add_section()
    return table


def _rich_measured(measured: Measured, width: int, stamp: str) -> Iterator[Table]:
    """Cut into several tables where the columns do not fit the width."""
    title = f"Measured on {measured.domain}" + (f" · {stamp}" if stamp else "")
    names = max((len(line) for row in measured.rows for line in _row_name(row)), default=0)
    for columns in _fitting(measured.columns, width - 10 - names):
        table = _rich_table(title)
        table.add_column("Tokens", no_wrap=True)
        table.add_column("Runs", no_wrap=True)
        for column in columns:
            arrow = ARROWS[column.direction].strip()
            table.add_column(f"{column.label}\n{arrow} {measured.domain}", justify="right", min_width=_width(column))
        for backbone, rows in _by_backbone(measured):
            table.add_row(backbone, style="bold")
            for row in rows:
                cells = [_cell_lines(row, column) for column in columns]
                table.add_row(*("\n".join(lines) for lines in (_row_name(row), _row_runs(row), *cells)))
            table.add_section()
        yield table
        title = f"Measured on {measured.domain}, continued" + (f" · {stamp}" if stamp else "")


def _fitting(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """The columns in order, in groups no wider than `width`."""
    groups, left = [list[Column]()], width
    for column in columns:
        needed = 2 + max(_width(column), *map(len, column.label.split()))
        if needed > left and groups[-1]:
            groups.append([])
            left = width
        groups[-1].append(column)
        left -= needed
    return groups


def _width(column: Column) -> int:
    """Of an interval below ten."""
    return 2 * (2 + column.decimals) + 1


def _rich_table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_style="bold", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.collapse_padding = True
    return table
