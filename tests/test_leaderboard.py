"""Many runs in one table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from conftest import Cli
from huggingface_hub import ModelCard

from agsm_bench.report.files import results_dir
from agsm_bench.report.leaderboard import leaderboard

RUNS = results_dir() / "runs"
COUNTING = [
    *(RUNS / f"counting-agsm-shapes-unet-{seed}" for seed in range(3)),
    *(RUNS / f"counting-softrepa-shapes-unet-{seed}" for seed in range(3)),
]


def test_seeds_are_one_row_and_the_best_is_first() -> None:
    board = leaderboard(COUNTING)
    values = [row.cells[board.metric].value for row in board.rows]
    assert board.metric == "geneval/counting"
    assert values == sorted(values, reverse=True)
    assert {row.label for row in board.rows} == {"shapes-unet + agsm", "shapes-unet + softrepa"}
    assert [row.cells[board.metric].runs for row in board.rows] == [3, 3]
    assert [row.tie for row in board.rows] == ["first", "tied"]
    alone = leaderboard(COUNTING, merge=False)
    assert len(alone.rows) == 6
    assert len({row.label for row in alone.rows}) == 6


def test_less_is_better_where_it_is() -> None:
    board = leaderboard(COUNTING, "shapes/too_many", merge=False)
    values = [row.cells["shapes/too_many"].value for row in board.rows]
    assert values == sorted(values)


def test_what_differs_is_told_apart() -> None:
    """Diffusion-DPO gains two points on the UNet (results/FINDINGS.md)."""
    seeds = [RUNS / f"geneval-{name}shapes-unet-{seed}" for name in ("diffusion_dpo-", "agsm-") for seed in range(3)]
    board = leaderboard([*seeds, RUNS / "geneval-shapes-unet"])
    assert [(row.label, row.tie) for row in board.rows] == [
        ("shapes-unet + diffusion_dpo", "first"),
        ("shapes-unet", "apart"),
        ("shapes-unet + agsm", "apart"),
    ]


def test_the_formats_agree(cli: Cli, tmp_path: Path) -> None:
    texts = {name: cli("leaderboard", *COUNTING, "--format", name)[1] for name in ("rich", "md", "csv", "json")}
    rows = json.loads(texts["json"])["rows"]
    read = [row for row in csv.DictReader(io.StringIO(texts["csv"])) if row["metric"] == "geneval/counting"]
    for row, line in zip(rows, read, strict=True):
        value = row["metrics"]["geneval/counting"]["value"]
        assert (line["model"], float(line["value"])) == (row["model"], value)
        for name in ("rich", "md"):
            assert any(row["model"] in each and f"{100 * value:.1f} (" in each for each in texts[name].splitlines())
    out = tmp_path / "board.md"
    assert cli("leaderboard", *COUNTING, "--format", "md", "--out", out)[:2] == (0, "")
    assert out.read_text(encoding="utf-8") == texts["md"]


def test_the_model_index_is_the_hubs(cli: Cli) -> None:
    """As huggingface_hub reads it back from a card."""
    code, text, _ = cli("leaderboard", *COUNTING[:3], "--format", "model-index")
    results = ModelCard(text).data.eval_results
    row = leaderboard(COUNTING[:3]).rows[0]
    assert code == 0
    assert results
    assert {each.metric_type: each.metric_value for each in results} == {
        name: row.cells[name].value for name in leaderboard(COUNTING[:3]).better
    }
    assert results[0].dataset_type == "counting-shapes"
    assert results[0].metric_args["training_seeds"] == 3
    assert yaml.safe_load(text.split("---")[1])["model-index"][0]["name"] == "shapes-unet + agsm"
    code, _, error = cli("leaderboard", *COUNTING, "--format", "model-index")
    assert (code, "of one model" in error) == (2, True)


@pytest.mark.parametrize(
    ("other", "said"),
    [("geneval-shapes-unet", "the benchmark of"), ("agsm-shapes-unet-0", "manifest.json"), ("absent", "manifest.json")],
)
def test_what_belongs_to_no_table_is_refused(cli: Cli, other: str, said: str) -> None:
    code, out, error = cli("leaderboard", COUNTING[0], RUNS / other)
    assert (code in (2, 3), out, len(error.splitlines())) == (True, "", 1)
    assert said in error


def test_an_unknown_metric_is_named(cli: Cli) -> None:
    code, _, error = cli("leaderboard", *COUNTING[:2], "--metric", "geneval/countng")
    assert (code, "Did you mean geneval/counting?" in error) == (2, True)
