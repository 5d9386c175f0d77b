"""The paper's tables, and beside them what our runs measured.

`results/paper/table_NN.json` holds a published table exactly as printed: `number`, `caption`, `notes`
(oddities of the print) and `sections`: `key`, `title`, `row_header`, `columns` (`key`, `label`, `direction`:
up, down, or null where a column is no metric, `group`: the heading above it) and `rows` (`key`, `group`: the
backbone, `label`, `cite`, `values`: strings in the columns' order, `marks`: column key -> "underline"; bold
is not recorded). `results/tables/table_NN.toml` says which runs fill which row (`fills`); a run is a folder
with a `summary.json` (`runs`).

A row is filled by the runs of its backbone and trainer whose every option is the row's, or the default where
the row says nothing; only seeds are free, and each counts once. A row of a variant of the backbone asks the same
of the variant's training, and all variants of a backbone are to have seen the same preference pairs. Runs that
fill a row together: the value is their mean, with a 95% interval over prompts and seeds (`runs.combine`). A
single run shows its own 95% bootstrap interval. Limited or incomplete runs never enter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from agsm_bench import plugins
from agsm_bench.damage import conforming
from agsm_bench.errors import UserError
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import Fill, Size, load_bases, load_fills
from agsm_bench.report.recipes import Recipe, describe_protocol
from agsm_bench.report.runs import Cell, Run, combine, fills, is_kin, obstacles, pairs_in_use
from agsm_bench.report.settings import used_settings
from agsm_bench.types import Domain

NUMBERS = range(1, 14)
LONGEST = 5000
"""Characters of a caption or note: a terminal's lines are broken in the square of the time."""


@dataclass(frozen=True)
class Column:
    key: str
    label: str
    direction: Literal["up", "down"] | None = None
    """Where better is; None for a column that is no metric, or where neither is."""
    group: str = ""
    metric: str | None = None
    """The metric of `summary.json` that fills it; None in a published table."""
    decimals: int = 3
    """Of measured values, for people."""
    optional: bool = False
    """Of ours: shown only where a run has it, as `score --metrics` adds it."""
    scale: float = 1.0
    """Of ours: what the metric is multiplied by, as the paper prints some of them times 100."""


@dataclass(frozen=True)
class Row:
    key: str
    group: str
    label: str
    cite: str
    values: Mapping[str, str]
    """Column key -> the value as printed."""
    marks: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    row_header: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PaperTable:
    number: int
    caption: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RunNote:
    """What a table says of a run behind a row."""

    name: str
    """Of its folder."""
    identity: str
    seeds: tuple[int, int]
    """Of the training and of the evaluation."""
    expected: int
    """Number of images."""
    unscored: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class MeasuredRow:
    key: str
    paper: Row | None
    """The published row beside it; None for a row of ours."""
    options: tuple[str, ...]
    """The options that the row is about, in words."""
    recipe: Recipe
    runs: tuple[RunNote, ...]
    cells: Mapping[str, Cell]
    """Column key -> what was measured, times the column's scale."""


@dataclass(frozen=True)
class Measured:
    """What our runs measured for one section, on one domain."""

    domain: Domain
    benchmark: str
    columns: tuple[Column, ...]
    rows: tuple[MeasuredRow, ...]
    left_out: tuple[tuple[str, str], ...]
    """Names of runs that do not enter, each with the reason."""
    protocol: tuple[str, ...]
    """How images are made, in words, of each backbone and editor."""


@dataclass(frozen=True)
class JoinedSection:
    published: Section
    measured: Measured | None
    bases: Mapping[str, str]
    """Key of a row -> that of the row which its differences are to; rows without one have none."""
    used: Section | None = None
    """Where the paper states settings: those of our trainings, marked where they differ."""


@dataclass(frozen=True)
class JoinedTable:
    paper: PaperTable
    domain: Domain
    sections: tuple[JoinedSection, ...]
    stamp: str = ""
    """What must be said loudly of the measured values."""


def load_paper(number: int) -> PaperTable:
    """The published table, as printed."""
    if number not in NUMBERS:
        raise UserError(f"The paper has no Table {number}.", f"Choose one of 1..{NUMBERS[-1]}.")
    path = results_dir() / "paper" / f"table_{number:02d}.json"
    with readable(path):
        data = checked(json.loads(path.read_text(encoding="utf-8")))
        if isinstance(data["notes"], str) or any(len(text) > LONGEST for text in (data["caption"], *data["notes"])):
            raise ValueError("its notes are no list, or a text is endless")
        sections = map(_section, data["sections"])
        return conforming(PaperTable(data["number"], data["caption"], tuple(sections), tuple(data["notes"])))


def join(number: int, domain: Domain, runs: Sequence[Run], size: Size | None = None) -> JoinedTable:
    """The published table with what `runs` measured on `domain`; with `size`, what quick runs did."""
    paper = load_paper(number)
    known = {fill.section: fill for fill in load_fills(number, domain, size)}
    bases = load_bases(number)
    joined = (
        JoinedSection(
            s,
            _measured(s, known[s.key], runs) if s.key in known else None,
            bases.get(s.key, {}),
            used_settings(number, s, domain, runs),
        )
        for s in paper.sections
    )
    stamp = f"QUICK LOOK, NO RESULT: {size.describe()}." if size else ""
    return JoinedTable(paper, domain, tuple(joined), stamp)


