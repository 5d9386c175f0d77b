"""The run folder: resumed, truncated or in any order, it ends with the same bytes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from store_runs import (
    METRICS,
    NOTE,
    PROMPTS,
    SAMPLES,
    SPEC,
    evaluate,
    opened,
    png_of,
    scores_of,
    tree,
    work,
)

from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.identity import identity
from agsm_bench.report.runs import read_run
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Prompt, Sample, Score


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    evaluate(tmp_path / "whole")
    return tree(tmp_path / "whole")


def test_the_layout_is_genevals(whole: dict[str, bytes]) -> None:
    images = [f"images/{s.prompt.id}/samples/{s.index:04d}.png" for s in SAMPLES]
    metadata = [f"images/{p.id}/metadata.jsonl" for p in PROMPTS]
    assert whole.keys() == {*images, *metadata, "samples.jsonl", "scores.jsonl", "summary.json"}
    assert json.loads(whole[metadata[2]]) == PROMPTS[2].requirement


def test_a_prompt_without_requirement_has_its_text_as_metadata(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.add_image(Sample(Prompt("7", "a cat"), 0), b"x")
    line = json.loads((tmp_path / "images" / "7" / "metadata.jsonl").read_text())
    assert line == {"tag": "", "prompt": "a cat"}


def test_the_summary_is_what_tables_read(tmp_path: Path) -> None:
    summary = evaluate(tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert (summary["complete"], summary["limited"]) == (True, False)
    assert (summary["expected"], summary["scored"], summary["unscored"]) == (6, 5, 1)
    assert summary["unscored_samples"] == [{"sample_id": "00001/0001", "metric": METRICS[1], "reason": "no detector"}]
    run = read_run(tmp_path)
    assert (run.trouble, run.trainer, run.identity) == ("", None, identity(SPEC))
    assert run.cells.keys() == set(METRICS)
    assert run.cells[METRICS[0]].value == 0.5


def test_tokens_are_described_in_the_summary(tmp_path: Path) -> None:
    spec, tokens = replace(SPEC, tokens="t" * 64), {"trainer": "agsm", "seed": 1, "steps": 10}
    evaluate(tmp_path, spec=spec, tokens=tokens)
    run = read_run(tmp_path)
    assert (run.trainer, run.tokens) == ("agsm", {"trainer": "agsm", "steps": 10})
    with pytest.raises(ValueError, match="described exactly when"):
        opened(tmp_path / "other", spec=spec)
    with pytest.raises(UserError, match="which trainer"):
        opened(tmp_path / "other", spec=spec, tokens={"seed": 1})


def test_a_mean_without_an_interval_is_null(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        summary = run.finalise({"a": Interval(0.5, math.nan, math.nan, 4, 1)})
    assert summary["metrics"]["a"] == {"value": None, "low": None, "high": None} | {
        "n": 4,
        "clusters": 1,
        "unscored": 0,
    }
    assert read_run(tmp_path).trouble.startswith("incomplete")


def test_a_score_counts_for_its_own_image_only(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        work(run)
        run.add_image(SAMPLES[0], b"other")
        assert list(run.unscored(SAMPLES, METRICS)) == [SAMPLES[0]]
        assert SAMPLES[0].id not in run.scores()
        assert not run.finalise({})["complete"]
    assert SAMPLES[0].id.encode() not in (tmp_path / "scores.jsonl").read_bytes()


def test_scoring_again_replaces_and_drops_the_summary(tmp_path: Path) -> None:
    evaluate(tmp_path)
    with Run.reopen(tmp_path, {"command": "agsm-bench score"}) as run:
        assert not list(run.unscored(SAMPLES, METRICS))
        run.add_scores([Score(SAMPLES[1].id, METRICS[0], 0.25)])
        assert not (tmp_path / "summary.json").exists()
        assert run.scores()[SAMPLES[1].id][METRICS[0]].value == 0.25
    again = Run.open(tmp_path)
    assert again.scores() == run.scores()
    assert [entry["command"] for entry in again.manifest.provenance] == [NOTE["command"], "agsm-bench score"]


def test_a_sample_without_image_has_a_reason_until_it_gets_one(tmp_path: Path) -> None:
    with opened(tmp_path, expected=1, limited=True) as run:
        run.add_scores([Score(SAMPLES[0].id, METRICS[0], None, "out of memory")])
        summary = run.finalise({})
        assert (summary["complete"], summary["scored"], summary["unscored"]) == (True, 0, 1)
        assert list(run.missing(SAMPLES[:1])) == SAMPLES[:1]
        run.add_image(SAMPLES[0], b"x")
        assert run.scores() == {}


def test_a_sample_with_some_of_the_metrics_is_not_scored(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        work(run, SAMPLES[:5])
        run.add_image(SAMPLES[5], png_of(SAMPLES[5]))
        run.add_scores(scores_of(SAMPLES[5])[:1])
        summary = run.finalise({})
    assert (summary["complete"], summary["scored"], summary["unscored"]) == (False, 4, 1)


@pytest.mark.parametrize(
    "score",
    [
        Score(SAMPLES[0].id, "m", math.nan),
        Score(SAMPLES[0].id, "m", math.inf),
        Score(SAMPLES[0].id, "m", None),
        Score(SAMPLES[1].id, "m", 1.0),
        Score("../x/0000", "m", None, "reason"),
    ],
)
def test_scores_that_say_nothing_are_refused(tmp_path: Path, score: Score) -> None:
    with opened(tmp_path) as run:
        run.add_image(SAMPLES[0], b"x")
        with pytest.raises(ValueError, match=r"image|value|reason|no sample id"):
            run.add_scores([score])
        assert run.scores() == {}


@pytest.mark.parametrize("prompt_id", ["..", "a/b", "", ".a", "a\\b"])
def test_a_prompt_id_cannot_lead_out_of_the_folder(tmp_path: Path, prompt_id: str) -> None:
    with opened(tmp_path) as run, pytest.raises(ValueError, match="no sample id"):
        run.add_image(Sample(Prompt(prompt_id, ""), 0), b"x")


def test_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    evaluate(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"steps is 20 there and 30 here; seed is 0 there and 1 here.*--out") as e:
        opened(tmp_path, spec=replace(SPEC, steps=30, seed=1))
    assert e.value.code == ExitCode.USAGE
    with pytest.raises(UserError, match="shard is the whole run there and 0/2 here"):
        opened(tmp_path, shard=(0, 2))
    assert tree(tmp_path) == before
    opened(tmp_path, spec=replace(SPEC, guidance_scale=3)).close()


def test_a_limited_run_may_become_the_whole_one_and_no_other_size(tmp_path: Path, whole: dict[str, bytes]) -> None:
    assert evaluate(tmp_path / "run", SAMPLES[:4], expected=4, limited=True)["limited"]
    assert read_run(tmp_path / "run").trouble == "limited"
    with pytest.raises(UserError, match="holds a run of 4 samples, not of 5"):
        opened(tmp_path / "run", expected=5, limited=True)
    evaluate(tmp_path / "run")
    assert tree(tmp_path / "run") == whole
    with pytest.raises(UserError, match="holds a run of 6 samples, not of 4"):
        opened(tmp_path / "run", expected=4, limited=True)


def test_folders_that_are_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"has no manifest\.json"):
        Run.open(tmp_path / "absent")
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"no run folder: it holds thesis\.tex"):
        opened(tmp_path)
    with pytest.raises(UserError, match="cannot be written") as caught:
        opened(tmp_path / "thesis.tex")
    assert caught.value.code == ExitCode.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("old", ['"steps": 20', '"schema": 1', '"expected": 6', "{", "}"])
def test_a_damaged_manifest_is_missing(tmp_path: Path, old: str) -> None:
    opened(tmp_path).close()
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace(old, '"steps": 21', 1))
    for attempt in (Run.open, opened):
        with pytest.raises(MissingError, match=r"manifest\.json is damaged"):
            attempt(tmp_path)


def test_one_writer_at_a_time_and_readers_any_time(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        work(run, SAMPLES[:1])
        with pytest.raises(UserError, match=rf"being written by process {os.getpid()} on .* since .*--out"):
            opened(tmp_path)
        assert Run.open(tmp_path).scores() == run.scores()
    with opened(tmp_path):
        pass
    with pytest.raises(RuntimeError, match="not open for writing"):
        Run.open(tmp_path).add_image(SAMPLES[0], b"x")


def test_the_lock_holds_between_processes_and_dies_with_them(tmp_path: Path) -> None:
    code = """if True:
        import pathlib, sys
        from agsm_bench.store import Run
        run = Run.reopen(pathlib.Path(sys.argv[1]), {})
        print("held", flush=True)
        sys.stdin.read()"""
    opened(tmp_path).close()
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"being written by process {other.pid} on"):
            opened(tmp_path)
        other.kill()
    opened(tmp_path).close()
