"""The paper's tables, and beside them what our runs measured.

`results/paper/table_NN.json` holds a published table exactly as printed: `number`, `caption`, `notes`
(oddities of the print) and `sections`: `key`, `title`, `row_header`, `columns` (`key`, `label`, `direction`:
up, down, or null where a column is no metric, `group`: the heading above it) and `rows` (`key`, `group`: the
backbone, `label`, `cite`, `values`: strings in the columns' order, `marks`: column key -> "underline"; bold
is not recorded). `results/tables/table_NN.toml` says which runs fill which row; a run is a folder with a
`summary.json`.

Runs that differ in seeds only fill a row together: the value is their mean, the interval their minimum and
maximum (the spread between seeds). A single run shows its own 95% bootstrap interval. Limited or incomplete
runs never enter, and runs with different settings are never averaged: the settings with most runs fill the
row, then those with most training steps.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import agsm_bench
from agsm_bench.errors import MissingError, UserError
from agsm_bench.types import Domain

NUMBERS = range(1, 14)
SCHEMA = 1
SAMPLING = ("weights", "guidance_scale", "steps", "size", "images_per_prompt", "unconditional")
"""What runs of one backbone must share to be comparable; `RunSpec` has the meanings."""


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
    trainer: str | None
    identity: str
    sampling: Mapping[str, Any]
    tokens: Mapping[str, Any]
    """What the soft tokens are, apart from their seed and hash."""
    trouble: str
    """Why it may not enter a table; empty when it may."""
    unscored: int
    cells: Mapping[str, Cell]

    @property
    def settings(self) -> str:
        """Equal for runs that differ in their seeds only."""
        return json.dumps([self.sampling, self.tokens], sort_keys=True)


@dataclass(frozen=True)
class MeasuredRow:
    key: str
    paper: Row | None
    """The published row beside it; None for a row of ours."""
    backbone: str
    trainer: str | None
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


def results_dir() -> Path:
    """The results folder: `AGSM_BENCH_RESULTS`, else the installed package's, else the checkout's."""
    installed = Path(agsm_bench.__file__).parent / "results"
    shipped = installed if installed.is_dir() else installed.parents[1] / "results"
    return Path(os.environ.get("AGSM_BENCH_RESULTS") or shipped)


def load_paper(number: int) -> PaperTable:
    """The published table, as printed."""
    if number not in NUMBERS:
        raise UserError(f"The paper has no Table {number}.", f"Choose one of 1..{NUMBERS[-1]}.")
    path = results_dir() / "paper" / f"table_{number:02d}.json"
    with _readable(path, "Reinstall agsm-bench, or point AGSM_BENCH_RESULTS to a results folder."):
        data = _checked(json.loads(path.read_text(encoding="utf-8")))
        sections = map(_section, data["sections"])
        return PaperTable(data["number"], data["caption"], tuple(sections), tuple(data["notes"]))


def find_runs(extra: Sequence[Path] = ()) -> list[Run]:
    """The runs given, those below `./runs` and the ones that ship, each identity once."""
    for folder in extra:
        if not (folder / "summary.json").is_file():
            raise MissingError(f"{folder} has no summary.json.", "Name a folder that agsm-bench eval wrote.")
    roots = (Path("runs"), results_dir() / "runs")
    found = [path.parent for root in roots for path in sorted(root.glob("*/summary.json"))]
    runs: dict[tuple[str, bool], Run] = {}
    for run in map(read_run, [*extra, *found]):
        # a limited run must not hide the complete one of the same identity
        runs.setdefault((run.identity, bool(run.trouble)), run)
    return list(runs.values())


def read_run(folder: Path) -> Run:
    """A run folder's summary."""
    path = folder / "summary.json"
    with _readable(path, f"Score the run again: agsm-bench score {folder}"):
        data = _checked(json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant))
        run, tokens = data["run"], data["run"]["tokens"] or {}
        return Run(
            folder=folder,
            benchmark=run["benchmark"],
            domain=run["domain"],
            backbone=run["backbone"],
            trainer=tokens["trainer"] if tokens else None,
            identity=run["identity"],
            sampling={key: run[key] for key in SAMPLING if key in run},
            tokens={key: value for key, value in tokens.items() if key not in ("seed", "hash")},
            trouble=_trouble(data),
            unscored=int(data["unscored"]),
            cells={k: _cell(m) for k, m in data["metrics"].items() if m["value"] is not None},
        )


