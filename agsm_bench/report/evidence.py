"""What is kept of a run when its images are not: `python -m agsm_bench.report.evidence RUN... --into results/runs`.

Of an evaluation: `summary.json`, `manifest.json` and `scores.csv`, every score of every sample (an empty field is
unscored). Of a training: its soft tokens (of a variant only its description), `config.json` and `curve.csv`, the
log's means over blocks of steps. Everything that a report or a claim says can be computed from these files.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically
from agsm_bench.manifest import MANIFEST
from agsm_bench.records import split_id
from agsm_bench.report.files import readable
from agsm_bench.store import Run
from agsm_bench.summary_file import SUMMARY, read_summary, write_summary
from agsm_bench.tokens.header import TOKENS_FILE
from agsm_bench.training import log
from agsm_bench.training.run import CONFIG_FILE
from agsm_bench.variant import VARIANT_FILE

SCORES = "scores.csv"
AGAIN = "Get it again, e.g. with git checkout."
CURVE = "curve.csv"
BLOCK = 50
"""Steps that a line of a curve is the mean of."""
Values = Mapping[str, Mapping[str, float | None]]
"""Sample id -> metric -> value."""


def sample_values(folder: Path) -> Values:
    """Every score of a run, with or without its images.

    Raises:
        MissingError: the folder holds neither its scores nor their copy, or they are damaged.
    """
    path = folder / SCORES
    if not path.is_file():
        return values_of(Run.open(folder))
    expected = read_summary(folder)["expected"]
    with readable(path, AGAIN):
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
        if len(rows) != expected:
            raise ValueError(f"{len(rows)} of {expected} samples")
        return {"/".join(split_id(row.pop("sample_id"))): {k: _read(v) for k, v in row.items()} for row in rows}


def values_of(run: Run) -> Values:
    """Every score of a run that has its images; raises as `sample_values`."""
    scores = run.scores()
    if not scores:
        raise MissingError(f"{run.folder} holds no scores.", f"Score it: agsm-bench score {run.folder}")
    return {key: {name: score.value for name, score in row.items()} for key, row in scores.items()}


def keep(folder: Path, into: Path) -> Path | None:
    """Copies what is kept of a finished run or training into a folder of its name; None for anything else."""
    if (folder / SUMMARY).is_file():
        names = [MANIFEST]
    elif any((folder / name).is_file() for name in (TOKENS_FILE, VARIANT_FILE)):
        names = [name for name in (CONFIG_FILE, TOKENS_FILE, VARIANT_FILE) if (folder / name).is_file()]
    else:
        return None
    target = into / folder.name
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)
    if MANIFEST in names:
        write_summary(target, read_summary(folder))
        write_atomically(target / SCORES, _table(sample_values(folder)).encode())
    else:
        write_atomically(target / CURVE, curve_of(list(log.read(folder / log.LOG_FILE))).encode())
    return target


def _table(values: Values) -> str:
    metrics = sorted({name for row in values.values() for name in row})
    rows = [[key, *map(_field, (row.get(name) for name in metrics))] for key, row in sorted(values.items())]
    return _csv([["sample_id", *metrics], *rows])


def _read(field: str) -> float | None:
    if field and not isfinite(float(field)):
        raise ValueError(f"a score of {field}")
    return float(field) if field else None


def _field(value: float | None) -> str:
    """The shortest text that reads back as the value."""
    return "" if value is None else repr(int(value) if value == int(value) else value)


def curve_of(records: Sequence[Mapping[str, float]]) -> str:
    """Means over blocks of steps of everything that the log has for each of them, and validation points as they are."""
    blocks = [records[start : start + BLOCK] for start in range(0, len(records), BLOCK)]
    names = sorted({name for record in records for name in record} - {"step"})
    return _csv([["step", *names], *([str(block[-1]["step"]), *(_mean(block, n) for n in names)] for block in blocks)])


def _mean(block: Sequence[Mapping[str, float]], name: str) -> str:
    found = [record[name] for record in block if name in record]
    return f"{np.mean(found):.6g}" if found else ""


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def main() -> None:
    """Keeps each folder named."""
    parser = argparse.ArgumentParser(prog="python -m agsm_bench.report.evidence", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, required=True)
    given = parser.parse_args()
    for folder in given.folders:
        print(keep(folder, given.into) or f"{folder}: no finished run or training, left out")


if __name__ == "__main__":
    main()
