"""The same run at other batch sizes, in shards, on two threads and in another environment.

On one thread batch sizes and shards give the same bytes. On two, matrix products of few rows are cut between the
threads, and a prediction moves by up to 4e-6 with the batch: now and then a pixel by one of 255, and no verdict.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from photo_tiny import SIZE
from PIL import Image

from agsm_bench.evaluate import evaluate
from agsm_bench.model_options import ModelOptions
from agsm_bench.report.files import results_dir
from agsm_bench.request import EvaluationOptions, Request, Scoring
from agsm_bench.rescore import rescore
from agsm_bench.scoring.collection import score_images
from agsm_bench.shards import merge
from agsm_bench.store import Run

BATCHES, SHARDS, THREADS = (1, 3, 8), (2, 5), (1, 2)
SHAPES, PHOTO = ("shapes-mmdit", "shapes-unet"), ("sd15", "sdxl", "sd3")
PIXELS = 1
"""Of 255, that a pixel may change by with the number of threads."""
SCORES = 1e-4
"""That a score may."""
ITS_OWN = ("manifest.json", "config.json")
"""Files that note the command and the time."""


@pytest.fixture(autouse=True)
def _few_timesteps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def silent(*_: object) -> None:
    """No progress bar."""


def run(
    out: Path, backbone: str, models: dict[str, Path], batch: int, shard: tuple[int, int] | None = None, limit: int = 10
) -> Path:
    """A GenEval run; those of photographs are of random weights, and have images alone."""
    photo = backbone in PHOTO
    model = ModelOptions(model=str(models[backbone]), device="cpu") if photo else ModelOptions()
    options = EvaluationOptions(limit, 1, batch_size=batch, steps=2, size=SIZE if photo else None)
    evaluate(
        Request("geneval", backbone, out, None, options, shard, model=model, scoring=Scoring(nothing=photo)), silent
    )
    return out


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (*ITS_OWN, ".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): np.asarray(Image.open(path), np.int16) for path in folder.rglob("*.png")}


def alike(one: Path, other: Path) -> None:
    """The same images and scores within the tolerance, and every verdict the same."""
    first, second = pixels(one), pixels(other)
    assert first.keys() == second.keys()
    assert max(np.abs(first[name] - second[name]).max() for name in first) <= PIXELS
    mine, theirs = Run.open(one).scores(), Run.open(other).scores()
    assert {key: row.keys() for key, row in mine.items()} == {key: row.keys() for key, row in theirs.items()}
    for key, row in mine.items():
        for metric, score in row.items():
            value = theirs[key][metric].value
            assert (score.value is None) == (value is None)
            assert score.value is None or abs(score.value - value) <= (0 if "geneval/" in metric else SCORES), metric
    for name in ("correct", "reason"):
        found = [[line[name] for line in lines(folder, "results.jsonl")] for folder in (one, other)]
        assert found[0] == found[1]


@pytest.mark.parametrize("backbone", SHAPES)
def test_a_row_does_not_know_its_company(backbone: str) -> None:
    """On one thread torch has another kernel for 1x1 convolutions of fewer than 16 rows."""
    from agsm_bench import plugins

    denoiser = plugins.load("backbones", backbone).load()
    config = denoiser.network.config
    latents = torch.randn(20, config.in_channels, *[config.sample_size] * 2, generator=torch.Generator().manual_seed(0))
    text, timestep = denoiser.encode_text(["a photo of two red circles"] * 20), torch.full((20,), 500)
    with torch.no_grad():
        for count, tolerance in zip(THREADS, (0, 1e-5), strict=True):
            with threads(count):
                whole, few = (denoiser.predict(latents[:n], timestep[:n], text.rows(torch.arange(n))) for n in (20, 5))
                pictures, fewer = (denoiser.pipe.vae.decode(latents[:n]).sample for n in (20, 5))
            for one, other in ((few, whole[:5]), (fewer, pictures[:5])):
                torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("backbone", ["sd15", "sd3"])
def test_photographs(tiny_models: dict[str, Path], tmp_path: Path, backbone: str) -> None:
    whole = run(tmp_path / "whole", backbone, tiny_models, 8, limit=4)
    for batch in (1, 3):
        assert tree(run(tmp_path / str(batch), backbone, tiny_models, batch, limit=4)) == tree(whole)
    with threads(2):
        alike(run(tmp_path / "threads", backbone, tiny_models, 3, limit=4), whole)


def test_scores_on_two_threads() -> None:
    images = [np.random.default_rng(seed).integers(256, size=(24, 24, 3), dtype=np.uint8) for seed in range(9)]
    prompts = [f"a photo of {count} red circles" for count in ("two", "three", "four")] * 3

    def scored(batch: int, count: int) -> list[float | None]:
        with threads(count):
            found = score_images(images, prompts, ["shapes_clip/score"], device="cpu", batch_size=batch)
        return list(found.scores["shapes_clip/score"])

    alone = scored(1, 1)
    assert all(scored(batch, 1) == alone for batch in (3, 8))
    assert scored(3, 2) == pytest.approx(alone, abs=SCORES)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [*SHAPES, *PHOTO])
def test_every_way_to_make_a_run(cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, backbone: str) -> None:
    whole = run(tmp_path / "whole", backbone, tiny_models, 8)
    for count in THREADS:
        for batch in BATCHES:
            with threads(count):
                made = run(tmp_path / f"{batch}-{count}", backbone, tiny_models, batch)
            alike(made, whole)
            assert count > 1 or tree(made) == tree(whole)
    for count in SHARDS:
        for most in THREADS:  # the parts on as many threads, in turn, and of all batch sizes
            parts = [tmp_path / f"{index}-{count}-{most}" for index in range(count)]
            for index, part in enumerate(parts):
                with threads(1 + index % most):
                    run(part, backbone, tiny_models, BATCHES[index % 3], (index, count))
            merged = tmp_path / f"merged-{count}-{most}"
            if backbone in PHOTO:  # there is nothing to judge them by
                with merge(parts, merged) as union:
                    union.finalise({})
            else:
                rescore(parts, merged, silent)
            alike(merged, whole)
            assert most > 1 or tree(merged) == tree(whole)
    if backbone in SHAPES:
        codes = [cli("compare", each, "--baseline", whole)[0] for each in (whole, merged, tmp_path / "1-2")]
        assert codes == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", SHAPES)
def test_training_on_two_threads(cli: Cli, tmp_path: Path, backbone: str) -> None:
    """Tokens within a thousandth of their size, as steps add up; two processes: test_training_parallel.py."""
    from agsm_bench.tokens import load_tokens

    train = ("train", "agsm", "--backbone", backbone, "--batch", 2, "--steps", 4, "--validate-every", 2, "--out")
    for name, count in (("one", 1), ("again", 1), ("two", 2)):
        with threads(count):
            assert cli(*train, tmp_path / name)[0] == 0
    assert tree(tmp_path / "again") == tree(tmp_path / "one")
    one, two = (load_tokens(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, values in one.items():
        assert torch.allclose(two[name], values, rtol=0, atol=1e-3 * float(values.abs().max())), name
    for mine, theirs in zip(*(lines(tmp_path / name, "train.jsonl") for name in ("one", "two")), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)


PLAIN = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8", "COLUMNS": "200"}
OTHER = {"PYTHONHASHSEED": "4711", "TZ": "Asia/Kolkata", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "40"}
ENVIRONMENTS = (PLAIN, OTHER | {"PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"})


def command(where: Path, environment: dict[str, str], *arguments: object) -> bytes:
    """What `agsm-bench` prints there."""
    where.mkdir(exist_ok=True)
    line = [sys.executable, "-m", "agsm_bench", *map(str, arguments)]
    return subprocess.run(line, cwd=where, env=os.environ | environment, check=True, capture_output=True).stdout


def test_pages_and_tables_in_another_environment(tmp_path: Path) -> None:
    """Other order of sets, zone, locale, width and folder."""
    runs = [results_dir() / "runs" / name for name in ("geneval-shapes-unet", "geneval-agsm-shapes-unet-0")]
    for arguments in (
        ("view", *runs, "--out", "page"),
        ("report", "--all", "--format", "html", "--out", "page/tables.html"),
        ("leaderboard", *runs, "--format", "md", "--out", "page/board.md"),
        ("report", "--figure", "geneval", "--out", "page/figure.svg"),
    ):
        for number, environment in enumerate(ENVIRONMENTS):
            command(tmp_path / str(number), environment, *arguments)
    assert tree(tmp_path / "0") == tree(tmp_path / "1")
    assert len(tree(tmp_path / "0")) > 5


@pytest.mark.slow
def test_runs_in_another_environment(tmp_path: Path) -> None:
    for number, environment in enumerate(ENVIRONMENTS):
        where, few = tmp_path / str(number), ("--backbone", "shapes-unet", "--out")
        command(where, environment, "train", "agsm", "--batch", 2, "--steps", 2, *few, "tokens")
        small = ("--limit", 6, "--images-per-prompt", 1, "--steps", 2)
        command(where, environment, "eval", "geneval", *small, "--tokens", "tokens", *few, "run")
    assert tree(tmp_path / "0") == tree(tmp_path / "1")
