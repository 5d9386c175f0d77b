"""GenEval on photographs: a tiny Mask2Former and a tiny CLIP judge tiny pipelines' images, and anybody's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import noise, pictures, save_clip, scores_of, summary_of
from conftest import Cli
from photo_tiny import SIZE
from test_detector_mask2former import save_network
from test_photo_cli import interrupt

from agsm_bench import mask2former as steps
from agsm_bench.detecting import detecting
from agsm_bench.detections import DETECTIONS, DetectionStore, Found
from agsm_bench.geneval import CORRECT, GenEval
from agsm_bench.geneval_prompts import COLORS
from agsm_bench.geneval_rules import kept, verdict
from agsm_bench.images import decode
from agsm_bench.score import RESULTS
from agsm_bench.types import Detection, Prompt

SAMPLES = [f"{number:05d}/0000" for number in (0, 92, 184, 276, 368, 460)]
"""A prompt of each tag."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "mask2former")
    save_clip(folder / "clip")
    return [f"--weights=mask2former={folder / 'mask2former'}", f"--weights=clip/openai-l14={folder / 'clip'}"]


@pytest.fixture(autouse=True)
def _small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the pixels a side."""
    monkeypatch.setattr(steps, "LONG_SIDE", 166)
    monkeypatch.setattr(steps, "SHORT_SIDE", 100)


def command(models: dict[str, Path], name: str, out: Path, *more: object) -> list[object]:
    model = ["--backbone", name, "--model", models[name], "--size", SIZE, "--device", "cpu"]
    small = ["--steps", 1, "--limit", 6, "--images-per-prompt", 1]
    return ["eval", "geneval", *model, *small, *more, "--out", out]


@pytest.fixture(scope="module")
def made(tiny_models: dict[str, Path], weights: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six images, judged; not to be changed."""
    from agsm_bench.evaluate import evaluate
    from agsm_bench.model_options import ModelOptions
    from agsm_bench.request import EvaluationOptions, Request, Scoring

    given = {name: Path(path) for name, path in (text.split("=")[1:] for text in weights)}
    options = EvaluationOptions(limit=6, images_per_prompt=1, steps=1, size=SIZE)
    model = ModelOptions(model=str(tiny_models["sd15"]), device="cpu")
    out = tmp_path_factory.mktemp("run") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "LONG_SIDE", 166)
        patch.setattr(steps, "SHORT_SIDE", 100)
        evaluate(
            Request("geneval", "sd15", out, options=options, model=model, scoring=Scoring(weights=given)),
            lambda *_: None,
        )
    return out


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def detections_of(row: dict[str, Any]) -> list[Detection]:
    return [Detection(d["class"], tuple(d["box"]), d["score"], d["color"]) for d in row["detections"]]