def _measured(section: Section, fill: Fill, runs: Sequence[Run]) -> Measured:
    printed = {column.key: column for column in section.columns}
    with readable(fill.source):
        columns = [_filled(printed[key], metric, fill.domain) for key, metric in fill.columns.items()]
        columns += [conforming(Column(**column)) for column in fill.extra_columns]
        rows_of_paper = {row.key: row for row in section.rows}
        papers = [rows_of_paper[row.key] if row.in_paper else None for row in fill.rows]
    mine = [run for run in runs if run.domain == fill.domain]
    pairs = pairs_in_use((row.recipe for row in fill.rows), mine)
    usable = [run for run in mine if not _of_other_pairs(run, pairs)]
    rows, used = [], set[int]()
    for row, paper in zip(fill.rows, papers, strict=True):
        fitting = chosen(row.recipe, usable)
        notes = tuple(map(_note, fitting))
        rows.append(MeasuredRow(row.key, paper, row.options, row.recipe, notes, _cells(columns, fitting)))
        used |= set(map(id, fitting))
    shown = tuple(c for c in columns if not c.optional or any(c.key in row.cells for row in rows))
    left_out = _left_out(rows, [run for run in mine if id(run) not in used], pairs)
    protocol = tuple(dict.fromkeys(describe_protocol(row.recipe) for row in fill.rows))
    return Measured(fill.domain, fill.benchmark, shown, tuple(rows), left_out, protocol)


def _filled(column: Column, metric: str, domain: Domain) -> Column:
    """A column of the paper, filled by a metric of ours: on photographs as the paper scales it, to two decimals."""
    if domain != "photo":
        return replace(column, metric=metric)
    scale, share = table_scale(metric), metric.startswith("geneval/")
    return replace(column, metric=metric, scale=scale, decimals=3 if share else 2)


def table_scale(metric: str) -> float:
    """What a metric is multiplied by in the paper's tables, by its own file; 1 for a benchmark's."""
    if not is_of_images(metric):
        return 1
    found: float = plugins.load("metrics", metric.partition("/")[0]).variants[metric].table_scale
    return found


def is_of_images(metric: str) -> bool:
    """Whether `score --metrics` knows it: a benchmark's own have no file in `agsm_bench/metrics`."""
    plugin = metric.partition("/")[0]
    return plugin in plugins.names("metrics") and metric in getattr(plugins.load("metrics", plugin), "variants", ())


def _note(run: Run) -> RunNote:
    return RunNote(run.folder.name, run.identity, run.seeds, run.expected, run.unscored, run.warnings)


def chosen(recipe: Recipe, runs: Iterable[Run]) -> tuple[Run, ...]:
    """The first run of every pair of seeds: made again elsewhere, a run tells nothing of the spread."""
    found: dict[tuple[int, int], Run] = {}
    for run in runs:
        if fills(recipe, run):
            found.setdefault(run.seeds, run)
    return tuple(found[seeds] for seeds in sorted(found))


def _of_other_pairs(run: Run, pairs: Mapping[str, str]) -> bool:
    return run.variant is not None and run.pairs != pairs.get(run.backbone, run.pairs)


def _left_out(
    rows: Sequence[MeasuredRow], unused: Iterable[Run], pairs: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """The runs that fill no row of their backbone and trainer, each with what is in the way of the closest one."""
    reasons = []
    for run in sorted(unused, key=lambda run: run.folder.name):
        kin = [obstacles(row.recipe, run) for row in rows if is_kin(row.recipe, run)]
        if kin:
            alike = "other preference pairs" if _of_other_pairs(run, pairs) else "another run has its seeds"
            closest = min(kin, key=len)
            reasons.append((run.folder.name, ", ".join(closest) or alike))
    return tuple(reasons)


def _cells(columns: Sequence[Column], runs: Sequence[Run]) -> dict[str, Cell]:
    metrics = {c.key: c.metric or "" for c in columns}
    found = {key: [run.cells[name] for run in runs if name in run.cells] for key, name in metrics.items()}
    scales = {c.key: c.scale for c in columns}
    return {key: combine(metrics[key], cells).scaled(scales[key]) for key, cells in found.items() if cells}


def _section(data: Mapping[str, Any]) -> Section:
    columns = tuple(Column(**column) for column in data["columns"])
    keys = [column.key for column in columns]
    rows = tuple(Row(**row | {"values": dict(zip(keys, row["values"], strict=True))}) for row in data["rows"])
    for key in (column.key for column in columns if column.direction):
        if not all(isfinite(float(row.values[key])) for row in rows):
            raise ValueError(f"a value of {key} is no number")
    return Section(data["key"], data["title"], data["row_header"], columns, rows)
