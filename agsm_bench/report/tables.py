"""The paper's tables, and beside them what our runs measured.

`results/paper/table_NN.json` holds a published table exactly as printed: `number`, `caption`, `notes`
(oddities of the print) and `sections`: `key`, `title`, `row_header`, `columns` (`key`, `label`, `direction`:
up, down, or null where a column is no metric, `group`: the heading above it) and `rows` (`key`, `group`: the
backbone, `label`, `cite`, `values`: strings in the columns' order, `marks`: column key -> "underline"; bold
is not recorded). `results/tables/table_NN.toml` says which runs fill which row (`recipes`); a run is a folder
with a `summary.json`.

A row is filled by the runs of its backbone and trainer whose every option is the row's, or the default where
the row says nothing; only seeds are free, and each counts once. Runs that fill a row together: the value is
their mean, the interval their minimum and maximum (the spread between seeds). A single run shows its own 95%
bootstrap interval. Limited or incomplete runs never enter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from agsm_bench.errors import MissingError, UserError
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.recipes import Fill, Recipe, Size, load_fills, sampling_differences, training_differences
from agsm_bench.types import Domain

NUMBERS = range(1, 14)
REPRODUCED = Path("runs/reproduce")
"""Where `agsm-bench reproduce` puts its runs."""
SAMPLING = ("weights", "guidance_scale", "steps", "size", "images_per_prompt", "unconditional")
"""What a run's images depend on besides seeds and soft tokens; `RunSpec` has the meanings."""


@dataclass(frozen=True)
class Column:
    key: str
    label: str
    direction: Literal["up", "down"] | None
    """Where better is; None for a column that is no metric."""
    group: str = ""
    metric: str | None = None
    """The metric of `summary.json` that fills it; None in a published table."""


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
class Cell:
    """A measured value."""

    value: float
    low: float
    high: float
    n: int
    """Number of images of one run."""
    clusters: int
    runs: int = 1
    interval: Literal["bootstrap95", "range"] = "bootstrap95"


@dataclass(frozen=True)
class Run:
    folder: Path
    benchmark: str
    domain: str
    backbone: str
    variant: str | None
    """The trainer that fine-tuned the backbone, None for its own weights."""
    trainer: str | None
    identity: str
    sampling: Mapping[str, Any]
    tokens: Mapping[str, Any]
    """What the soft tokens are, apart from their seed and hash."""
    seeds: tuple[int, int]
    """Of the training (0 without soft tokens) and of the evaluation."""
    expected: int
    """Number of images."""
    limited: bool
    """Whether that is less than the benchmark."""
    incomplete: str
    """What is lacking; empty where nothing is."""
    unscored: int
    cells: Mapping[str, Cell]

    @property
    def trouble(self) -> str:
        """Why it may not enter a table of whole runs; empty when it may."""
        return "limited" if self.limited else self.incomplete


@dataclass(frozen=True)
class MeasuredRow:
    key: str
    paper: Row | None
    """The published row beside it; None for a row of ours."""
    options: tuple[str, ...]
    """The options that the row is about, in words."""
    recipe: Recipe
    runs: tuple[Run, ...]
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Measured:
    """What our runs measured for one section, on one domain."""

    domain: Domain
    benchmark: str
    columns: tuple[Column, ...]
    rows: tuple[MeasuredRow, ...]
    left_out: tuple[tuple[Run, str], ...]
    """Runs that do not enter, each with the reason."""


@dataclass(frozen=True)
class JoinedSection:
    published: Section
    measured: Measured | None


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
        sections = map(_section, data["sections"])
        return PaperTable(data["number"], data["caption"], tuple(sections), tuple(data["notes"]))


def find_runs(extra: Sequence[Path] = ()) -> list[Run]:
    """The runs given, those below `./runs` and `./runs/reproduce`, and the ones that ship, each identity once."""
    for folder in extra:
        if not (folder / "summary.json").is_file():
            raise MissingError(f"{folder} has no summary.json.", "Name a folder that agsm-bench eval wrote.")
    roots = (Path("runs"), REPRODUCED, results_dir() / "runs")
    found = [path.parent for root in roots for path in sorted(root.glob("*/summary.json"))]
    runs: dict[tuple[str, bool], Run] = {}
    for run in map(read_run, [*extra, *found]):
        # a limited run must not hide the complete one of the same identity
        runs.setdefault((run.identity, bool(run.trouble)), run)
    return list(runs.values())


def read_run(folder: Path) -> Run:
    """A run folder's summary."""
    path = folder / "summary.json"
    with readable(path, f"Score the run again: agsm-bench score {folder}"):
        data = checked(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant))
        run, tokens = data["run"], data["run"]["tokens"] or {}
        tuning = run.get("variant") or {}
        return Run(
            folder=folder,
            benchmark=run["benchmark"],
            domain=run["domain"],
            backbone=run["backbone"],
            variant=tuning.get("trainer"),
            trainer=tokens["trainer"] if tokens else None,
            identity=run["identity"],
            sampling={key: run[key] for key in SAMPLING if key in run},
            tokens={key: value for key, value in tokens.items() if key not in ("seed", "hash")},
            seeds=(int(tokens.get("seed", 0)), int(run.get("seed", 0))),
            expected=int(data["expected"]),
            limited=bool(data["limited"]),
            incomplete=_incomplete(data),
            unscored=int(data["unscored"]),
            cells={k: _cell(m) for k, m in data["metrics"].items() if m["value"] is not None},
        )


