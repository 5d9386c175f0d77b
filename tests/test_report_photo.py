"""Runs on photographs fill the paper's own columns, in the paper's scales; the summaries are made here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from report_runs import summary, write

from agsm_bench import plugins
from agsm_bench.report.derived import difference_to_paper
from agsm_bench.report.fills import load_fills
from agsm_bench.report.recipes import Recipe, sampling_settings
from agsm_bench.report.render import from_json, to_json, to_markdown
from agsm_bench.report.render.csv_file import records
from agsm_bench.report.runs import find_runs
from agsm_bench.report.tables import Measured, join, load_paper, table_scale

pytestmark = pytest.mark.usefixtures("project")

TABLES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13)
MODELS = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd3": "stabilityai/stable-diffusion-3-medium-diffusers",
}
UNETS = {
    ("sd15", "dpo"): "mhdang/dpo-sd1.5-text2image-v1",
    ("sd15", "spo"): "SPO-Diffusion-Models/SPO-SD-v1-5_4k-p_10ep",
    ("sd15", "inpo"): "JaydenLu666/InPO-SD1.5",
    ("sdxl", "dpo"): "mhdang/dpo-sdxl-text2image-v1",
    ("sdxl", "spo"): "SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep",
    ("sdxl", "inpo"): "JaydenLu666/InPO-SDXL",
}


def model(backbone: str, unet: str | None = None) -> dict[str, Any]:
    """What a run's record says of its model."""
    named = plugins.load("backbones", backbone).named()
    how = {"t5": "on", "dtype": "float16", "protocol": "paper", "saving": "clamp"}
    found = {**{name: f"{repo}@0123abc" for name, repo in named.items()}, **how}
    return found | ({"unet": f"{UNETS[backbone, unet]}@4567def"} if unet else {})


def run_of(recipe: Recipe, metrics: dict[str, float], name: str) -> dict[str, Any]:
    """The summary of a run that did what a recipe asks for."""
    settings = dict(sampling_settings(recipe))
    editing = {key.removeprefix("edit_"): settings.pop(key) for key in list(settings) if key.startswith("edit_")}
    tokens = {"trainer": recipe.trainer, "seed": 0, "hash": name, "size": 512, **dict(recipe.training)}
    tokens |= {"model": model(recipe.backbone), "weights": "of a machine with weights"}
    run = {
        **settings,
        "benchmark": recipe.benchmark,
        "domain": "photo",
        "backbone": recipe.backbone,
        "weights": "of a machine with weights",
        "model": model(recipe.backbone, dict(recipe.model).get("unet")),
        "editing": editing or None,
        "tokens": tokens if recipe.trainer else None,
        "identity": name,
    }
    values = {
        key: {"value": v, "low": v - 0.01, "high": v + 0.01, "n": 5000, "clusters": 5000} for key, v in metrics.items()
    }
    return summary(0.5, run=run, metrics=values)


def measured(number: int, section: int = 0) -> Measured:
    found = join(number, "photo", find_runs()).sections[section].measured
    assert found is not None
    return found


def test_the_models_of_the_backbones_are_those_of_the_paper() -> None:
    for name, repo in MODELS.items():
        assert plugins.load("backbones", name).named()["model"] == repo


@pytest.mark.parametrize("number", TABLES)
def test_a_run_with_the_papers_own_values_fills_its_row_to_the_digit(number: int) -> None:
    """Whatever the row: raw values are the published ones over the column's scale."""
    printed = {section.key: {row.key: row for row in section.rows} for section in load_paper(number).sections}
    for fill in load_fills(number, "photo"):
        for row in fill.rows:
            published = printed[fill.section].get(row.key)
            values = published.values if published else {}
            raw = {m: float(values.get(key, 1)) / table_scale(m) for key, m in fill.columns.items()}
            name = f"{fill.section}-{row.key}"
            write(name, run_of(row.recipe, raw, name))
    joined = join(number, "photo", find_runs())
    for section in joined.sections:
        if section.measured is None:
            continue
        assert section.measured.left_out == () or number == 1, "Table 1 has two benchmarks"
        for row in section.measured.rows:
            assert [run.name for run in row.runs] == [f"{section.published.key}-{row.key}"]
            for column in section.measured.columns if row.paper else ():
                assert difference_to_paper(section.measured, row, column) == pytest.approx(0, abs=1e-9)
                text = row.paper.values[column.key] if row.paper else ""
                assert f"{row.cells[column.key].value:.{column.decimals}f}".startswith(text.rstrip("0"))
    assert from_json(to_json(joined)) == joined


