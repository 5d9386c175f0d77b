"""UniGenBench++ on photographs: rows that are wrong, and the judge of an evaluation and of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import details, letters, pictures, save_clip, scores_of, summary_of, write_unigenbench
from conftest import Cli
from judge_server import Fault, JudgeServer, answers, judging
from photo_tiny import SIZE

from agsm_bench.unigenbench.endpoint import KEYS

CLIP = "clip/openai-l14"
KINDS = ["Style", "Attribute - Color", "Grammar - Negation"]
ROWS = [
    ("0", f"A fox of {letters('0')}.", details(KINDS[:2], ["ink", "red"])),
    ("1", f"A fox of {letters('1')}.", details(KINDS, ["ink", "red", "no dog"])),
    ("2", f"A fox of {letters('2')}.", details(KINDS[:2], ["ink", "red"]).replace('"Style", ', '"Style" ')),
    ("1", "A dog.", details(KINDS[:1], ["ink"])),
    ("3", f"A fox of {letters('3')}.", "{broken"),
]
POINTS = {"00000": 2, "00001": 3, "00002": 2, "00003": 0}


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    write_unigenbench(tmp_path / "data", ROWS)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with judging(JudgeServer()) as judge:
        yield judge


def command(models: dict[str, Path], name: str, out: Path, *more: object) -> list[object]:
    model = ["--backbone", name, "--model", models[name], "--size", SIZE, "--device", "cpu"]
    return ["eval", "unigenbench", *model, "--steps", 1, *more, "--out", out]


def judged_by(judge: JudgeServer) -> list[object]:
    return ["--judge-url", judge.url, "--judge-model", "judge", "--judge-backoff", 0.001]


def expected(run: Path, without: str = "") -> list[bool]:
    """What the judge thinks of all test points of a run's images."""
    made = {sample: png for sample, png in pictures(run).items() if sample != without}
    return [yes for sample, png in made.items() for yes in answers(png, POINTS[sample[:5]])]


def points_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = summary_of(run)["metrics"]["unigenbench/points"]
    return found


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_eval_names_bad_rows(cli: Cli, tiny_models: dict[str, Path], clip: Path, tmp_path: Path, name: str) -> None:
    asked = command(tiny_models, name, tmp_path / "run", "--metrics", CLIP, f"--weights={CLIP}={clip}")
    code, said, error = cli(*asked)
    assert code == 0, error
    summary = summary_of(tmp_path / "run")
    assert pictures(tmp_path / "run").keys() == {f"{key}/0000" for key in POINTS}
    assert (summary["expected"], summary["complete"], summary["metrics"].keys()) == (4, True, {CLIP})
    assert summary["metrics"][CLIP]["n"] == 4
    assert len(summary["warnings"]) == 3
    for line, words in ((4, "lacks a comma"), (5, "already; the row is left out"), (6, "is kept without any")):
        (text,) = [text for text in summary["warnings"] if f"test_prompts_en_long.csv line {line} " in text]
        assert words in text
        assert words in " ".join(said.split())


def test_prompts_that_are_cut_are_counted(cli: Cli, tiny_models: dict[str, Path], clip: Path, tmp_path: Path) -> None:
    """CLIP takes 77 tokens: 75 words with begin and end. Of the images of a prompt one counts."""
    long = [(index, "fox " * words, details(KINDS[:1], ["ink"])) for index, words in (("0", 75), ("1", 76), ("2", 90))]
    write_unigenbench(tmp_path / "data", long)
    run, weights = tmp_path / "run", f"--weights={CLIP}={clip}"
    asked = command(tiny_models, "sd15", run, "--metrics", CLIP, weights, "--images-per-prompt", 2)
    code, said, error = cli(*asked)
    assert code == 0, error
    words = f"{CLIP} read the beginning alone of 2 of 3 prompts, for want of tokens."
    assert summary_of(run)["warnings"] == [words]
    assert words in " ".join(said.split())
    reasons = {sample: line["reason"] for (sample, _), line in scores_of(run).items()}
    assert reasons["00000/0001"] is None
    assert reasons["00002/0001"] == "77 of its prompt's 92 tokens are read"
    before = summary_of(run)
    assert (cli(*asked)[0], cli("score", run, "--metrics", CLIP, weights)[0], summary_of(run)) == (0, 0, before)
    prompts, images = tmp_path / "prompts.txt", run / "images" / "00002" / "samples"
    prompts.write_text("fox\n" + "fox " * 90)
    folder = tmp_path / "scores"
    more = ["--prompts", prompts, "--metrics", CLIP, weights, "--device", "cpu", "--out", folder]
    code, said, error = cli("score", "--images", images, *more)
    assert (code, "read the beginning alone of 1 of 2 prompts" in " ".join(said.split())) == (0, True), error


