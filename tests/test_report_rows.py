"""Which runs fill the rows of a table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from report_runs import measured, summary, table_one, write

from agsm_bench.report.render import to_markdown
from agsm_bench.report.runs import find_runs
from agsm_bench.report.tables import join

pytestmark = pytest.mark.usefixtures("project")


def test_one_run_shows_its_own_bootstrap_interval() -> None:
    write("base", summary(0.61))
    base = measured().rows[0]
    cell = base.cells["mean"]
    assert (cell.value, cell.low, cell.high) == (0.61, 0.59, 0.63)
    assert (cell.runs, cell.interval, cell.n) == (1, "bootstrap95", 2212)


def test_several_seeds_show_their_mean_and_interval() -> None:
    for seed, value in enumerate((0.60, 0.64, 0.68)):
        write(f"agsm-{seed}", summary(value, "agsm", seed))
    cell = measured().rows[2].cells["mean"]
    assert cell.value == pytest.approx(0.64)
    # Student's interval of the three, and the 0.02 of each run, in quadrature
    half = math.hypot(0.02, 4.303 * 0.04 / math.sqrt(3))
    assert (cell.low, cell.high) == pytest.approx((0.64 - half, 0.64 + half))
    assert (cell.runs, cell.interval) == (3, "seeds95")


def test_the_interval_of_a_share_ends_at_one() -> None:
    for seed, value in enumerate((0.96, 0.98, 1.0)):
        write(f"agsm-{seed}", summary(value, "agsm", seed))
    assert measured().rows[2].cells["mean"].high == 1.0


def test_the_same_identity_counts_once_wherever_it_lies(project: Path) -> None:
    data = summary(0.61, "agsm")
    write("here", data)
    write("shipped", data, project / "results" / "runs")
    given = write("given", data, project / "elsewhere")
    runs = find_runs([given])
    assert [run.folder for run in runs] == [given]


def variant(seed: int = 0) -> dict[str, Any]:
    """What a summary says of weights tuned by DPO."""
    tuned = {"trainer": "diffusion_dpo", "seed": seed, "steps": 500, "hash": f"v{seed}", "base": "w"}
    return {"variant": tuned}


def test_a_variant_never_fills_a_row_of_its_plain_base() -> None:
    write("dpo", summary(0.9, run=variant()))
    write("dpo-agsm", summary(0.9, "agsm", run=variant() | {"identity": "both"}))
    write("base", summary(0.61, run={"variant": None, "identity": "base"}))
    assert [[run.name for run in row.runs] for row in measured().rows[:3]] == [["base"], [], []]
    assert {run.folder.name: run.variant for run in find_runs()} == {
        "base": None,
        "dpo": "diffusion_dpo",
        "dpo-agsm": "diffusion_dpo",
    }


def test_limited_and_incomplete_runs_never_enter_and_are_named() -> None:
    write("smoke", summary(0.9, limited=True))
    write("half", summary(0.9, complete=False, scored=100, run={"identity": "half"}))
    write("holes", summary(0.9, scored=2000, run={"identity": "holes"}))
    assert measured().rows[0].cells == {}
    text = to_markdown(table_one())
    assert "Runs left out, 3:" in text
    assert "smoke (limited)" in text
    assert "half (incomplete: 100 of 2212 images scored)" in text
    assert "0.900" not in text.split("Measured on shapes")[1]


def test_a_limited_run_does_not_hide_the_complete_one_of_its_identity() -> None:
    write("a-smoke", summary(0.61, limited=True))
    write("b-full", summary(0.61))
    assert [run.name for run in measured().rows[0].runs] == ["b-full"]


def agsm(seed: int = 0, **options: Any) -> dict[str, Any]:
    """A run of AGSM whose record mentions some of its options."""
    tokens = {"trainer": "agsm", "seed": seed, "steps": 600, "hash": "x", **options}
    return summary(0.9, "agsm", seed, run={"tokens": tokens, "identity": json.dumps(tokens)})


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (agsm(steps=5000), "steps 5000, not 600"),
        (agsm(objective={"gamma_negative": 0.5}), "gamma_negative 0.5, not 0.1"),
        (agsm(batch=8, layers=2), "batch 8, not 4, layers 2, not 3"),
        (agsm(mystery=3), "mystery 3, not None"),
        (summary(0.9, "agsm", run={"guidance_scale": 5.0}), "sampling guidance_scale 5, not 2"),
        (summary(0.9, "agsm", run={"unconditional": "negative"}), "sampling unconditional negative, not positive"),
        (summary(0.9, "agsm", run={"weights": "another"}), "other weights"),
    ],
)
def test_runs_of_other_settings_are_left_out_with_what_differs(run: dict[str, Any], reason: str) -> None:
    """However many they are."""
    for seed in range(2):
        write(f"default-{seed}", summary(0.6, "agsm", seed))
    for index in range(3):
        write(f"other-{index}", run | {"run": run["run"] | {"identity": f"{index}"}})
    row = measured().rows[2]
    assert [each.name for each in row.runs] == ["default-0", "default-1"]
    assert row.cells["mean"].value == pytest.approx(0.6)
    assert [(each, why) for each, why in measured().left_out] == [(f"other-{index}", reason) for index in range(3)]


def test_a_seed_counts_once_and_the_own_run_goes_before_the_shipped_one(project: Path) -> None:
    """The same training on another machine need not end with the same bits."""
    for seed, value in enumerate((0.6, 0.7)):
        write(f"own-{seed}", summary(value, "agsm", seed))
    write("shipped", summary(0.65, "agsm", 0), project / "results" / "runs")
    row = measured().rows[2]
    assert [run.name for run in row.runs] == ["own-0", "own-1"]
    assert [(run, why) for run, why in measured().left_out] == [("shipped", "another run has its seeds")]


def test_a_record_that_spells_every_default_out_fills_the_row_too() -> None:
    spelt = {"batch": 4, "layers": 3, "apply": "down,mid", "init": "normal", "learning_rate": 0.003, "new": None}
    write("spelt", agsm(objective={"gamma_negative": 0.1, "gamma_positive": 1}, **spelt))
    write("terse", summary(0.6, "agsm", 1))
    assert [run.name for run in measured().rows[2].runs] == ["spelt", "terse"]


def test_a_run_fills_the_row_of_its_option_in_every_table_and_no_other() -> None:
    write("half", agsm(objective={"gamma_negative": 0.5}))
    write("default", agsm())
    runs = find_runs()
    six = join(6, "shapes", runs).sections[0].measured
    assert six is not None
    assert {row.key: [run.name for run in row.runs] for row in six.rows if row.runs} == {
        "gamma-0.5": ["half"],
        "gamma-0.1": ["default"],
    }
    assert six.left_out == ()
    for number, key in ((4, "dual"), (5, "unconditional-positive"), (12, "text4-image0")):
        found = join(number, "shapes", runs).sections[0].measured
        assert found is not None
        assert [row.key for row in found.rows if row.runs] == [key]
