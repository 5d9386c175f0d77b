"""What `reproduce` plans and does for fine-tuned weights: pairs, the variant on them, soft tokens, the evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Cli
from report_runs import write
from test_cli import refused
from test_reproduce import contents
from variant_runs import DPO, record, tuned, write_pairs, write_variant

from agsm_bench.report.fills import Size
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import REPRODUCED
from agsm_bench.reproduce.execute import minutes_left
from agsm_bench.reproduce.found import Found, Trained, scan
from agsm_bench.reproduce.plan import Job, plan
from agsm_bench.reproduce.wanted import by_tables
from agsm_bench.training.preferences import list_preferences
from agsm_bench.variant import LORA_FILE

OUT = Path("out")
TUNED = Recipe("geneval", "shapes-unet", None, variant=DPO)
BOTH = replace(TUNED, trainer="agsm")

pytestmark = pytest.mark.usefixtures("project")


def planned(recipes: Sequence[Recipe] = (TUNED, BOTH), seeds: int = 1, found: Found | None = None) -> list[Job]:
    return plan([("3", recipe) for recipe in recipes], seeds, OUT, found or Found())


def to_do(jobs: Sequence[Job]) -> list[str]:
    return [job.folder.name for job in jobs if not job.done]


def flag(job: Job, name: str) -> str:
    return job.arguments[job.arguments.index(name) + 1]


ALL = [
    "preferences-shapes-unet",
    "diffusion_dpo-shapes-unet-0",
    "geneval-diffusion_dpo-shapes-unet-0",
    "agsm-shapes-unet-0",
    "geneval-diffusion_dpo-shapes-unet-0-agsm-shapes-unet-0",
]


def test_a_variant_is_made_of_pairs_and_evaluated_with_the_plain_tokens() -> None:
    pairs, variant, alone, tokens, both = planned()
    assert [job.folder.name for job in (pairs, variant, alone, tokens, both)] == ALL
    assert (pairs.kind, pairs.needs, variant.needs) == ("pairs", (), (pairs.folder,))
    assert (alone.needs, tokens.needs, both.needs) == ((variant.folder,), (), (variant.folder, tokens.folder))
    assert pairs.arguments == (
        *("shapes", "preferences", "--backbone", "shapes-unet"),
        *("--out", "out/preferences-shapes-unet"),
    )
    assert variant.arguments == (
        *("train", "diffusion_dpo", "--backbone", "shapes-unet", "--preferences", "out/preferences-shapes-unet"),
        *("--seed", "0", "--out", "out/diffusion_dpo-shapes-unet-0"),
    )
    assert "--backbone-weights" not in tokens.arguments
    assert (flag(both, "--backbone-weights"), flag(both, "--tokens")) == (
        "out/diffusion_dpo-shapes-unet-0",
        "out/agsm-shapes-unet-0",
    )


def test_table_three_makes_pairs_once_a_backbone_and_shares_the_tokens_of_other_tables() -> None:
    jobs = plan(by_tables([3, 7], "shapes"), 3, OUT, Found())
    place = {job.folder: index for index, job in enumerate(jobs)}
    assert len({job.arguments for job in jobs}) == len(jobs)
    assert all(place[need] < place[job.folder] for job in jobs for need in job.needs)
    names = [job.folder.name for job in jobs if job.kind == "pairs"]
    assert names == ["preferences-shapes-unet", "preferences-shapes-mmdit"]
    by_name = {job.folder.name: job for job in jobs}
    assert by_name["agsm-shapes-unet-1"].users == ("3", "7")
    assert by_name["diffusion_dpo-shapes-unet-1"].users == ("3",)
    variants = [job for job in jobs if "--preferences" in job.arguments]
    assert len(variants) == 9  # DPO and DSPO on the UNet, DPO on the MMDiT, three seeds
    assert all(flag(job, "--preferences").removeprefix("out/") in names for job in variants)
    for job in jobs:
        if job.kind == "eval" and len(job.needs) == 2:
            assert len({folder.name.rpartition("-")[2] for folder in job.needs}) == 1, "variant and tokens of one seed"


def test_pairs_that_are_there_are_used_where_they_lie() -> None:
    pairs = list_preferences(write_pairs(Path("runs/mine")))
    first, variant, *_ = planned(found=Found(pairs=[pairs]))
    assert (first.done, variant.needs, flag(variant, "--preferences")) == (True, (), "runs/mine")
    other = list_preferences(write_pairs(Path("runs/few"), lack=1))
    first, variant, *_ = planned(found=Found(pairs=[other]))
    assert (first.done, flag(variant, "--preferences")) == (False, "out/preferences-shapes-unet")


def test_a_variant_that_is_there_is_evaluated_without_training() -> None:
    pairs = list_preferences(write_pairs(Path("runs/pairs")))
    made = record(preferences=pairs.hash)
    jobs = planned(found=Found(trained=[Trained(Path("runs/mine"), made)], pairs=[pairs]))
    assert to_do(jobs) == ALL[2:]
    assert jobs[2].needs == ()
    assert flag(jobs[2], "--backbone-weights") == flag(jobs[4], "--backbone-weights") == "runs/mine"
    assert jobs[4].needs == (OUT / "agsm-shapes-unet-0",)
    others = ({"seed": 1}, {"steps": 10}, {"rank": 4}, {"pairs": {"train": 9}}, {"preferences": "others"})
    for other in others:
        jobs = planned(found=Found(trained=[Trained(Path("runs/mine"), made | other)], pairs=[pairs]))
        assert to_do(jobs) == ALL[1:], other


def test_complete_evaluations_need_nothing() -> None:
    write("dpo", tuned(0.6))
    found = scan(OUT, quick=False)
    assert to_do(planned([TUNED], found=found)) == []
    write("both", tuned(0.6, "agsm"))
    assert to_do(planned(found=scan(OUT, quick=False))) == []


def test_what_lacks_is_made_on_the_pairs_of_what_is_there() -> None:
    """Without them everything is made on new ones: variants of different pairs never meet in a table."""
    pairs = list_preferences(write_pairs(Path("runs/pairs"), image=b"x"))
    for seed in range(2):
        write(f"dpo-{seed}", tuned(0.6, seed=seed, variant={"preferences": pairs.hash}))
    write_pairs(Path("runs/a-others"), image=b"y")
    found = scan(OUT, quick=False)
    assert len({each.hash for each in found.pairs}) == 2
    jobs = planned([TUNED], 3, found)
    assert to_do(jobs) == ["diffusion_dpo-shapes-unet-2", "geneval-diffusion_dpo-shapes-unet-2"]
    assert flag(jobs[-2], "--preferences") == "runs/pairs"
    assert len(to_do(planned([TUNED], 3, replace(found, pairs=[])))) == 7
    others = [each for each in found.pairs if each.hash != pairs.hash]
    assert len(to_do(planned([TUNED], 3, replace(found, pairs=others)))) == 6
    assert to_do(planned([TUNED], 2, replace(found, pairs=[]))) == []


def test_a_scan_finds_variants_and_pairs(cli: Cli) -> None:
    def shown() -> dict[str, list[str]]:
        code, out, err = cli("reproduce", "--table", 3, "--seeds", 1, "--dry-run")
        assert (code, err) == (0, "")
        return {line.split()[0]: line.split()[1:] for line in out.splitlines()}

    pairs = list_preferences(write_pairs(Path("runs/mine")))
    variant = write_variant(Path("runs/reproduce/somewhere"), preferences=pairs.hash)
    lines = shown()
    assert lines["preferences-shapes-unet"] == ["complete", "3"]
    assert lines["diffusion_dpo-shapes-unet-0"] == ["complete", "3"]
    assert lines["dspo-shapes-unet-0"] == ["3.2", "2.1", "3"]
    assert lines["preferences-shapes-mmdit"] == ["8.5", "4.5", "3"]
    assert lines["15"][:4] == ["of", "17", "runs", "to"]
    # what ships of a variant is its description alone: it must be trained again
    (variant / LORA_FILE).unlink()
    assert shown()["diffusion_dpo-shapes-unet-0"] == ["3.2", "2.1", "3"]


def test_a_broken_making_of_pairs_goes_on() -> None:
    write_pairs(Path("runs/reproduce/preferences-shapes-unet"), lack=100)
    empty = Path("runs/reproduce/preferences-shapes-mmdit")
    empty.mkdir()
    (empty / "preferences.jsonl").write_text('{"prompt": "a cir')
    found = scan(Path("runs/reproduce"), quick=False)
    jobs = plan([("3", TUNED)], 1, Path("runs/reproduce"), found)
    assert to_do(jobs) == ALL[:3]
    last = jobs[0].estimate.seconds / 60
    assert minutes_left(jobs[:1], 1) < last / 3, "four fifths of the pairs are there"


def test_the_longest_chain_goes_through_pairs_variant_and_evaluation() -> None:
    jobs = planned([TUNED])
    assert minutes_left(jobs, 8) == pytest.approx(sum(job.estimate.seconds for job in jobs) / 60)
    assert minutes_left(planned(), 8) < sum(job.estimate.seconds for job in planned()) / 60


def test_a_quick_look_makes_few_pairs_but_enough_for_a_batch() -> None:
    for prompts, expected in ((60, "60"), (3, "8")):
        jobs = plan(by_tables([3], "shapes", Size(150, prompts, 2)), 1, OUT, Found())
        pairs = next(job for job in jobs if job.kind == "pairs")
        assert (flag(pairs, "--pairs"), flag(pairs, "--held-out")) == (expected, "0")
        assert pairs.estimate.units == int(expected)
        assert all(flag(job, "--steps") == "150" for job in jobs if job.kind == "train")
    assert minutes_left(jobs, 2) < 15


@pytest.mark.parametrize("name", ["preferences.jsonl", "recipe.json"])
def test_damaged_pairs_are_said(cli: Cli, name: str) -> None:
    folder = write_pairs(Path("runs/mine"))
    (folder / name).write_text("{\n")
    refused(cli("reproduce", "--table", 3, "--dry-run"), 3, str(folder / name))


def only_both(project: Path) -> None:
    """Table 3 with one row: AGSM's tokens on DPO's weights."""
    tables = project / "results" / "tables"
    shipped = {path.name: path.read_text() for path in tables.iterdir()}
    tables.unlink()
    tables.mkdir()
    (tables / "columns.toml").write_text(shipped["columns.toml"])
    head = shipped["table_03.toml"].split("[[fill.rows]]")[0]
    row = 'key = "both"\nbackbone = "shapes-mmdit"\nvariant = { trainer = "diffusion_dpo" }\ntrainer = "agsm"\n'
    (tables / "table_03.toml").write_text(f"{head}rows = []\n[[fill.extra_rows]]\n{row}")


def test_after_every_job_of_a_small_plan_the_rest_is_left_and_at_the_end_the_table(project: Path, cli: Cli) -> None:
    only_both(project)
    size = Size(2, 6, 1)
    root, rows = REPRODUCED / size.folder, by_tables([3], "shapes", size)
    jobs = plan(rows, 1, root, Found())
    assert [job.kind for job in jobs] == ["pairs", "train", "train", "eval"]
    for index, job in enumerate(jobs):
        left = plan(rows, 1, root, scan(root, quick=True))
        assert [each.done for each in left] == [True] * index + [False] * (len(jobs) - index)
        assert cli(*job.arguments)[0] == 0
    before = contents(root)
    asked = ("--quick-steps", 2, "--quick-prompts", 6, "--quick-images", 1)
    code, out, err = cli("reproduce", "--table", 3, "--quick", *asked)
    assert (code, err) == (0, "")
    assert "QUICK LOOK, NO RESULT" in out
    assert "on diffusion_dpo" in out
    assert "n 6" in out
    assert {path: data for path, data in contents(root).items() if path in before} == before
    run = json.loads((jobs[-1].folder / "summary.json").read_text())["run"]
    assert run["variant"]["pairs"]["train"] == 8
    assert (run["variant"]["seed"], run["tokens"]["seed"], "variant" in run["tokens"]) == (0, 0, False)
    assert "Runs left out" not in cli("report", "--table", 3)[1]