@pytest.mark.parametrize("number", TABLES)
def test_the_columns_are_the_papers_and_metrics_that_a_run_has(number: int) -> None:
    for fill in load_fills(number, "photo"):
        benchmark = plugins.load("benchmarks", fill.benchmark)
        given = {*benchmark.image_metrics("photo")}
        assert all(metric in given or metric.startswith("geneval/") for metric in fill.columns.values())
        section = next(each for each in load_paper(number).sections if each.key == fill.section)
        assert set(fill.columns) == {column.key for column in section.columns if column.direction}


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        ("image_reward/v1.0", 100),
        ("clip/openai-l14", 100),
        ("clip/openai-l14-edited", 100),
        ("hpsv2/v2.1", 100),
        ("lpips/squeeze", 100),
        ("ssim/unedited", 100),
        ("pickscore/v1", 1),
        ("fid/legacy_pytorch", 1),
        ("psnr/unedited", 1),
        ("geneval/mean", 1),
    ],
)
def test_the_scales_are_the_captions(metric: str, scale: float) -> None:
    assert table_scale(metric) == scale


def ours(**changes: Any) -> dict[str, Any]:
    """A run that fills "Ours" of SD3, and what is changed of its record."""
    recipe = next(row.recipe for row in load_fills(8, "photo")[0].rows if row.key == "sd3-ours")
    data = run_of(recipe, {"image_reward/v1.0": 1.0, "fid/legacy_pytorch": 34.0}, json.dumps(changes))
    data["run"] |= changes
    return data


def test_differences_are_to_the_base_and_to_the_paper() -> None:
    base = next(row.recipe for row in load_fills(8, "photo")[0].rows if row.key == "sd3")
    write("base", run_of(base, {"image_reward/v1.0": 0.9}, "base"))
    write("ours", ours())
    found = {(r.row, r.column): r for r in records(join(8, "photo", find_runs()))}
    record = found["sd3-ours", "image_reward"]
    assert (record.measured, record.low, record.high, record.scale) == (100.0, 99.0, 101.0, 100)
    assert record.measured_difference == pytest.approx(10)
    assert record.difference_to_paper == pytest.approx(100 - 103.3)
    text = to_markdown(join(8, "photo", find_runs()))
    assert "**100.00** (99.00–101.00) (Δ +10.00) (to paper -3.30)" in text
    assert "stands for" not in text
    assert "agsm-bench reproduce" not in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": model("sd3") | {"model": "somebody/tuned@1"}}, "model somebody/tuned, not stabilityai/"),
        ({"model": model("sd3") | {"lora": "somebody/lora@1"}}, "lora somebody/lora, not None"),
        ({"model": model("sd3") | {"t5": "off"}}, "t5 off, not on"),
        ({"model": model("sd3") | {"protocol": "released", "saving": "official-minmax"}}, "protocol released"),
        ({"guidance_scale": 7.0}, "guidance_scale 7, not 4"),
        ({"size": 512}, "size 512, not 1024"),
    ],
)
def test_other_models_and_settings_stay_out_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    write("other", ours(**changes))
    found = measured(8)
    assert not any(row.runs for row in found.rows)
    assert reason in dict(found.left_out)["other"]


def test_another_precision_or_commit_is_the_same_model() -> None:
    write("float32", ours(model=model("sd3") | {"dtype": "float32", "model": f"{MODELS['sd3']}@another"}))
    assert [run.name for row in measured(8).rows for run in row.runs] == ["float32"]


def test_tokens_that_were_trained_on_another_model_stay_out() -> None:
    data = ours()
    data["run"]["tokens"]["model"] = model("sd3") | {"model": "somebody/tuned@1"}
    write("other", data)
    assert "somebody/tuned" in dict(measured(8).left_out)["other"]
