"""COCO-val5K on photographs: captions in order, the captioned pictures as references, and what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import brightness
import numpy as np
import pytest
from benchmark_data import pictures, save_clip, scores_of, summary_of
from coco_tiny import caption, noise, write_coco
from conftest import Cli
from photo_tiny import SIZE
from PIL import Image

from agsm_bench import plugins
from agsm_bench.benchmarks import coco_val5k
from agsm_bench.images import decode
from agsm_bench.scoring import reference_sets, selection
from agsm_bench.scoring.runs import given_set
from agsm_bench.store import Run

IDS = {"train2017": [5], "val2017": [632, 139, 500000, 285, 90, 1000, 724, 776, 785, 802, 872, 885]}
ORDER = sorted(IDS["val2017"])
CLIP = "clip/openai-l14"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    monkeypatch.setenv("AGSM_BENCH_DATA", str(root))
    coco_val5k._images.cache_clear()
    write_coco(root, IDS, noise)
    return root


@pytest.fixture
def bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of sets beside the others, as an entry point would bring it: of pictures alone, without prompts."""
    others, name = selection.image_metrics(), "bright/features"
    variants = {name: replace(brightness.METRIC.variants[name], needs=())}
    metric = replace(brightness.METRIC, variants=variants)
    monkeypatch.setattr(selection, "image_metrics", lambda: {"bright": metric, **others})
    monkeypatch.setattr(reference_sets, "cache_folder", lambda: tmp_path / "statistics")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def command(models: dict[str, Path], name: str, out: Path, *more: object) -> list[object]:
    model = ["--backbone", name, "--model", models[name], "--size", SIZE, "--device", "cpu"]
    return ["eval", "coco", *model, "--steps", 1, *more, "--out", out]


def test_prompts_are_the_first_captions_in_the_order_of_ids() -> None:
    prompts = plugins.load("benchmarks", "coco_val5k").prompts("photo")
    assert [prompt.id for prompt in prompts] == [f"{key:012d}" for key in ORDER]
    assert [prompt.text for prompt in prompts] == [caption(key, 0) for key in ORDER]


