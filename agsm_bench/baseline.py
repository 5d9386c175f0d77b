"""A baseline: what a run measured, or several of other training seeds, in one small JSON file with its own hash.

It holds the settings, every value of every image and held-out group, and the metrics that a comparison with it tests,
each with its tolerance. With several seeds a comparison knows what another training seed changes, and does not take it
for a regression.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import agsm_bench
from agsm_bench.errors import MissingError, UserError
from agsm_bench.identity import canonical_json
from agsm_bench.jsonl import write_atomically, writing
from agsm_bench.measured import Column, Measured, read_run, without_seeds
from agsm_bench.records import split_id
from agsm_bench.report.files import checked, readable
from agsm_bench.stats import Floats
from agsm_bench.summary_file import sealed
from agsm_bench.types import RunSpec

SCHEMA = 1
UNSCORED = "-"


def read_side(path: Path) -> Measured:
    """A run folder, or a baseline's file. Raises as `read_run` and `read_baseline`."""
    if not path.exists():
        raise MissingError(f"There is no {path}.", "Name a run folder, or a file that agsm-bench baseline wrote.")
    return read_baseline(path) if path.is_file() else read_run(path)


def joined(runs: Sequence[Measured]) -> Measured:
    """Runs of other training seeds as one.

    Raises:
        UserError: they differ in more than the seed, or two are of the same.
    """
    first = runs[0]
    for other in runs[1:]:
        if difference := _difference(first, other):
            raise UserError(
                f"{first.name} and {other.name} are no runs of one baseline: {difference}.",
                "Name runs that differ in their training seeds alone.",
            )
    trainings = [each.trainings[0] for each in runs]
    if len({canonical_json(each) for each in trainings}) < len(runs):
        raise UserError("Two of the runs are of the same training seed.", "Name each seed once.")
    shared = set.intersection(*(set(run.columns) for run in runs))
    return replace(
        first,
        trainings=tuple(trainings),
        columns={name: _stacked([run.columns[name] for run in runs]) for name in sorted(shared)},
        summaries=tuple(run.summaries[0] for run in runs),
        unscored=max(run.unscored for run in runs),
    )


def write_baseline(measured: Measured, gate: Mapping[str, float], path: Path) -> None:
    """Writes the file; raises UserError where it cannot be written."""
    content = _content(replace(measured, gate=gate))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(sealed(content), indent=1, allow_nan=False) + "\n").encode())


def read_baseline(path: Path) -> Measured:
    """Reads a baseline.

    Raises:
        MissingError: the file is damaged, was changed by hand, or is none.
    """
    again = "Get it as it was, e.g. with git checkout, or make it again: agsm-bench baseline RUN --out FILE"
    with readable(path, again):
        data = checked(json.loads(path.read_text(encoding="utf-8")))
        if data != sealed(data):
            raise ValueError("its content does not have its hash: it was edited")
        return _parse(data, path)


def _difference(first: Measured, other: Measured) -> str:
    ours, theirs = (asdict(each.spec) for each in (first, other))
    differing = [key for key in ours if key not in ("tokens", "weights") and ours[key] != theirs[key]]
    if differing:
        return f"{differing[0]} is {ours[differing[0]]!r} and {theirs[differing[0]]!r}"
    if (first.limited, first.prompts) != (other.limited, other.prompts):
        return "they asked other prompts"
    if without_seeds(first.trainings[0]) != without_seeds(other.trainings[0]):
        return "they were trained with other options"
    return ""


def _stacked(columns: Sequence[Column]) -> Column:
    versions = {column.version for column in columns}
    values = np.concatenate([column.values for column in columns])
    return Column(columns[0].units, values, versions.pop() if len(versions) == 1 else None)


def _content(measured: Measured) -> dict[str, Any]:
    units: dict[str, dict[str, Any]] = {}
    columns = {}
    for name, column in measured.columns.items():
        written = _write_units(column.units)
        key = next((key for key, known in units.items() if known == written), f"units{len(units)}")
        units[key] = written
        digits = bool(np.isin(column.values[np.isfinite(column.values)], (0, 1)).all())
        columns[name] = {
            "units": key,
            "version": column.version,
            "between": "" if digits else " ",
            "values": [_write_values(row, "" if digits else " ") for row in column.values],
        }
    return {
        "schema": SCHEMA,
        "agsm_bench": agsm_bench.__version__,
        "spec": asdict(measured.spec),
        "trainings": list(measured.trainings),
        "limited": measured.limited,
        "unscored": measured.unscored,
        "prompts": measured.prompts,
        "gate": dict(measured.gate),
        "summaries": [dict(each) for each in measured.summaries],
        "units": units,
        "columns": columns,
    }


def _parse(data: Mapping[str, Any], path: Path) -> Measured:
    units = {key: _read_units(value) for key, value in data["units"].items()}
    columns = {}
    for name, each in data["columns"].items():
        values = np.array([_read_values(row, each["between"]) for row in each["values"]])
        columns[name] = Column(units[each["units"]], values, each["version"])
    return Measured(
        name=str(path),
        spec=RunSpec(**data["spec"]),
        trainings=tuple(data["trainings"]),
        limited=data["limited"],
        prompts=data["prompts"],
        columns=columns,
        summaries=tuple(data["summaries"]),
        unscored=data["unscored"],
        gate=data["gate"],
    )


def _write_units(units: Sequence[str]) -> dict[str, Any]:
    """Sample ids as their prompts and the images of each, other names as they are."""
    if "/" not in units[0]:
        return {"names": " ".join(units)}
    prompts = list(dict.fromkeys(split_id(unit)[0] for unit in units))
    written = {"prompts": " ".join(prompts), "images": len(units) // len(prompts)}
    assert _read_units(written) == tuple(units), "a whole run has as many images of every prompt"
    return written


def _read_units(written: Mapping[str, Any]) -> tuple[str, ...]:
    if "names" in written:
        return tuple(written["names"].split())
    return tuple(f"{prompt}/{i:04d}" for prompt in written["prompts"].split() for i in range(written["images"]))


def _write_values(row: Floats, between: str) -> str:
    """In the order of the units; verdicts are digits without anything between them."""
    return between.join(UNSCORED if math.isnan(value) else f"{value:.10g}" for value in row)


def _read_values(written: str, between: str) -> list[float]:
    words = written.split(between) if between else list(written)
    return [math.nan if word == UNSCORED else float(word) for word in words]
