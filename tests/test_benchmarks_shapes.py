"""COCO-val5K, PIE-Bench and UniGenBench++ on the shapes domain, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from PIL import Image

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.benchmarks import coco_val5k
from agsm_bench.images import decode, open_mask
from agsm_bench.shapes.edits import KINDS, edits
from agsm_bench.shapes.render import render

STORES = ("samples.jsonl", "scores.jsonl", "summary.json")
TOKENS = Path(__file__).parents[1] / "results" / "runs" / "agsm-shapes-unet-0"


def summary_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.parametrize(("name", "count"), [("coco_val5k", 5000), ("pie_bench", 700), ("unigenbench", 600)])
def test_every_prompt_has_its_own_id_in_order(name: str, count: int) -> None:
    prompts = plugins.load("benchmarks", name).prompts("shapes")
    ids = [prompt.id for prompt in prompts]
    assert len(ids) == len(set(ids)) == count
    assert ids == sorted(ids)


def test_pie_bench_gives_the_source_its_prompt_and_mask() -> None:
    benchmark: Benchmark = plugins.load("benchmarks", "pie_bench")
    for number in (0, 150, 699):
        prompt, edit = benchmark.prompts("shapes")[number], edits()[number]
        given = benchmark.given("shapes", prompt, 24)
        assert given is not None
        assert given.mask is not None
        assert given.source == edit.source_text
        assert (decode(given.picture()) == render(edit.source)).all()
        assert (open_mask(given.mask()) == edit.mask).all()


def test_a_perfect_editor_and_one_that_does_nothing(tmp_path: Path, cli: Cli) -> None:
    """The true targets are all successes with a perfect background; the sources are none."""
    benchmark: Benchmark = plugins.load("benchmarks", "pie_bench")
    for name in ("target", "source"):
        (tmp_path / name).mkdir()
        for prompt, edit in list(zip(benchmark.prompts("shapes"), edits(), strict=True))[::20]:
            Image.fromarray(render(getattr(edit, name))).save(tmp_path / name / f"{prompt.id}.png")
    found = {}
    for name in ("target", "source"):
        code, _, error = cli(
            *("score", "--images", tmp_path / name, "--benchmark", "pie", "--domain", "shapes"),
            *("--out", tmp_path / f"run-{name}"),
        )
        assert code == 0, error
        found[name] = summary_of(tmp_path / f"run-{name}")["metrics"]
    assert found["target"]["pie_bench/success"]["value"] > 0.99
    assert found["target"]["pie_bench/kept"]["value"] > 0.99
    assert found["source"]["pie_bench/success"]["value"] == 0
    assert found["target"]["mse/unedited"]["value"] == found["source"]["mse/unedited"]["value"] == 0
    # PSNR of equal backgrounds is infinite: unscored and counted, never averaged
    assert (found["source"]["psnr/unedited"]["n"], found["source"]["psnr/unedited"]["unscored"]) == (0, 35)
    assert sum(found["source"][f"psnr/unedited[{kind}]"]["unscored"] for kind in KINDS) == 35


@pytest.mark.parametrize(
    ("words", "metric"),
    [
        (["unigenbench", "--backbone", "shapes-mmdit", "--steps", 4], "unigenbench/points"),
        (["coco", "--backbone", "shapes-unet", "--steps", 4], "coco_val5k/scene"),
        (
            ["pie", "--backbone", "shapes-unet", "--editor", "pnp", "--inversion", "direct", "--steps", 4],
            "pie_bench/kept",
        ),
        (["pie", "--backbone", "shapes-mmdit", "--editor", "flowalign", "--steps", 4], "pie_bench/success"),
    ],
)
def test_eval_resumes_to_the_same_run(tmp_path: Path, cli: Cli, words: list[str], metric: str) -> None:
    command = ["eval", *words, "--limit", 6]
    assert cli(*command, "--out", tmp_path / "whole")[0] == 0
    whole = summary_of(tmp_path / "whole")
    assert (whole["limited"], whole["complete"], whole["scored"] + whole["unscored"]) == (True, True, 6)
    assert whole["metrics"][metric]["n"] == 6
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    lines = (tmp_path / "broken" / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "broken" / "samples.jsonl").write_text("".join(lines[:2]))
    for image in sorted((tmp_path / "broken" / "images").glob("*/samples/*.png"))[2:]:
        image.unlink()
    code, _, error = cli(*command, "--batch-size", 3, "--out", tmp_path / "broken")
    assert code == 0, error
    for name in STORES:
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_shards_of_an_edit_make_the_whole(tmp_path: Path, cli: Cli) -> None:
    command = ["eval", "pie", "--backbone", "shapes-unet", "--steps", 3, "--set", "start_step=1", "--limit", 8]
    assert cli(*command, "--out", tmp_path / "whole")[0] == 0
    for i in range(2):
        assert cli(*command, "--shard", f"{i}/2", "--out", tmp_path / f"part{i}")[0] == 0
    assert cli("score", tmp_path / "part0", tmp_path / "part1", "--out", tmp_path / "union")[0] == 0
    for name in STORES:
        assert (tmp_path / "union" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_an_edit_depends_on_is_recorded_and_another_run_is_refused(tmp_path: Path, cli: Cli) -> None:
    command = ["eval", "pie", "--backbone", "shapes-unet", "--steps", 3, "--limit", 4, "--out", tmp_path / "run"]
    assert cli(*command, "--inversion", "direct", "--tokens", TOKENS, "--tokens-on", "target")[0] == 0
    run = summary_of(tmp_path / "run")["run"]
    expected = {"editor": "masactrl", "inversion": "direct", "tokens_on": "target", "start_step": 8, "start_layer": 10}
    assert run["editing"] == expected
    assert (run["steps"], run["guidance_scale"]) == (3, 6)
    code, _, error = cli(*command, "--inversion", "ddim", "--tokens", TOKENS, "--tokens-on", "target")
    assert (code, "editing is" in error) == (2, True), error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pie", "--editor", "flowedit", "--backbone", "shapes-unet"], "Use one of: masactrl, pnp"),
        (["pie", "--editor", "pnp", "--backbone", "shapes-mmdit"], "Use one of: flowalign, flowedit, rf_inversion"),
        (["pie", "--editor", "photoshop"], "There is no editor 'photoshop'"),
        (["geneval", "--editor", "flowedit"], "geneval generates images"),
        (["pie", "--editor", "flowedit", "--inversion", "ddim"], "has no option 'inversion'"),
        (["pie", "--set", "n_max"], "--set is 'n_max'"),
        (["pie", "--size", "48"], "--size is 48; shapes-mmdit has pictures of one size, 24. Leave it out."),
        (["pie", "--set", "n_max=many"], "n_max is 'many'"),
        (["pie", "--set", "source_guidance_scale=-1"], "Use at least 0"),
        (["geneval", "--detector", "mask2former"], "is for photo, not for shapes"),
        (["geneval", "--metrics", "nonsense"], "There is no metric 'nonsense'"),
        (["geneval", "--judge-url", "http://localhost:1", "--limit", "2", "--steps", "1"], "not of geneval on shapes"),
    ],
)
def test_wrong_words(tmp_path: Path, cli: Cli, words: list[str], said: str) -> None:
    code, _, error = cli("eval", *words, "--out", tmp_path / "run")
    assert (code, said in " ".join(error.split())) == (2, True), error


def test_images_alone_are_scored_later(tmp_path: Path, cli: Cli) -> None:
    command = ["eval", "unigenbench", "--limit", 4, "--steps", 2, "--out", tmp_path / "run"]
    assert cli(*command, "--metrics", "none")[0] == 0
    summary = summary_of(tmp_path / "run")
    assert (summary["complete"], summary["scored"], summary["metrics"]) == (False, 0, {})
    assert cli("score", tmp_path / "run")[0] == 0
    assert summary_of(tmp_path / "run")["metrics"]["unigenbench/points"]["n"] == 4


def test_the_captions_of_coco_are_those_of_its_scenes() -> None:
    made = [(coco_val5k.NUMBERS[len(scene.objects) - 1], text) for scene, text in coco_val5k._scenes()]
    assert [(prompt.tag, prompt.text) for prompt in coco_val5k.BENCHMARK.prompts("shapes")] == made


def test_coco_measures_the_distance_from_its_own_scenes(tmp_path: Path, cli: Cli) -> None:
    """The benchmark's own pictures are at distance 0, and their captions are shown."""
    benchmark: Benchmark = plugins.load("benchmarks", "coco_val5k")
    (tmp_path / "own").mkdir()
    prompts = benchmark.prompts("shapes")[:40]
    for prompt in prompts:
        given = benchmark.given("shapes", prompt, 24)
        assert given
        (tmp_path / "own" / f"{prompt.id}.png").write_bytes(given.picture())
    code, _, error = cli(
        *("score", "--images", tmp_path / "own", "--benchmark", "coco", "--domain", "shapes"),
        *("--out", tmp_path / "run"),
    )
    assert code == 0, error
    summary = summary_of(tmp_path / "run")
    assert summary["metrics"]["coco_val5k/scene"]["value"] == 1
    assert summary["metrics"]["shapes_frechet"]["value"] == pytest.approx(0, abs=1e-3)
    assert "4960 of 5000 images are missing, first 00040/0000" in summary["warnings"][0]
    assert summary["complete"] is False


def test_the_picture_of_a_mask_is_black_and_white() -> None:
    mask = np.zeros((24, 24), dtype=bool)
    mask[3:5, 7] = True
    from agsm_bench.shapes.pictures import mask_png

    assert (open_mask(mask_png(mask)) == mask).all()


def test_prompts_with_ids_name_the_images_that_score_takes(cli: Cli) -> None:
    for name in ("pie", "unigenbench"):
        lines = [json.loads(line) for line in cli("prompts", name, "--ids")[1].splitlines()]
        prompts = plugins.load("benchmarks", plugins.full_name("benchmarks", name)).prompts("shapes")
        assert [line.pop("id") for line in lines] == [prompt.id for prompt in prompts]
        plain = [json.loads(line) for line in cli("prompts", name)[1].splitlines()]
        assert lines == plain