def test_eval_with_a_judge(cli: Cli, tiny_models: dict[str, Path], judge: JudgeServer, tmp_path: Path) -> None:
    run, other = tmp_path / "run", ["--metrics", "mse"]
    more = ["--images-per-prompt", 2, "--metrics", "", *judged_by(judge)]
    code, said, error = cli(*command(tiny_models, "sd3", run, *more))
    assert code == 0, error
    assert "test points" in said
    yes = expected(run)
    assert (len(yes), len(judge.bodies)) == (14, 6), "the prompt without test points is not asked for"
    found = points_of(run)
    assert (found["n"], found["unscored"], found["clusters"]) == (14, 0, 3)
    assert found["value"] == pytest.approx(np.mean(yes))
    assert "unigenbench/mean" not in summary_of(run)["metrics"], "seven of the ten dimensions do not occur"
    before = summary_of(run)
    assert cli(*command(tiny_models, "sd3", run, *more))[0] == 0
    assert (len(judge.bodies), summary_of(run)) == (6, before)
    assert cli(*command(tiny_models, "sd3", run, *more[:4]))[0] == 0, "and without a judge"
    assert summary_of(run) == before
    code, _, error = cli("score", run, *other)
    assert (code, "compares each image with a reference" in error) == (2, True), error


def test_a_run_is_judged_later_and_failures_are_counted(
    cli: Cli, tiny_models: dict[str, Path], clip: Path, judge: JudgeServer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert cli(*command(tiny_models, "sd15", run, "--limit", 3, "--metrics", "none"))[0] == 0
    made = pictures(run)
    assert made.keys() == {"00000/0000", "00001/0000", "00002/0000"}
    judge.faults[made["00002/0000"]] = [Fault(content="I cannot say.")]
    asked = ["score", run, "--metrics", CLIP, f"--weights={CLIP}={clip}", *judged_by(judge)]
    code, _, error = cli(*asked)
    assert code == 0, error
    found = points_of(run)
    assert (found["n"], found["unscored"]) == (5, 2), "of the limited run's own prompts"
    assert found["value"] == pytest.approx(np.mean(expected(run, without="00002/0000")))
    assert summary_of(run)["metrics"][CLIP]["n"] == 3
    assert len(judge.bodies) == 3
    assert cli(*asked)[0] == 0
    assert len(judge.bodies) == 4, "the one that failed is asked for again"
    found = points_of(run)
    assert (found["n"], found["unscored"], found["value"]) == (7, 0, pytest.approx(np.mean(expected(run))))
    assert cli(*asked)[0] == 0
    assert len(judge.bodies) == 4
    for text in ("{}", "[]", "{"):
        (run / "judge.json").write_text(text)
        code, _, error = cli("score", run, "--metrics", CLIP, f"--weights={CLIP}={clip}")
        assert (code, "judge.json is damaged" in error, "Delete it, and ask again: rm" in error) == (3, True, True)


def test_images_made_elsewhere_are_judged(
    cli: Cli, tiny_models: dict[str, Path], clip: Path, judge: JudgeServer, tmp_path: Path
) -> None:
    """As upstream's generators name them: `{index}_{j}.png`."""
    run, folder = tmp_path / "run", tmp_path / "theirs"
    assert cli(*command(tiny_models, "sd15", run, "--images-per-prompt", 2, "--metrics", "none"))[0] == 0
    folder.mkdir()
    for sample, png in pictures(run).items():
        (folder / f"{int(sample[:5])}_{int(sample[6:])}.png").write_bytes(png)
    more = ["--metrics", CLIP, f"--weights={CLIP}={clip}", *judged_by(judge), "--out", tmp_path / "again"]
    code, _, error = cli("score", "--images", folder, "--benchmark", "unigenbench", *more)
    assert code == 0, error
    found = points_of(tmp_path / "again")
    assert (found["n"], found["value"]) == (14, pytest.approx(np.mean(expected(run))))
    assert (summary_of(tmp_path / "again")["complete"], summary_of(tmp_path / "again")["expected"]) == (True, 8)


def test_a_judge_that_cannot_be_asked_is_refused_before_anything_starts(
    cli: Cli, tiny_models: dict[str, Path], judge: JudgeServer, tmp_path: Path
) -> None:
    run, made = tmp_path / "run", tmp_path / "made"
    model = ["--backbone", "sd15", "--model", tiny_models["sd15"], "--size", SIZE, "--device", "cpu", "--steps", 1]
    for command_, words in (
        (["eval", "geneval", *model], "not of geneval on photo. Leave out --judge-url."),
        (["eval", "unigenbench", "--backbone", "shapes-unet"], "not of unigenbench on shapes. Leave out --judge-url."),
        (["eval", "unigenbench", *model, "--metrics", "none"], "Leave out --judge-url, or --metrics none."),
        (["eval", "unigenbench", *model, "--metrics", "", "--judge-model", " "], "--judge-model is empty."),
    ):
        code, _, error = cli(*command_, "--judge-url", judge.url, "--out", run)
        assert (code, words in " ".join(error.split())) == (2, True), error
        assert not run.exists()
    small = ["--limit", 1, "--images-per-prompt", 1, "--metrics", "none"]
    assert cli("eval", "geneval", *model, *small, "--out", made)[0] == 0
    for more in ([], ["--metrics", CLIP]):
        code, _, error = cli("score", made, *more, "--judge-url", judge.url)
        assert (code, "not of geneval on photo" in " ".join(error.split())) == (2, True), error
    assert judge.bodies == []


def test_missing_prompts_are_named(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, _, error = cli(*command(tiny_models, "sd15", tmp_path / "run"))
    assert code == 3
    for words in ("agsm-bench data get unigenbench", f"agsm-bench metrics get {CLIP}", "metrics get image_reward/v1.0"):
        assert words in error
    assert not (tmp_path / "run").exists()