def test_verdicts_are_those_of_the_stored_detections(made: Path) -> None:
    results, found = rows_of(made / RESULTS), rows_of(made / DETECTIONS)
    assert [row["sample_id"] for row in found] == SAMPLES
    assert len({row["tag"] for row in results}) == 6
    assert sum(len(row["detections"]) for row in found) > 6, "the network is sure of something"
    scores = scores_of(made)
    for result, row in zip(results, found, strict=True):
        metadata, detections = json.loads(result["metadata"]), detections_of(row)
        judged = verdict(detections, metadata)
        assert (result["correct"], result["reason"]) == (judged.correct, judged.reason)
        boxes = {label: [[*d.box, d.score] for d in own] for label, own in kept(detections, metadata).items()}
        assert json.loads(result["details"]) == json.loads(json.dumps(boxes))
        score = scores[row["sample_id"], CORRECT]
        assert (score["value"], score["reason"] or "") == (judged.correct, judged.reason)
        assert score["version"] == row["detector"]
    summary = summary_of(made)
    assert (summary["complete"], summary["scored"]) == (True, 6)
    correct = [row["correct"] for row in results]
    assert summary["metrics"]["geneval/images_correct"]["value"] == pytest.approx(np.mean(correct))
    tags = {name for name, found in summary["metrics"].items() if (found["n"], found["value"]) == (1, None)}
    assert len(tags) == 6, "one image of a tag gives no interval"


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_an_interrupted_scoring_goes_on(
    cli: Cli,
    tiny_models: dict[str, Path],
    weights: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr("agsm_bench.score.BATCH", 2)
    code, said, error = cli(*command(tiny_models, name, tmp_path / "whole", *weights))
    assert code == 0, error
    assert f"Run folder: {tmp_path / 'whole'}" in said
    with monkeypatch.context() as patch:
        interrupt(patch, DetectionStore, "add", 3)
        code, _, error = cli(*command(tiny_models, name, tmp_path / "broken", *weights))
    assert (code, "Run the same command to go on." in error) == (130, True)
    assert len((tmp_path / "broken" / DETECTIONS).read_text().splitlines()) == 3
    assert cli("score", tmp_path / "broken", *weights)[0] == 0
    for file in (RESULTS, DETECTIONS, "scores.jsonl", "summary.json"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    with monkeypatch.context() as patch:
        patch.setattr(steps.Mask2Former, "detect", None)  # nothing is asked again
        assert cli(*command(tiny_models, name, tmp_path / "whole", *weights))[0] == 0


def given(weights: list[str]) -> dict[str, Path]:
    return {name: Path(path) for name, path in (text.split("=")[1:] for text in weights)}


def test_colours_are_named_where_a_clause_asks_for_them(weights: list[str]) -> None:
    finder, image = detecting("photo", None, given(weights)).loaded(), decode(next(noise_pngs(1))[1])
    (plain,) = finder.find(GenEval(), [asking({"class": "bench", "count": 1})], [image])
    sure = [found for found in plain if found.score > 0.3]
    assert sure
    assert all(found.color is None for found in plain)
    label, count = sure[0].label, sum(found.label == sure[0].label for found in sure)
    for clauses, named in (
        ([{"class": label, "count": 1, "color": "red"}], 1),
        ([{"class": label, "count": count, "color": "red"}], count),
        ([{"class": label, "count": count + 1, "color": "red"}], 0),
        ([{"class": label, "count": 1}], 0),
    ):
        (found,) = finder.find(GenEval(), [asking(*clauses)], [image])
        colored = [each for each in found if each.color is not None]
        assert len(colored) == named
        assert {each.color for each in colored} <= set(COLORS)
        assert {each.label for each in colored} <= {label}
        verdict(found, asking(*clauses).requirement)  # no box that it needs a colour of lacks one


def asking(*clauses: dict[str, Any]) -> Prompt:
    return Prompt("00000", "", "colors", {"tag": "colors", "include": list(clauses), "prompt": ""})


def test_masks_are_not_kept(tmp_path: Path) -> None:
    """Those of a whole run would fill the memory."""
    store = DetectionStore(tmp_path, "1")
    found = Detection("bench", (0.0, 0.0, 2.0, 2.0), 0.9, mask=np.ones((2, 2), bool))
    store.add(Found("00000/0000", "hash", (found,), "1"))
    (again,) = store.get("00000/0000", "hash") or ()
    assert again == found
    assert again.mask is None


def noise_pngs(count: int) -> Iterator[tuple[int, bytes]]:
    import io

    for number in range(count):
        stream = io.BytesIO()
        noise(SIZE, SIZE, number).save(stream, "PNG")
        yield number, stream.getvalue()


@pytest.mark.parametrize("layout", ["upstream", "flat"])
def test_anybodys_images_are_judged_alike(
    cli: Cli, made: Path, weights: list[str], tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "theirs"
    if layout == "upstream":
        shutil.copytree(made / "images", folder)
    else:
        folder.mkdir()
        for sample, png in pictures(made).items():
            (folder / f"{int(sample[:5])}_{int(sample[6:])}.png").write_bytes(png)
    asked = ["score", "--images", folder, "--benchmark", "geneval", *weights, "--out", tmp_path / "run"]
    code, _, error = cli(*asked)
    assert code == 0, error
    ours, theirs = scores_of(made), scores_of(tmp_path / "run")
    assert theirs == ours
    summary = summary_of(tmp_path / "run")
    assert summary["metrics"]["geneval/mean"] == summary_of(made)["metrics"]["geneval/mean"]
    assert (summary["complete"], summary["expected"], summary["scored"]) == (False, 2212, 6)
    assert "2206 of 2212 images are missing, first 00000/0001, 00000/0002, 00000/0003." in summary["warnings"]
    assert [row["correct"] for row in rows_of(tmp_path / "run" / RESULTS)] == [
        row["correct"] for row in rows_of(made / RESULTS)
    ]


def test_images_of_other_prompts_are_named(cli: Cli, made: Path, weights: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(made / "images", folder)
    asked = ["score", "--images", folder, "--benchmark", "geneval", *weights, "--out", tmp_path / "run"]
    line = folder / "00092" / "metadata.jsonl"
    right = line.read_text()
    for text, words in (('{"prompt": "a photo of a cat"}\n', "says 'a photo of a cat'"), ("{", "is damaged")):
        line.write_text(text)
        code, _, error = cli(*asked)
        assert (code, words in error, "00092" in error) == (2, True, True), error
    line.write_text(right)
    (folder / "00092" / "samples" / "grid.png").write_bytes(b"")
    (folder / "00600" / "samples").mkdir(parents=True)
    (folder / "00600" / "samples" / "0000.png").write_bytes(b"")
    (folder / "00000" / "samples" / "0001.jpg").write_bytes(b"")
    code, _, error = cli(*asked)
    assert (code, "3 of the pictures" in error) == (2, True), error
    assert all(name in error for name in ("grid.png", "0000.png", "0001.jpg")), error
    assert not (tmp_path / "run").exists()


def test_two_files_of_one_image_are_named(cli: Cli, weights: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("7_0.png", "00007_0000.png"):
        (folder / name).write_bytes(next(noise_pngs(1))[1])
    code, _, error = cli("score", "--images", folder, "--benchmark", "geneval", *weights, "--out", tmp_path / "run")
    assert (code, "are both 00007/0000. Move one of them away." in " ".join(error.split())) == (2, True), error


def test_a_damaged_image_is_unscored_and_a_detector_that_finds_nothing_right_is_doubted(
    cli: Cli, weights: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"no picture")
    for number, png in noise_pngs(21):
        (folder / f"{number or 21}.png").write_bytes(png)
    asked = ["score", "--images", folder, "--benchmark", "geneval", *weights, "--out", tmp_path / "run"]
    code, said, error = cli(*asked)
    assert code == 0, error
    summary = summary_of(tmp_path / "run")
    assert (summary["scored"], summary["unscored"]) == (21, 1)
    (unscored,) = summary["unscored_samples"]
    assert (unscored["sample_id"], "UnidentifiedImageError" in unscored["reason"]) == ("00000/0000", True)
    (doubt,) = [text for text in summary["warnings"] if "of a single object are correct" in text]
    assert "agsm-bench metrics get mask2former" in doubt
    assert doubt[:30] in " ".join(said.split())
    assert summary["metrics"]["geneval/single_object"]["n"] == 21


def results_with(made: Path, path: Path, *lines: str) -> Path:
    path.write_text((made / RESULTS).read_text() + "".join(f"{line}\n" for line in lines))
    return path


def test_a_results_file_gives_the_summary_and_names_what_is_wrong(cli: Cli, made: Path, tmp_path: Path) -> None:
    first = rows_of(made / RESULTS)[0]
    others = json.dumps(json.loads(first["metadata"]) | {"tag": "other"})
    wrong = {
        json.dumps(first): "is there twice",
        "": None,
        "{": "Expecting",
        "[1]": "it is no JSON object",
        "null": "it is no JSON object",
        json.dumps({**first, "filename": "a", "metadata": others}): "no prompt of GenEval's",
        json.dumps({**first, "filename": "b", "correct": "yes"}): "`correct` is neither true nor false",
        json.dumps({key: value for key, value in first.items() if key != "details"}): "it has no 'details'",
        json.dumps({**first, "filename": "c", "details": "[]"}): "`details` has no boxes by class",
        json.dumps({key: value for key, value in first.items() if key != "correct"}): "it has no 'correct'",
        json.dumps({**first, "filename": "d", "metadata": {}}): "`metadata` is no text",
    }
    file = results_with(made, tmp_path / "results.jsonl", *wrong)
    code, said, error = cli("score", "--results", file, "--json")
    assert code == 0, error
    found, summary = json.loads(said), summary_of(made)
    assert found["images"] == 6
    assert found["metrics"] == {name: value for name, value in summary["metrics"].items() if name in found["metrics"]}
    assert found["metrics"].keys() >= {"geneval/mean", "geneval/images_correct", "geneval/prompts_correct"}
    for number, words in enumerate(wrong.values(), 7):
        lines = [text for text in found["warnings"] if f" line {number}: " in text]
        assert len(lines) == (words is not None), found["warnings"]
        assert not words or words in lines[0]
    assert any("2206 of 2212 images are missing, of 553 prompts (first 00000, " in text for text in found["warnings"])
    code, said, _ = cli("score", "--results", file)
    assert code == 0
    for words in ("is there twice", "And 3 more, with --json.", "– 1"):  # one image gives no interval
        assert words in " ".join(said.split())
    assert "(–" not in said


@pytest.mark.parametrize("text", ["", "\n\n", "{}\n", "\x00\xff", None])
def test_a_results_file_without_a_row(cli: Cli, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "results.jsonl"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    code, _, error = cli("score", "--results", file)
    assert (code, "Name a results.jsonl." in " ".join(error.split())) == (3, True), error


def test_weights_of_something_unknown(
    cli: Cli, tiny_models: dict[str, Path], weights: list[str], tmp_path: Path
) -> None:
    wrong = [weights[0].replace("mask2former=", "mask2fromer=", 1), weights[1]]
    code, _, error = cli(*command(tiny_models, "sd15", tmp_path / "run", *wrong))
    assert (code, "mask2fromer" in error) == (2, True), error
