"""`summary.json`, sealed: its field `sha256` is the hash of everything else in it.

A summary that was edited by hand, cut short or garbled on the way no longer has its hash, and no command reads it.
The hash is no signature: it finds accidents and careless edits, not a forger, who would compute it anew. Against
that there are a run's `scores.csv` and the command in its manifest. Summaries of versions without the seal are
still read, as nothing about them is wrong; reports say that they were not checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically

SUMMARY = "summary.json"
SUMMARY_SCHEMA = 1
SEAL = "sha256"
UNSEALED = "its summary is of an earlier version and has no sha256: whether it was edited is not known"


def sealed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with its hash, over its values: neither the order of keys nor the white space plays a part."""
    content = {key: value for key, value in summary.items() if key != SEAL}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return content | {SEAL: hashlib.sha256(canonical.encode()).hexdigest()}


def write_summary(folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Seals a summary, writes it atomically, and returns it."""
    content = sealed(summary)
    text = json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / SUMMARY, text.encode())
    return content


def read_summary(folder: Path) -> dict[str, Any]:
    """A run's summary as the harness wrote it.

    Raises:
        MissingError: it is absent or damaged, of another schema, or not what was sealed.
    """
    path = folder / SUMMARY
    fix = f"Score the run again: agsm-bench score {folder}"
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        if summary["schema"] != SUMMARY_SCHEMA:
            raise ValueError(f"schema {summary['schema']}, expected {SUMMARY_SCHEMA}")
        intact = SEAL not in summary or summary == sealed(summary)
    except FileNotFoundError as error:
        raise MissingError(f"{folder} has no {SUMMARY}: no finished run.", fix) from error
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged ({why(error)}).", fix) from error
    if not intact:
        raise MissingError(f"{path} was changed after it was written: it does not have its {SEAL}.", fix)
    return summary


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def main() -> None:
    """Seals summaries of earlier versions, whose values stay as they are."""
    parser = argparse.ArgumentParser(prog="python -m agsm_bench.summary_file", description=main.__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        write_summary(folder, read_summary(folder))


if __name__ == "__main__":
    main()
