"""The terminal's tables: one run's summary, and two runs compared image by image."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paired_runs import PROMPTS, make_pair, make_run, spread
from rich.console import Console

from agsm_bench.errors import UserError
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.report.paired import CORRECT, Line, compare
from agsm_bench.report.summary import comparison_table, summary_table
from agsm_bench.stats import Interval, paired_difference
from agsm_bench.store import Run
from agsm_bench.types import Score

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def summary(pair: tuple[Path, Path]) -> dict[str, Any]:
    return copy.deepcopy(json.loads((pair[1] / "summary.json").read_text()))


def printed(table: Any, width: int = 100) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_a_summary_shows_every_task_with_its_interval(summary: dict[str, Any]) -> None:
    text = printed(summary_table(summary))
    assert "geneval on shapes-mmdit, agsm tokens (300 steps, seed 0), domain shapes" in text
    for label in ("single object", "color attribution", "mean of the six", "too many (counting)"):
        assert label in text
    mean = summary["metrics"]["geneval/mean"]
    assert f"{100 * mean['value']:.1f} ({100 * mean['low']:.1f}–{100 * mean['high']:.1f})" in text
    assert "LIMITED RUN of 48 images" in text


def test_what_is_no_share_is_shown_as_it_is(summary: dict[str, Any]) -> None:
    assert "measures" not in printed(summary_table(summary)).replace("(measures:", "")
    found = {"value": 2.257, "low": 1.853, "high": 2.632, "n": 48, "clusters": 24, "unscored": 0}
    unknown = found | {"value": None, "low": None, "high": None}
    summary["metrics"] |= {"shapes_frechet": found, "denoising/gap": unknown}
    text = printed(summary_table(summary))
    assert "2.26 (1.85–2.63)" in text
    assert "error gap ↑ – 48" in " ".join(text.split())


def test_a_whole_run_is_not_stamped(summary: dict[str, Any]) -> None:
    text = printed(summary_table(summary | {"limited": False}))
    assert not any(word in text for word in ("LIMITED", "INCOMPLETE", "UNSCORED"))


def test_unscored_and_missing_images_are_said_loudly(summary: dict[str, Any]) -> None:
    text = printed(summary_table(summary | {"expected": 60, "scored": 40, "unscored": 2}))
    assert "INCOMPLETE: 42 of 60 images" in text
    assert "UNSCORED: 2 images" in text


def test_null_values_are_dashes(summary: dict[str, Any]) -> None:
    for metric in summary["metrics"].values():
        metric |= dict.fromkeys(("value", "low", "high"))
    text = printed(summary_table(summary))
    assert "–" in text
    assert "None" not in text


def test_a_photo_run_has_no_strict_column_and_may_lack_the_mean(summary: dict[str, Any]) -> None:
    metrics = {k: v for k, v in summary["metrics"].items() if k.startswith("geneval/") and "strict" not in k}
    del metrics["geneval/mean"], metrics["geneval/colors"]
    run = summary["run"] | {"domain": "photo", "tokens": None}
    text = printed(summary_table(summary | {"metrics": metrics, "run": run}))
    assert "no tokens, domain photo" in text
    assert not any(words in text for words in ("exactly the scene", "too many", "mean of", "colors"))


def test_an_edit_says_what_made_it(summary: dict[str, Any]) -> None:
    editing = {"editor": "pnp", "inversion": "direct", "attention_steps": 8, "tokens_on": "target"}
    text = " ".join(printed(summary_table(summary | {"run": summary["run"] | {"editing": editing}})).split())
    assert "geneval on shapes-mmdit, pnp, direct, tokens on the target, agsm tokens (300 steps, seed 0)" in text
    for plain in ({"editor": "flowedit"}, {"editor": "flowedit", "tokens_on": "both"}):
        text = printed(summary_table(summary | {"run": summary["run"] | {"editing": plain}}))
        assert "shapes-mmdit, flowedit, agsm tokens" in text


def test_differences_are_those_of_the_paired_bootstrap(pair: tuple[Path, Path]) -> None:
    base, other = (Run.open(folder).scores() for folder in pair)
    ids = sorted(base)
    prompts = {prompt.id: prompt for prompt in PROMPTS}
    a, b = (np.array([side[key][CORRECT].value for key in ids], dtype=float) for side in (other, base))
    clusters = [key[:5] for key in ids]
    tags = [prompts[cluster].tag for cluster in clusters]
    lines = {line.label: line for line in compare(*pair).blocks[0].lines}
    assert lines["mean of the six"].difference == paired_difference(a, b, clusters, tags)
    own = [i for i, tag in enumerate(tags) if tag == "counting"]
    expected = paired_difference(a[own], b[own], [clusters[i] for i in own])
    assert lines["counting"].difference == expected
    assert lines["counting"].other.value - lines["counting"].base.value == pytest.approx(expected.value)


def test_the_comparison_marks_in_words(pair: tuple[Path, Path]) -> None:
    text = printed(comparison_table(*pair), 80)
    assert "no tokens" in text
    assert "▲ better" in text
    assert "none seen" in text
    assert text.count("LIMITED RUN") == 2
    assert "Fewer than 20 prompts" in text


@pytest.mark.parametrize(
    ("low", "high", "higher", "verdict"),
    [
        (0.1, 0.2, True, "better"),
        (0.1, 0.2, False, "worse"),
        (-0.2, -0.1, True, "worse"),
        (-0.2, -0.1, False, "better"),
        (0.0, 0.2, True, "none"),
        (0.0, 0.0, True, "none"),
        (np.nan, np.nan, True, "unknown"),
    ],
)
def test_a_difference_counts_only_if_its_interval_excludes_zero(
    low: float, high: float, higher: bool, verdict: str
) -> None:
    some = Interval(0.5, 0.4, 0.6, 10, 10)
    assert Line("x", some, some, replace(some, low=low, high=high), higher).verdict == verdict


def test_only_samples_judged_on_both_sides_are_compared(tmp_path: Path) -> None:
    base, other = make_pair(tmp_path, prompts=spread(12))
    with Run.reopen(other, {"command": "x"}) as run:
        run.add_scores([Score("00000/0000", CORRECT, None, "gone")])
    found = compare(base, other)
    assert len(found.samples) == 23
    assert {line.difference.n for line in found.blocks[0].lines if line.label == "mean of the six"} == {23}
    assert "agsm: UNSCORED: 1 images could not be judged and are in no number." in found.stamps


def test_without_all_six_tasks_there_is_no_mean(tmp_path: Path) -> None:
    few = [prompt for prompt in spread(12) if prompt.tag != "position"]
    lines = compare(*make_pair(tmp_path, prompts=few)).blocks[0].lines
    assert len(lines) == len(TAGS) - 1
    assert printed(comparison_table(tmp_path / "base", tmp_path / "agsm"))


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("domain", "photo"), ("benchmark", "coco_val5k")])
def test_runs_of_other_settings_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    make_run(tmp_path / "base", 1.0, prompts=spread(1))
    manifest = Run.open(tmp_path / "base").manifest
    spec = replace(manifest.spec, **{name: value})
    Run.create_or_resume(tmp_path / "other", spec, 2, True, {"command": "x"}).close()
    with pytest.raises(UserError, match=name):
        compare(tmp_path / "base", tmp_path / "other")


def test_runs_of_other_prompts_are_refused(tmp_path: Path) -> None:
    base, other = make_pair(tmp_path, prompts=spread(1))
    line = next(other.glob("images/*/metadata.jsonl"))
    line.write_text(line.read_text().replace("a photo of", "a painting of"))
    with pytest.raises(UserError, match="other prompts"):
        compare(base, other)


def test_runs_without_a_common_sample_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "base", 1.0, prompts=PROMPTS[:1])
    make_run(tmp_path / "other", 1.0, prompts=PROMPTS[1:2])
    with pytest.raises(UserError, match="no scored sample in common"):
        compare(tmp_path / "base", tmp_path / "other")


def test_labels_tell_the_runs_apart_and_other_settings_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, 1.0, prompts=spread(1), steps=20 if name == "a" else 30)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.base.label, found.other.label) == ("a", "b")
    assert found.differing == ["steps"]
    assert "the runs differ in: steps" in printed(comparison_table(tmp_path / "a", tmp_path / "b"), 200)


def test_no_torch_is_imported(pair: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from agsm_bench.report.summary import comparison_table;"
        "comparison_table(*map(Path, sys.argv[1:])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, pair)], check=True)