@pytest.mark.parametrize("size", [SIZE, 20, 33])
def test_references_are_cut_to_a_square_and_then_resized(size: int) -> None:
    benchmark = plugins.load("benchmarks", "coco_val5k")
    keys = set()
    for prompt, key in zip(benchmark.prompts("photo"), ORDER, strict=True):
        given = benchmark.given("photo", prompt, size)
        with Image.open(coco_val5k._images()[key].path) as image:
            square = image.convert("RGB").crop((2, 0, 22, 20))
        np.testing.assert_array_equal(decode(given.picture()), square.resize((size, size), Image.Resampling.BICUBIC))
        keys |= {given.key, benchmark.given("photo", prompt, size + 1).key}
    assert len(keys) == 2 * len(ORDER)


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_eval(cli: Cli, tiny_models: dict[str, Path], clip: Path, tmp_path: Path, name: str) -> None:
    asked = command(tiny_models, name, tmp_path / "run", "--metrics", f"{CLIP},mse", f"--weights={CLIP}={clip}")
    code, said, error = cli(*asked, "--limit", 3)
    assert code == 0, error
    assert CLIP in said
    summary = summary_of(tmp_path / "run")
    assert (summary["expected"], summary["scored"], summary["limited"]) == (3, 3, True)
    assert summary["metrics"].keys() == {CLIP, "mse"}
    assert summary["metrics"][CLIP]["n"] == 3
    made = pictures(tmp_path / "run")
    assert made.keys() == {f"{key:012d}/0000" for key in ORDER[::4]}
    scores = scores_of(tmp_path / "run")
    for key in ORDER[::4]:
        with Image.open(coco_val5k._images()[key].path) as image:
            square = image.convert("RGB").crop((2, 0, 22, 20)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        error = decode(made[f"{key:012d}/0000"]).astype(float) - np.asarray(square, float)
        value = scores[f"{key:012d}/0000", "mse"]["value"]
        assert value == pytest.approx(float(np.square(error / 255).mean()), abs=1e-6)


def test_a_distance_is_from_all_captioned_pictures(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, bright: None
) -> None:
    asked = command(tiny_models, "sd15", tmp_path / "run", "--metrics", "bright/features")
    code, _, error = cli(*asked)
    assert code == 0, error
    summary = summary_of(tmp_path / "run")
    distance = summary["metrics"]["bright/features"]
    assert (distance["n"], distance["unscored"]) == (12, 0)
    assert distance["value"] > 0

    benchmark = plugins.load("benchmarks", "coco_val5k")
    references = given_set(Run.open(tmp_path / "run"), benchmark)
    assert references
    assert list(references.pictures) == [f"{key:012d}" for key in ORDER]
    folder = tmp_path / "references"
    folder.mkdir()
    for key, read in references.pictures.items():
        (folder / f"{key}.png").write_bytes(read())
    code, _, error = cli("score", tmp_path / "run", "--metrics", "bright/features", "--references", folder)
    assert code == 0, error
    assert summary_of(tmp_path / "run")["metrics"]["bright/features"]["value"] == pytest.approx(distance["value"])
    code, _, error = cli(*asked)  # and the summary of a later call has it
    assert summary_of(tmp_path / "run")["metrics"]["bright/features"]["value"] == pytest.approx(distance["value"])


def test_a_set_with_a_hole_is_refused_and_a_pair_without_its_picture_unscored(
    cli: Cli, tiny_models: dict[str, Path], data: Path, tmp_path: Path, bright: None
) -> None:
    (data / "coco" / "val2017" / f"{ORDER[0]:012d}.jpg").write_bytes(b"no picture")
    out = tmp_path / "run"
    assert cli(*command(tiny_models, "sd15", out, "--metrics", "mse", "--limit", 2))[0] == 0
    found = summary_of(out)["metrics"]["mse"]
    assert (found["n"], found["unscored"]) == (1, 1)
    (line,) = summary_of(out)["unscored_samples"]
    assert f"{ORDER[0]:012d}.jpg is gone or damaged" in line["reason"]
    code, _, error = cli("score", out, "--metrics", "bright/features")
    assert (code, f"The reference {ORDER[0]:012d} has no features" in error) == (3, True), error


def test_images_made_elsewhere(cli: Cli, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    assert cli(*command(tiny_models, "sd15", tmp_path / "run", "--metrics", "mse"))[0] == 0
    folder = tmp_path / "theirs"
    folder.mkdir()
    for sample, png in pictures(tmp_path / "run").items():
        (folder / f"{int(sample[:12])}.png").write_bytes(png)  # without leading zeros
    asked = ["score", "--images", folder, "--benchmark", "coco", "--metrics", "mse", "--out", tmp_path / "again"]
    code, _, error = cli(*asked)
    assert code == 0, error
    ours, theirs = summary_of(tmp_path / "run"), summary_of(tmp_path / "again")
    assert theirs["metrics"] == ours["metrics"]
    assert (theirs["complete"], theirs.get("warnings")) == (True, None)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_all_that_is_missing_is_named_before_anything_starts(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, said, error = cli(*command(tiny_models, name, tmp_path / "run", "--metrics", CLIP))
    assert (code, said) == (3, "")
    for words in ("data get coco-val2017", "data get coco-captions", f"metrics get {CLIP}"):
        assert f"agsm-bench {words}" in error, error
    assert not (tmp_path / "run").exists()


def test_captions_that_are_damaged(cli: Cli, tiny_models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    file = data / "coco" / "annotations" / "captions_val2017.json"
    file.write_text(json.dumps({"images": [], "annotations": [{"image_id": 3, "caption": "A cat."}]}))
    code, _, error = cli(*command(tiny_models, "sd15", tmp_path / "run", "--metrics", "none"))
    assert (code, "agsm-bench data get coco-captions --again" in error) == (3, True), error
