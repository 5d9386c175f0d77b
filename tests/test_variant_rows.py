"""Which runs fill the rows of fine-tuned weights (paper Table 3), and what the report says of them."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from report_runs import summary, write
from variant_runs import tuned

from agsm_bench.errors import MissingError
from agsm_bench.report.fills import load_fills
from agsm_bench.report.render import to_csv, to_json, to_markdown
from agsm_bench.report.runs import find_runs
from agsm_bench.report.tables import JoinedTable, Measured, join

pytestmark = pytest.mark.usefixtures("project")


def table_three() -> JoinedTable:
    return join(3, "shapes", find_runs())


def measured() -> Measured:
    found = table_three().sections[0].measured
    assert found is not None
    return found


def filled() -> dict[str, list[str]]:
    return {row.key: [run.name for run in row.runs] for row in measured().rows if row.runs}


def left_out() -> dict[str, str]:
    return dict(measured().left_out)


def unet(value: float, trainer: str | None = None, seed: int = 0) -> dict[str, Any]:
    return summary(value, trainer, seed, run={"backbone": "shapes-unet", "steps": 16})


def test_a_run_fills_the_row_of_its_weights_and_tokens() -> None:
    write("base", unet(0.60))
    write("agsm", unet(0.61, "agsm"))
    write("dpo", tuned(0.62))
    write("both", tuned(0.63, "agsm"))
    assert filled() == {
        "sd15": ["base"],
        "sd15-ours": ["agsm"],
        "sd15-diffusion-dpo": ["dpo"],
        "sd15-diffusion-dpo-ours": ["both"],
    }
    assert left_out() == {}


def test_seeds_of_variants_are_combined_as_those_of_tokens() -> None:
    for seed, value in enumerate((0.60, 0.64, 0.68)):
        write(f"both-{seed}", tuned(value, "agsm", seed))
    cell = next(row for row in measured().rows if row.key == "sd15-diffusion-dpo-ours").cells["mean"]
    assert cell.value == pytest.approx(0.64)
    # Student's interval of the three, and the 0.02 of each run, in quadrature
    half = math.hypot(0.02, 4.303 * 0.04 / math.sqrt(3))
    assert (cell.low, cell.high) == pytest.approx((0.64 - half, 0.64 + half))
    assert (cell.runs, cell.interval) == (3, "seeds95")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (tuned(0.9, variant={"steps": 500}), "diffusion_dpo steps 500, not 600"),
        (tuned(0.9, variant={"objective": {"beta": 5000.0}}), "diffusion_dpo beta 5000, not 2000"),
        (tuned(0.9, variant={"tune": "full"}), "diffusion_dpo tune full, not lora"),
        (tuned(0.9, variant={"pairs": {"train": 9}}), "preference pairs that `shapes preferences` did not make"),
        (tuned(0.9, variant={"base": "other", "hash": "h"}, run={"weights": "combined"}), "other weights"),
        (tuned(0.9, "agsm", 1, variant={"seed": 0}), "variant of seed 0 with tokens of seed 1"),
        (tuned(0.9, run={"guidance_scale": 5.0}), "sampling guidance_scale 5, not 2"),
        (tuned(0.9, limited=True), "limited"),
    ],
)
def test_another_variant_is_left_out_with_what_differs(run: dict[str, Any], reason: str) -> None:
    write("dpo", tuned(0.6))
    write("other", run)
    assert filled() == {"sd15-diffusion-dpo": ["dpo"]}
    assert left_out() == {"other": reason}


def test_fewer_pairs_are_said() -> None:
    run = tuned(0.9)
    run["run"]["variant"]["pairs"] |= {"train": 60, "images": 2}
    write("few", run)
    assert left_out() == {"few": "preference pairs train 60, not 500, preference pairs images 2, not 4"}


def test_tokens_that_were_trained_on_the_variant_are_not_the_plain_ones() -> None:
    run = tuned(0.9, "agsm")
    run["run"]["tokens"] |= {"variant": {"trainer": "diffusion_dpo", "hash": "v0"}}
    write("on-top", run)
    assert left_out() == {"on-top": "trained on weights of diffusion_dpo"}


def test_variants_of_other_pairs_never_meet_in_a_table() -> None:
    """Not in a row, and not in two rows that a reader would compare."""
    write("a-dpo", tuned(0.6))
    write("b-dpo-1", tuned(0.9, seed=1, variant={"preferences": "q"}))
    write("c-both", tuned(0.9, "agsm", variant={"preferences": "q"}))
    assert filled() == {"sd15-diffusion-dpo": ["a-dpo"]}
    assert left_out() == {"b-dpo-1": "other preference pairs", "c-both": "other preference pairs"}
    assert "b-dpo-1 and 1 more (other preference pairs)" in to_markdown(table_three())


def test_a_variant_fills_no_row_of_a_table_without_variants() -> None:
    write("dpo", tuned(0.9))
    write("both", tuned(0.9, "agsm"))
    for number in (1, 7, 8):
        for section in join(number, "shapes", find_runs()).sections:
            assert section.measured is None or not any(row.runs for row in section.measured.rows)
            assert section.measured is None or section.measured.left_out == ()


def test_every_format_tells_the_weights_from_the_tokens() -> None:
    write("both", tuned(0.612345, "agsm"))
    assert "agsm (on diffusion_dpo) (for DiffusionDPO + Ours)" in to_markdown(table_three())
    row = next(r for r in csv.DictReader(io.StringIO(to_csv(table_three()))) if r["measured"] == "0.612345")
    assert (row["row"], row["variant"], row["trainer"]) == ("sd15-diffusion-dpo-ours", "diffusion_dpo", "agsm")
    rows = json.loads(to_json(table_three()))["sections"][0]["measured"]["rows"]
    variants = {row["key"]: row["variant"] for row in rows}
    assert variants["sd15"] is None
    assert variants["unet-dspo"] == {"trainer": "dspo", "options": {}, "pairs": {}}


def test_an_empty_row_says_the_whole_sequence() -> None:
    assert " && ".join(
        [
            "agsm-bench shapes preferences --backbone shapes-unet --out runs/preferences-shapes-unet",
            "agsm-bench train diffusion_dpo --backbone shapes-unet --preferences runs/preferences-shapes-unet"
            " --out runs/diffusion_dpo-unet",
            "agsm-bench train agsm --backbone shapes-unet --out runs/agsm-unet",
            "agsm-bench eval geneval --backbone shapes-unet --backbone-weights runs/diffusion_dpo-unet"
            " --tokens runs/agsm-unet\n",
        ]
    ) in to_markdown(table_three())


def on_coco(data: dict[str, Any]) -> dict[str, Any]:
    data["run"] |= {"benchmark": "coco_val5k", "images_per_prompt": 1}
    return data


def test_table_eight_shows_runs_of_both_backbones() -> None:
    write("mmdit", on_coco(summary(0.7, "softrepa")))
    write("unet", on_coco(unet(0.6, "agsm")))
    eight = join(8, "shapes", find_runs()).sections[0].measured
    assert eight is not None
    assert {row.key: [run.name for run in row.runs] for row in eight.rows if row.runs} == {
        "sd15-ours": ["unet"],
        "sd3-softrepa": ["mmdit"],
    }
    notes = to_markdown(join(8, "shapes", find_runs()))
    assert "shapes-unet stands for the paper's SD1.5." in notes
    assert "shapes-mmdit stands for the paper's SD3." in notes


@pytest.mark.parametrize(
    "row",
    [
        'variant = { trainer = "agsm" }',
        'variant = { trainer = "dspo", options = { beta = 1 } }',
        "variant = { options = { beta = 1 } }",
        'trainer = "dspo"',
    ],
)
def test_a_wrong_variant_in_a_table_file_is_said(project: Path, row: str) -> None:
    tables = project / "results" / "tables"
    shipped = {path.name: path.read_text() for path in tables.iterdir()}
    tables.unlink()
    tables.mkdir()
    head = shipped["table_03.toml"].split("[[fill.rows]]")[0]
    (tables / "columns.toml").write_text(shipped["columns.toml"])
    text = f'{head}[[fill.rows]]\nrow = "sd15-ours"\nbackbone = "shapes-unet"\n{row}\n'
    (tables / "table_03.toml").write_text(text)
    with pytest.raises(MissingError, match="table_03"):
        load_fills(3, "shapes")
