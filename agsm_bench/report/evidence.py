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
from pathlib import Path

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically
from agsm_bench.manifest import MANIFEST
from agsm_bench.store import SUMMARY, Run
from agsm_bench.tokens.header import TOKENS_FILE
from agsm_bench.training import log
from agsm_bench.training.run import CONFIG_FILE
from agsm_bench.variant import VARIANT_FILE

SCORES = "scores.csv"
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
        scores = Run.open(folder).scores()
        if not scores:
            raise MissingError(f"{folder} holds no scores.", f"Score it: agsm-bench score {folder}")
        return {key: {name: score.value for name, score in row.items()} for key, row in scores.items()}
    try:
        with path.open(newline="", encoding="utf-8") as text:
            rows = list(csv.DictReader(text, strict=True))
        return {row.pop("sample_id"): {k: float(v) if v else None for k, v in row.items()} for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise MissingError(f"{path} is damaged ({error}).", "Get it again, e.g. with git checkout.") from error


def keep(folder: Path, into: Path) -> Path:
    """Copies what is kept of a run or a training into a folder of its name, and returns it.

    Raises:
        MissingError: the folder is neither a finished run nor a training.
    """
    target = into / folder.name
    evaluation = (folder / SUMMARY).is_file()
    wanted = (SUMMARY, MANIFEST) if evaluation else (CONFIG_FILE,)
    if not all((folder / name).is_file() for name in wanted):
        raise MissingError(f"{folder} is no finished run and no training.", "Finish it first.")
    target.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in wanted]
    if evaluation:
        write_atomically(target / SCORES, _table(sample_values(folder)).encode())
    else:
        files += [path for path in map(folder.joinpath, (TOKENS_FILE, VARIANT_FILE)) if path.is_file()]
        write_atomically(target / CURVE, curve_of(list(log.read(folder / log.LOG_FILE))).encode())
    for path in files:
        shutil.copyfile(path, target / path.name)
    return target


def _table(values: Values) -> str:
    metrics = sorted({name for row in values.values() for name in row})
    rows = [[key, *map(_field, (row.get(name) for name in metrics))] for key, row in sorted(values.items())]
    return _csv([["sample_id", *metrics], *rows])


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
        print(keep(folder, given.into))


if __name__ == "__main__":
    main()
