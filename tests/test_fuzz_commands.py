"""Damaged files, options and environments through the command line: an exit code, one line, and no traceback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from conftest import Cli
from fuzzing import limited
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import Form, mutate
from paired_runs import make_run, spread

from agsm_bench.editor import options_of
from agsm_bench.errors import UserError
from agsm_bench.plugins import load, names

pytestmark = pytest.mark.usefixtures("no_fsync")
FEW, MANY = range(15), range(300)
ODD = (
    "",
    " ",
    "\x1b[31m",
    "\ud800",
    "nan",
    "inf",
    "-1",
    "9" * 5000,
    "../..",
    "a" * 5000,
    "%s",
    "é",
    "None",
    "[1]",
    "1e999",
)
"""Values of options and variables; the operating system lets no NUL through."""
FILES: dict[str, tuple[Form, Callable[[Path], list[str]]]] = {
    "manifest.json": ("json", lambda run: ["compare", str(run), "--baseline", str(run)]),
    "samples.jsonl": ("jsonl", lambda run: ["view", str(run), "--out", str(run.with_name("page"))]),
    "scores.jsonl": ("jsonl", lambda run: ["compare", str(run), "--baseline", str(run)]),
    "summary.json": ("json", lambda run: ["leaderboard", str(run)]),
    "detections.jsonl": ("jsonl", lambda run: ["view", str(run), "--out", str(run.with_name("page"))]),
    "results.jsonl": ("jsonl", lambda run: ["score", "--results", str(run / "results.jsonl")]),
}


def check(result: tuple[int, str, str]) -> None:
    code, _, error = result
    assert code in (0, 1, 2, 3), result
    assert "Traceback" not in error
    assert "\x1b[31m" not in error
    if code in (2, 3):
        assert error.strip()


def run_damaged(cli: Cli, tmp_path: Path, name: str, numbers: range) -> None:
    make_run(tmp_path / "run", 0.5, prompts=spread(2))
    form, command = FILES[name]
    valid = (tmp_path / "run" / name).read_bytes()
    for number in numbers:
        data, done = mutate(Random(f"command {name} {number}"), valid, form)
        (tmp_path / "run" / name).write_bytes(data)
        with limited(60):
            result = cli(*command(tmp_path / "run"))
        try:
            check(result)
        except AssertionError as error:
            raise AssertionError(f"{name} {number} ({', '.join(done)}): {data[:1000]!r}") from error
        assert (tmp_path / "run" / name).read_bytes() == data


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_end_in_words(cli: Cli, name: str, tmp_path: Path) -> None:
    run_damaged(cli, tmp_path, name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_files_end_in_words(cli: Cli, name: str, tmp_path: Path) -> None:
    run_damaged(cli, tmp_path, name, MANY)


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_odd_options_end_in_words(cli: Cli, odd: str, project: Path) -> None:
    for arguments in (
        ["eval", "geneval", "--shard", odd],
        ["eval", odd],
        ["eval", "geneval", "--backbone", odd],
        ["eval", "geneval", "--limit", odd, "--steps", odd],
        ["train", odd, "--out", "out"],
        ["report", "--table", odd],
        ["report", "--figure", odd],
        ["compare", odd, "--baseline", odd],
        ["score", odd or " "],
        ["data", "get", odd],
        ["prompts", odd],
    ):
        check(cli(*arguments))


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.isprintable()])
def test_odd_environments_end_in_words(cli: Cli, odd: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, arguments in (
        ("AGSM_BENCH_RESULTS", ["report", "--table", "1"]),
        ("AGSM_BENCH_DATA", ["data", "list"]),
        ("AGSM_BENCH_DATA", ["data", "path", "coco-val2017"]),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, odd)
            check(cli(*arguments))


VALUES = st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.booleans(), st.none())


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(names("editors")), asked=st.dictionaries(st.text(max_size=8), VALUES, max_size=2), value=VALUES
)
def test_options_of_editors_are_taken_or_refused(name: str, asked: dict[str, object], value: object) -> None:
    editor = load("editors", name)
    for key in ("steps", "guidance_scale", "start_step"):
        with suppress(UserError):
            assert options_of(editor, "photo", None, {**asked, key: value}).steps > 0
