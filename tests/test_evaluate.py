"""Evaluation end to end on the shipped miniatures: same bytes whatever the batch, the shard or the interruption."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

from agsm_bench.errors import UserError
from agsm_bench.evaluate import evaluate
from agsm_bench.planning import spread
from agsm_bench.plugins import load
from agsm_bench.report.files import results_dir
from agsm_bench.request import EvaluationOptions, Request
from agsm_bench.rescore import rescore
from agsm_bench.tokens.checkpoint import save_tokens
from agsm_bench.tokens.soft_tokens import SoftTokens

FAST = {"limit": 6, "images_per_prompt": 1, "steps": 3}
STORES = ("samples.jsonl", "scores.jsonl", "detections.jsonl", "denoising.jsonl", "results.jsonl", "summary.json")
MEASURES = {
    "shapes_clip/score",
    "shapes_frechet",
    *(f"denoising/{name}" for name in ("err_positive", "err_negative", "gap", "win_rate")),
}


def silent(phase: str, done: int, total: int) -> None:
    """No progress bar."""


def run(
    out: Path, backbone: str = "shapes-mmdit", shard: tuple[int, int] | None = None, **options: Any
) -> dict[str, Any]:
    tokens = options.pop("tokens", None)
    return evaluate(Request("geneval", backbone, out, tokens, EvaluationOptions(**(FAST | options)), shard), silent)


def stores(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in STORES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_batch_size_does_not_matter(whole: Path, tmp_path: Path, batch_size: int) -> None:
    run(tmp_path, batch_size=batch_size)
    assert stores(tmp_path) == stores(whole)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    parts = [tmp_path_factory.mktemp("shard") for _ in range(2)]
    for index, part in enumerate(parts):
        run(part, shard=(index, 2))
    return parts


def test_shards_merge_to_the_whole(whole: Path, shards: list[Path], tmp_path: Path) -> None:
    folder, _ = rescore(shards, tmp_path / "merged", silent)
    assert stores(folder) == stores(whole)


def test_an_interrupted_run_ends_like_an_unbroken_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agsm_bench.store import Run

    add = Run.add_image
    monkeypatch.setattr(Run, "add_image", lambda self, sample, png: (add(self, sample, png), _stop(sample.id)))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 3
    run(tmp_path)
    assert stores(tmp_path) == stores(whole)


def test_a_run_stopped_before_its_held_out_errors_ends_like_an_unbroken_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agsm_bench.training.validation.pair_errors", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "denoising.jsonl").exists()
    run(tmp_path)
    assert stores(tmp_path) == stores(whole)


def _stop(sample_id: str) -> None:
    if sample_id == spread(load("benchmarks", "geneval").prompts("shapes"), 6)[2].id + "/0000":
        raise KeyboardInterrupt


def test_a_finished_run_is_not_done_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stores(whole)

    def refuse() -> None:
        raise AssertionError("the backbone was loaded again")

    monkeypatch.setattr("agsm_bench.diffusion.loading.load_pipeline", refuse)
    run(whole)
    assert stores(whole) == before


def test_an_unreadable_image_is_unscored_and_the_rest_goes_on(tmp_path: Path) -> None:
    from agsm_bench.benchmark import Benchmark
    from agsm_bench.evaluate import score_run
    from agsm_bench.planning import samples_of
    from agsm_bench.provenance import provenance
    from agsm_bench.score import judging_of
    from agsm_bench.store import Run

    run(tmp_path)
    benchmark: Benchmark = load("benchmarks", "geneval")
    samples = samples_of(spread(benchmark.prompts("shapes"), 6), 1)
    with Run.reopen(tmp_path, provenance()) as opened:
        opened.add_image(samples[0], b"not a PNG")
        summary = score_run(opened, judging_of(benchmark, "shapes"), samples, silent)
    assert (summary["scored"], summary["unscored"]) == (5, 1)
    assert "UnidentifiedImageError" in summary["unscored_samples"][0]["reason"]
    assert summary["metrics"]["geneval/images_correct"]["n"] == 5


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """Free to be changed."""
    return shutil.copytree(whole, tmp_path / "copy")


def test_another_detector_judges_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((copied / "summary.json").read_text())["metrics"]
    for name, key in (("detections.jsonl", "detector"), ("scores.jsonl", "version")):
        path = copied / name  # as files of before versions were kept
        path.write_text(path.read_text().replace(f', "{key}": "1"', "").replace(f'"{key}": "1", ', ""))
        assert f'"{key}": "1"' not in path.read_text()
    monkeypatch.setattr("agsm_bench.shapes.detector.detect", _refuse)
    assert rescore([copied], None, silent)[1]["metrics"] == before
    monkeypatch.setattr("agsm_bench.shapes.detector.VERSION", "2")
    monkeypatch.setattr("agsm_bench.shapes.detector.detect", lambda image: [])
    after = rescore([copied], None, silent)[1]["metrics"]
    assert after["geneval/images_correct"]["value"] == 0
    assert all(after[name] == before[name] for name in MEASURES)
    assert '"detector": "1"' not in (copied / "detections.jsonl").read_text()


def _refuse(image: object) -> None:
    raise AssertionError("the images were judged again")


def test_another_encoder_scores_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((copied / "summary.json").read_text())
    scores = (copied / "scores.jsonl").read_text()
    (copied / "scores.jsonl").write_text(re.sub(r'("shapes_clip/score".*"value": )[-.\d]+', r"\g<1>0.0", scores))
    assert rescore([copied], None, silent)[1]["metrics"]["shapes_clip/score"]["value"] == 0
    monkeypatch.setattr("agsm_bench.shapes.clip.weights_version", lambda: "other weights")
    assert rescore([copied], None, silent)[1] == before


def test_runs_without_held_out_errors_lack_only_those(whole: Path, copied: Path) -> None:
    (copied / "denoising.jsonl").unlink()
    _, summary = rescore([copied], None, silent)
    expected = json.loads((whole / "summary.json").read_text())["metrics"]
    assert summary["metrics"] == {k: v for k, v in expected.items() if not k.startswith("denoising/")}
    run(copied)
    assert stores(copied) == stores(whole)


def test_shards_must_agree_on_the_held_out_errors(shards: list[Path], tmp_path: Path) -> None:
    parts = [shutil.copytree(part, tmp_path / str(index)) for index, part in enumerate(shards)]
    path = parts[1] / "denoising.jsonl"
    path.write_text(re.sub(r'"errors": \[\[[.\d]+', '"errors": [[9.0', path.read_text()))
    with pytest.raises(UserError, match="differs"):
        rescore(parts, tmp_path / "merged", silent)
    path.unlink()
    _, summary = rescore(parts, tmp_path / "merged", silent)
    assert summary["metrics"]["denoising/gap"]["clusters"] == 2


def test_zero_tokens_are_the_base_and_tokens_change_images(whole: Path, tmp_path: Path) -> None:
    config = load("backbones", "shapes-mmdit").tokens
    for name, scale in (("none", 0), ("some", 1)):
        from dataclasses import replace

        tokens = SoftTokens(replace(config, count=4 * scale))
        if scale:
            tokens.base.data.fill_(0.5)
        save_tokens(tokens, tmp_path / name, {"trainer": "agsm", "seed": 0, "steps": 0})
        run(tmp_path / f"run-{name}", tokens=tmp_path / name)
    for name in ("samples.jsonl", "denoising.jsonl"):
        assert (tmp_path / "run-none" / name).read_bytes() == (whole / name).read_bytes()
        assert (tmp_path / "run-some" / name).read_bytes() != (whole / name).read_bytes()


@pytest.mark.parametrize("backbone", ["shapes-unet", "shapes-mmdit"])
def test_the_summary_says_what_it_is(cli: Cli, tmp_path: Path, backbone: str) -> None:
    arguments = ["--limit", 6, "--images-per-prompt", 1, "--steps", 2, "--out", tmp_path, "--json"]
    code, out, _ = cli("eval", "geneval", "--backbone", backbone, *arguments)
    assert code == 0
    summary = json.loads(out)
    assert summary["limited"]
    assert summary["complete"]
    assert (summary["expected"], summary["scored"], summary["unscored"]) == (6, 6, 0)
    assert summary["run"]["domain"] == "shapes"
    assert {"geneval/mean", "geneval/strict_mean", "shapes/too_many"} | MEASURES <= summary["metrics"].keys()
    columns = tomllib.loads((results_dir() / "tables" / "columns.toml").read_text(encoding="utf-8"))["columns"]
    others = ("coco_val5k/", "pie_bench/", "unigenbench/", "shapes_clip/lpips", "mse/")
    always = {c["metric"] for c in columns.values() if not (c.get("optional") or c["metric"].startswith(others))}
    assert always <= summary["metrics"].keys()
    assert (tmp_path / "images" / "00000" / "samples" / "0000.png").exists()


def test_another_run_is_not_overwritten(whole: Path) -> None:
    before = stores(whole)
    with pytest.raises(UserError, match="guidance_scale"):
        run(whole, guidance_scale=1.5)
    assert stores(whole) == before
