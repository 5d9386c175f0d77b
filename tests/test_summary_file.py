"""Sealed summaries: what was edited by hand is refused, what was not is read as it was written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from report_runs import summary, write

from agsm_bench.errors import ExitCode, MissingError
from agsm_bench.report.files import results_dir
from agsm_bench.report.runs import find_runs, read_run
from agsm_bench.summary_file import SEAL, SUMMARY, UNSEALED, read_summary, sealed, write_summary

Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, Edit] = {
    "a value": lambda data: data["metrics"]["geneval/mean"].update(value=0.99),
    "the last digit of an interval": lambda data: data["metrics"]["geneval/mean"].update(low=0.5900001),
    "limited": lambda data: data.update(limited=False),
    "the seed": lambda data: data["run"].update(seed=1),
    "a metric removed": lambda data: data["metrics"].pop("geneval/mean"),
    "a metric added": lambda data: data["metrics"].update(new=data["metrics"]["geneval/mean"]),
    "another hash": lambda data: data.update({SEAL: "0" * 64}),
    "an empty hash": lambda data: data.update({SEAL: None}),
}


def edited(folder: Path, edit: Edit) -> None:
    data = json.loads((folder / SUMMARY).read_text())
    edit(data)
    (folder / SUMMARY).write_text(json.dumps(data))


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_summary_is_refused_with_what_to_type(project: Path, cli: Cli, edit: Edit) -> None:
    folder = write("mine", summary(0.61, limited=True))
    edited(folder, edit)
    for read in (read_summary, read_run):
        with pytest.raises(MissingError, match="was changed after it was written"):
            read(folder)
    code, out, error = cli("report", "--table", 1)
    assert (code, out) == (ExitCode.MISSING, "")
    assert str(folder / SUMMARY) in error
    assert f"agsm-bench score {folder}" in error


def test_the_seal_is_of_the_values_and_not_of_how_they_are_written(tmp_path: Path) -> None:
    written = write_summary(tmp_path, summary(0.61))
    assert read_summary(tmp_path) == written == sealed(written)
    text = json.dumps(dict(reversed(written.items())), indent=4)
    (tmp_path / SUMMARY).write_text(text)
    assert read_summary(tmp_path) == written


@pytest.mark.parametrize("keep", [0, 1, 40, -3])
def test_a_truncated_summary_is_damaged(tmp_path: Path, keep: int) -> None:
    write_summary(tmp_path, summary(0.61))
    text = (tmp_path / SUMMARY).read_text()
    (tmp_path / SUMMARY).write_text(text[:keep])
    with pytest.raises(MissingError, match="is damaged"):
        read_summary(tmp_path)


def test_an_empty_run_folder_has_no_summary(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no finished run"):
        read_summary(tmp_path)


def test_a_summary_of_an_earlier_version_is_read_with_a_note(project: Path) -> None:
    folder = write("old", summary(0.61))
    edited(folder, lambda data: data.pop(SEAL))
    assert [run.warnings for run in find_runs()] == [(UNSEALED,)]
    before = json.loads((folder / SUMMARY).read_text())
    subprocess.run([sys.executable, "-m", "agsm_bench.summary_file", str(folder)], check=True)
    assert read_summary(folder) == sealed(before)
    assert [run.warnings for run in find_runs()] == [()]


def test_every_committed_summary_is_sealed() -> None:
    folders = [path.parent for path in (results_dir() / "runs").glob(f"*/{SUMMARY}")]
    assert folders
    assert not [folder.name for folder in folders if SEAL not in read_summary(folder)]
