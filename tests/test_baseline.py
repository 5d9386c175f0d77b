"""Baselines on disk, and the two commands on run folders."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import CORRECT, UNITS, result
from conftest import Cli
from paired_runs import make_run, spread

from agsm_bench.baseline import joined, read_baseline, read_side, write_baseline
from agsm_bench.errors import MissingError, UserError
from agsm_bench.measured import Column, Measured, read_run
from agsm_bench.report.evidence import keep
from agsm_bench.store import Run
from agsm_bench.summary_file import read_summary, write_summary
from agsm_bench.types import RunSpec, Sample, Score


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of the same 24 prompts: without tokens, with them and better, and with an even larger share right."""
    root = tmp_path_factory.mktemp("runs")
    for name, right, trainer in (("base", 0.3, None), ("agsm", 0.9, "agsm"), ("best", 1.0, "softrepa")):
        make_run(root / name, right, trainer=trainer, prompts=spread(24))
    return {name: root / name for name in ("base", "agsm", "best")}


def same(a: Measured, b: Measured) -> None:
    assert a.spec == b.spec
    assert a.trainings == b.trainings
    assert a.prompts == b.prompts
    assert a.summaries == b.summaries
    assert a.columns.keys() == b.columns.keys()
    for name, column in a.columns.items():
        other = b.columns[name]
        assert (column.units, column.version) == (other.units, other.version)
        np.testing.assert_array_equal(column.values, other.values)


def test_a_baseline_reads_back_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (3, len(UNITS))).astype(float)
    values[1, 4] = np.nan
    columns = {CORRECT: values, "shapes_clip/score": rng.normal(size=values.shape).round(4)}
    made = result(columns, (0, 1, 2), unscored=1)
    groups = Column(("group-00", "group-01"), rng.normal(size=(3, 2)).round(6), None)
    one = Column(("only",), np.array([[0.25], [0.5], [1.0]]), None)
    made = replace(made, columns={**made.columns, "denoising/gap": groups, "one": one})
    path = tmp_path / "new" / "baseline.json"
    write_baseline(made, {"geneval/counting": 0.01}, path)
    found = read_baseline(path)
    same(made, found)
    assert (found.gate, found.unscored, found.run) == ({"geneval/counting": 0.01}, 1, None)
    assert path.stat().st_size < 15_000


def test_a_run_and_what_is_kept_of_it_measure_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    kept = keep(runs["agsm"], tmp_path)
    assert kept
    whole, without = read_run(runs["agsm"]), read_run(kept)
    assert {column.version for column in without.columns.values()} == {None}
    columns = {name: replace(column, version=None) for name, column in whole.columns.items()}
    same(replace(whole, columns=columns), without)


def test_seeds_are_joined_and_other_runs_are_not() -> None:
    one, two = (result({CORRECT: np.ones(len(UNITS)) * seed}, (seed,)) for seed in (0, 1))
    both = joined([one, two])
    assert both.seeds == 2
    np.testing.assert_array_equal(both.columns[CORRECT].values.mean(axis=1), [0, 1])
    other = {"tokens": {"trainer": "softrepa", "seed": 2}, "variant": None}
    for changes, said in (
        ({"trainings": (other,)}, "other options"),
        ({"spec": replace(one.spec, steps=4)}, "steps is 16 and 4"),
        ({"prompts": "q"}, "other prompts"),
        ({}, "same training seed"),
    ):
        with pytest.raises(UserError, match=said):
            joined([one, replace(one, **changes)])  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [('"limited": false', '"limited": true'), ('"schema": 1', '"schema": 2'), ("{", "")])
def test_an_edited_baseline_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(result({CORRECT: np.ones(len(UNITS))}), {}, path)
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(MissingError, match=r"baseline\.json is missing or damaged .* git checkout"):
        read_baseline(path)