def join(number: int, domain: Domain, runs: Sequence[Run]) -> JoinedTable:
    """The published table with what `runs` measured on `domain`."""
    paper = load_paper(number)
    path = results_dir() / "tables" / f"table_{number:02d}.toml"
    if not path.is_file():
        return JoinedTable(paper, domain, tuple(JoinedSection(s, None) for s in paper.sections))
    with _readable(path, "Reinstall agsm-bench, or point AGSM_BENCH_RESULTS to a results folder."):
        fills = _checked(tomllib.loads(path.read_text(encoding="utf-8")))["fill"]
        mine = {fill["section"]: fill for fill in fills if fill["domain"] == domain}
        joined = (JoinedSection(s, _measured(s, mine.get(s.key), runs)) for s in paper.sections)
        return JoinedTable(paper, domain, tuple(joined))


def combine(cells: Sequence[Cell]) -> Cell:
    """One cell of several runs: their mean with their range; a single run keeps its own interval."""
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells]
    n, clusters = min(c.n for c in cells), min(c.clusters for c in cells)
    return Cell(sum(values) / len(values), min(values), max(values), n, clusters, len(values), "range")


def _measured(section: Section, fill: Mapping[str, Any] | None, runs: Sequence[Run]) -> Measured | None:
    if fill is None:
        return None
    printed = {column.key: column for column in section.columns}
    columns = [replace(printed[key], metric=metric) for key, metric in fill["columns"].items()]
    columns += [Column(**column) for column in fill.get("extra_columns", ())]
    mine = [run for run in runs if (run.domain, run.benchmark) == (fill["domain"], fill["benchmark"])]
    rows_of_paper = {row.key: row for row in section.rows}
    rows, left_out = list[MeasuredRow](), list[tuple[Run, str]]()
    for spec in [*fill["rows"], *fill.get("extra_rows", ())]:
        paper = rows_of_paper[spec["row"]] if "row" in spec else None
        trainer = spec.get("trainer")
        chosen, others = _choose([r for r in mine if (r.backbone, r.trainer) == (spec["backbone"], trainer)])
        key = spec["row"] if paper else spec["key"]
        rows.append(MeasuredRow(key, paper, spec["backbone"], trainer, chosen, _cells(columns, chosen)))
        left_out += others
    return Measured(fill["domain"], fill["benchmark"], tuple(columns), tuple(rows), tuple(left_out))


def _choose(runs: Iterable[Run]) -> tuple[tuple[Run, ...], list[tuple[Run, str]]]:
    """The runs that fill a row, and the others with the reason."""
    alike: dict[str, list[Run]] = {}
    left_out = []
    for run in runs:
        if run.trouble:
            left_out.append((run, run.trouble))
        else:
            alike.setdefault(run.settings, []).append(run)
    ranked = sorted(alike.values(), key=lambda g: (len(g), g[0].tokens.get("steps", 0), g[0].settings))
    chosen = ranked.pop() if ranked else []
    left_out += [(run, "other settings than the row's") for group in ranked for run in group]
    return tuple(chosen), left_out


def _cells(columns: Iterable[Column], runs: Sequence[Run]) -> dict[str, Cell]:
    metrics = {c.key: c.metric or "" for c in columns}
    found = {key: [run.cells[name] for run in runs if name in run.cells] for key, name in metrics.items()}
    return {key: combine(cells) for key, cells in found.items() if cells}


def _section(data: Mapping[str, Any]) -> Section:
    columns = tuple(Column(**column) for column in data["columns"])
    keys = [column.key for column in columns]
    rows = (Row(**row | {"values": dict(zip(keys, row["values"], strict=True))}) for row in data["rows"])
    return Section(data["key"], data["title"], data["row_header"], columns, tuple(rows))


def _trouble(data: Mapping[str, Any]) -> str:
    if data["limited"]:
        return "limited"
    if not data["complete"] or data["scored"] + data["unscored"] < data["expected"]:
        return f"incomplete: {data['scored']} of {data['expected']} images scored"
    return ""


def _cell(metric: Mapping[str, Any]) -> Cell:
    value, low, high = (float(metric[key]) for key in ("value", "low", "high"))
    return Cell(value, low, high, int(metric["n"]), int(metric["clusters"]))


def _checked(data: Any) -> Any:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


@contextmanager
def _readable(path: Path, fix: str) -> Iterator[None]:
    """Whatever goes wrong while reading `path` names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingError(f"{path} is missing or damaged ({type(error).__name__}: {error}).", fix) from error