def join(number: int, domain: Domain, runs: Sequence[Run], size: Size | None = None) -> JoinedTable:
    """The published table with what `runs` measured on `domain`; with `size`, what quick runs did."""
    paper = load_paper(number)
    fills = {fill.section: fill for fill in load_fills(number, domain, size)}
    joined = (JoinedSection(s, _measured(s, fills[s.key], runs) if s.key in fills else None) for s in paper.sections)
    stamp = f"QUICK LOOK, NO RESULT: {size.describe()}." if size else ""
    return JoinedTable(paper, domain, tuple(joined), stamp)


def obstacles(recipe: Recipe, run: Run) -> list[str]:
    """Why a run of the recipe's backbone and trainer does not fill its row; empty when it does."""
    if run.limited and run.expected != (recipe.limit or 0) * run.sampling.get("images_per_prompt", 0):
        return ["limited"]
    if run.incomplete:
        return [run.incomplete]
    trained = training_differences(recipe, run.tokens) if recipe.trainer else []
    return [*sampling_differences(recipe, run.sampling), *trained]


def is_kin(recipe: Recipe, run: Run) -> bool:
    """Whether a run is of the recipe's benchmark, backbone with its own weights, and trainer."""
    asked = (recipe.benchmark, recipe.backbone, None, recipe.trainer)
    return (run.benchmark, run.backbone, run.variant, run.trainer) == asked


def combine(cells: Sequence[Cell]) -> Cell:
    """One cell of several runs: their mean with their range; a single run keeps its own interval."""
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells]
    n, clusters = min(c.n for c in cells), min(c.clusters for c in cells)
    return Cell(sum(values) / len(values), min(values), max(values), n, clusters, len(values), "range")


def _measured(section: Section, fill: Fill, runs: Sequence[Run]) -> Measured:
    printed = {column.key: column for column in section.columns}
    with readable(fill.source):
        columns = [replace(printed[key], metric=metric) for key, metric in fill.columns.items()]
        columns += [Column(**column) for column in fill.extra_columns]
        rows_of_paper = {row.key: row for row in section.rows}
        papers = [rows_of_paper[row.key] if row.in_paper else None for row in fill.rows]
    mine = [run for run in runs if run.domain == fill.domain]
    rows = []
    for row, paper in zip(fill.rows, papers, strict=True):
        fitting = chosen(row.recipe, mine)
        rows.append(MeasuredRow(row.key, paper, row.options, row.recipe, fitting, _cells(columns, fitting)))
    return Measured(fill.domain, fill.benchmark, tuple(columns), tuple(rows), _left_out(rows, mine))


def chosen(recipe: Recipe, runs: Iterable[Run]) -> tuple[Run, ...]:
    """The first run of every pair of seeds: made again elsewhere, a run tells nothing of the spread."""
    found: dict[tuple[int, int], Run] = {}
    for run in runs:
        if is_kin(recipe, run) and not obstacles(recipe, run):
            found.setdefault(run.seeds, run)
    return tuple(found[seeds] for seeds in sorted(found))


def _left_out(rows: Sequence[MeasuredRow], runs: Iterable[Run]) -> tuple[tuple[Run, str], ...]:
    """The runs that fill no row of their backbone and trainer, each with what is in the way of the closest one."""
    used = {id(run) for row in rows for run in row.runs}
    reasons = []
    for run in sorted(runs, key=lambda run: run.folder.name):
        kin = [obstacles(row.recipe, run) for row in rows if is_kin(row.recipe, run)]
        if kin and id(run) not in used:
            closest = min(kin, key=len)
            reasons.append((run, ", ".join(closest) or "another run has its seeds"))
    return tuple(reasons)


def _cells(columns: Iterable[Column], runs: Sequence[Run]) -> dict[str, Cell]:
    metrics = {c.key: c.metric or "" for c in columns}
    found = {key: [run.cells[name] for run in runs if name in run.cells] for key, name in metrics.items()}
    return {key: combine(cells) for key, cells in found.items() if cells}


def _section(data: Mapping[str, Any]) -> Section:
    columns = tuple(Column(**column) for column in data["columns"])
    keys = [column.key for column in columns]
    rows = (Row(**row | {"values": dict(zip(keys, row["values"], strict=True))}) for row in data["rows"])
    return Section(data["key"], data["title"], data["row_header"], columns, tuple(rows))


def _incomplete(data: Mapping[str, Any]) -> str:
    if data["complete"] and data["scored"] + data["unscored"] >= data["expected"]:
        return ""
    return f"incomplete: {data['scored']} of {data['expected']} images scored"


def _cell(metric: Mapping[str, Any]) -> Cell:
    value, low, high = (float(metric[key]) for key in ("value", "low", "high"))
    return Cell(value, low, high, int(metric["n"]), int(metric["clusters"]))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