def test_the_commands(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "agsm.json"
    assert cli("baseline", runs["agsm"], "--out", file)[0] == 0
    worse = cli("compare", runs["base"], "--baseline", file)
    assert (worse[0], worse[1].startswith("REGRESSION"), worse[2]) == (1, True, "")
    assert cli("compare", runs["agsm"], "--baseline", file)[0] == 0
    assert cli("compare", runs["agsm"], "--baseline", runs["base"])[0] == 0
    tolerant = ("--metric", "geneval/mean", "--tolerance", "geneval/mean=1")
    assert cli("compare", runs["base"], "--baseline", file, *tolerant)[0] == 0


def test_a_baseline_declares_its_metrics(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "agsm.json"
    declared = ("--metric", "geneval/mean", "--tolerance", "shapes/too_few=0.5")
    assert cli("baseline", runs["agsm"], *declared, "--out", file)[0] == 0
    assert read_side(file).gate == {"geneval/mean": 0.0, "shapes/too_few": 0.5}
    code, said, _ = cli("compare", runs["base"], "--baseline", file, "--format", "json")
    tested = {each["name"]: each["verdict"] for each in json.loads(said)["metrics"] if each["tested"]}
    assert (code, tested.keys()) == (1, {"geneval/mean", "shapes/too_few"})
    code, _, error = cli("baseline", runs["agsm"], "--metric", "geneval/men", "--out", file)
    assert (code, "Did you mean geneval/mean?" in error) == (2, True)


def test_the_formats_agree(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:
    texts = {}
    for format in ("rich", "md", "json", "junit"):
        out = tmp_path / format
        code, said, error = cli("compare", runs["base"], "--baseline", runs["agsm"], "--format", format, "--out", out)
        assert (code, said, "REGRESSION" in error) == (1, "", True)
        texts[format] = out.read_text(encoding="utf-8")
    data = json.loads(texts["json"])
    worse = [each["name"] for each in data["metrics"] if each["tested"] and each["verdict"] == "worse"]
    assert data["regression"]
    assert worse
    for name in worse:
        assert f"| {name} |" in texts["md"].partition("<details>")[0]
    suite = ElementTree.fromstring(texts["junit"])[0]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == worse
    assert suite.get("failures") == str(len(worse))
    assert len(suite) == len(data["metrics"]) == int(suite.get("tests") or 0)
    assert all(name in texts["rich"] for name in worse)


def _edit_scores(kept: Path) -> None:
    text = (kept / "scores.csv").read_text()
    (kept / "scores.csv").write_text(text.replace(",0,", ",1,", 1) if ",0," in text else text.replace(",1,", ",0,", 1))


def _cut_scores(kept: Path) -> None:
    text = (kept / "scores.csv").read_text()
    (kept / "scores.csv").write_text(text[: len(text) // 2])


def _changed(kept: Path) -> dict[str, Any]:
    data = read_summary(kept)
    data["metrics"]["geneval/mean"]["value"] += 0.05
    return data


def _edit_summary(kept: Path) -> None:
    (kept / "summary.json").write_text(json.dumps(_changed(kept)))


def _forge_summary(kept: Path) -> None:
    write_summary(kept, _changed(kept))


def _cut_summary(kept: Path) -> None:
    (kept / "summary.json").write_text((kept / "summary.json").read_text()[:100])


def _no_summary(kept: Path) -> None:
    (kept / "summary.json").unlink()


def _incomplete(kept: Path) -> None:
    write_summary(kept, read_summary(kept) | {"complete": False, "scored": 3})


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        *((_edit_scores, 3, "damaged or was edited"), (_cut_scores, 3, "scores.csv is missing or damaged")),
        *((_edit_summary, 3, "was changed"), (_forge_summary, 3, "damaged or was edited")),
        *((_cut_summary, 3, "summary.json is damaged"), (_no_summary, 3, "no finished run")),
        (_incomplete, 2, "3 of 48 images are scored"),
    ],
)
def test_what_is_damaged_edited_or_unfinished_is_refused(
    runs: dict[str, Path], tmp_path: Path, cli: Cli, spoil: object, code: int, said: str
) -> None:
    kept = keep(runs["agsm"], tmp_path)
    assert kept
    spoil(kept)  # type: ignore[operator]
    found = cli("compare", kept, "--baseline", runs["agsm"])
    assert (found[0], found[1]) == (code, "")
    assert said in found[2]
    assert len(found[2].splitlines()) == 1


def test_what_cannot_be_compared_is_one_line(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:
    photo = RunSpec("geneval", "photo", "sd3", "w" * 64, 7.0, 28, 24, 0, 2)
    samples = [Sample(prompt, i) for prompt in spread(24) for i in range(2)]
    with Run.create_or_resume(tmp_path / "photo", photo, len(samples), True, {}) as run:
        for sample in samples:
            run.add_image(sample, b"a picture")
            run.add_scores([Score(sample.id, "geneval/correct", 1.0)])
        run.finalise({})
    with Run.create_or_resume(tmp_path / "empty", photo, len(samples), True, {}) as run:
        run.finalise({})
    make_run(tmp_path / "fewer", 0.5, prompts=spread(12))
    make_run(tmp_path / "noise", 0.5, prompts=spread(24), seed=1)
    (tmp_path / "notes.txt").write_text("no baseline")
    for other, code, said in (
        ("photo", 2, "their domain is"),
        ("empty", 2, "0 of 48 images are scored"),
        ("fewer", 2, "asked other prompts"),
        ("noise", 2, "their seed is 0 and 1"),
        ("absent", 3, "There is no"),
        ("notes.txt", 3, "missing or damaged"),
    ):
        found = cli("compare", runs["agsm"], "--baseline", tmp_path / other)
        assert (found[0], found[1], len(found[2].splitlines())) == (code, "", 1)
        assert said in found[2]


@pytest.mark.parametrize(
    "given", ["geneval/mean", "geneval/mean=x", "geneval/mean=-1", "geneval/mean=nan", "=1", "a=1"]
)
def test_a_tolerance_that_makes_no_sense(runs: dict[str, Path], cli: Cli, given: str) -> None:
    code, _, error = cli("compare", runs["agsm"], "--baseline", runs["base"], "--tolerance", given)
    assert (code, len(error.splitlines())) == (2, 1)
    assert "--tolerance" in error or "There is no metric" in error


def test_another_training_seed_is_no_other_baseline(runs: dict[str, Path], tmp_path: Path, cli: Cli) -> None:
    """A copy of a run is the same seed twice."""
    shutil.copytree(runs["agsm"], tmp_path / "copy")
    code, _, error = cli("baseline", runs["agsm"], tmp_path / "copy", "--out", tmp_path / "b.json")
    assert (code, "same training seed" in error) == (2, True)
