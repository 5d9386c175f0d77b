"""What `reproduce` plans: every run once, in order, and nothing that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from agsm_bench.backbones.shapes_mmdit import BACKBONE
from agsm_bench.errors import MissingError, UserError
from agsm_bench.report.commands import train_arguments
from agsm_bench.report.files import results_dir
from agsm_bench.report.fills import Size, load_fills
from agsm_bench.report.recipes import Recipe, Training, sampling_settings, training_differences, training_settings
from agsm_bench.report.runs import Run
from agsm_bench.reproduce.estimates import STARTUP
from agsm_bench.reproduce.execute import minutes_left
from agsm_bench.reproduce.found import Found, Trained, scan
from agsm_bench.reproduce.plan import Job, plan
from agsm_bench.reproduce.wanted import by_claims, by_figures, by_tables, fillable
from agsm_bench.tokens import SoftTokens, save_tokens

OUT = Path("out")
AGSM = Recipe("geneval", "shapes-mmdit", "agsm")
TOKENS = Training("agsm", "shapes-mmdit")
TABLES = [*range(1, 11), 12, 13]


def planned(numbers: Sequence[int], seeds: int = 1, found: Found | None = None, size: Size | None = None) -> list[Job]:
    return plan(by_tables(numbers, "shapes", size), seeds, OUT, found or Found())


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.folder.name for job in jobs]


def complete(recipe: Recipe, seed: int, **changes: Any) -> Run:
    """A whole run of a recipe that mentions every setting."""
    run = Run(
        folder=Path("somewhere"),
        benchmark=recipe.benchmark,
        domain="shapes",
        backbone=recipe.backbone,
        variant=None,
        trainer=recipe.trainer,
        identity="",
        sampling=sampling_settings(recipe),
        tokens={"trainer": recipe.trainer, **training_settings(recipe.tokens)} if recipe.tokens else {},
        seeds=(seed, 0),
        expected=2212,
        limited=False,
        incomplete="",
        unscored=0,
        cells={},
    )
    return replace(run, **changes)


def test_these_tables_are_filled_by_runs() -> None:
    assert fillable("shapes") == TABLES
    assert fillable("photo") == TABLES


def test_a_run_is_planned_once_for_all_the_tables_that_use_it() -> None:
    jobs = planned(TABLES, seeds=2)
    assert len({job.folder for job in jobs}) == len({job.arguments for job in jobs}) == len(jobs)
    by_name = {job.folder.name: job for job in jobs}
    assert by_name["agsm-shapes-mmdit-0"].users == ("1", "2", "3", "4", "5", "6", "8", "9", "10", "12")
    assert by_name["geneval-agsm-shapes-mmdit-1"].users == ("1", "3", "4", "5", "6", "12")
    assert by_name["coco_val5k-agsm-shapes-mmdit-1"].users == ("1", "8")
    assert by_name["pie_bench-agsm-shapes-unet-0-masactrl-ddim"].users == ("2", "10")
    assert by_name["agsm-shapes-unet-1"].users == ("1", "2", "3", "7", "8", "10", "13")
    assert by_name["agsm-shapes-unet-batch-2-0"].users == ("7", "13")


@pytest.mark.parametrize(
    ("number", "key"), [(1, "ours"), (4, "dual"), (5, "unconditional-positive"), (6, "gamma-0.1"), (12, "text4-image0")]
)
def test_the_default_run_is_the_same_recipe_in_every_table(number: int, key: str) -> None:
    rows = {row.key: row.recipe for fill in load_fills(number, "shapes") for row in fill.rows}
    assert rows[key] == AGSM
    assert rows["sd3" if number == 1 else "base"] == Recipe("geneval", "shapes-mmdit", None)


def test_a_training_comes_before_its_evaluations_and_a_seed_before_the_next() -> None:
    jobs = planned(TABLES, seeds=3)
    place = {job.folder: index for index, job in enumerate(jobs)}
    for job in jobs:
        assert all(place[need] < place[job.folder] for need in job.needs)
        assert (job.kind == "train") == ("--seed" in job.arguments)
    seeds = [job.arguments[job.arguments.index("--seed") + 1] for job in jobs if job.kind == "train"]
    assert seeds == sorted(seeds)
    assert sum(job.kind == "eval" and not job.needs for job in jobs) == 12
    # the backbones alone: both on GenEval and COCO, one on UniGenBench++, and each of seven ways to edit


def test_table_six_is_the_backbone_and_five_gammas() -> None:
    jobs = planned([6])
    trained = [job for job in jobs if job.kind == "train"]
    flags = [
        job.arguments[job.arguments.index("--gamma-negative") + 1]
        for job in trained
        if "--gamma-negative" in job.arguments
    ]
    assert flags == ["1", "0.5", "0.05", "0"]  # 0.1 is the default
    assert len(jobs) == 11
    assert jobs[0].arguments == (
        *("train", "agsm", "--backbone", "shapes-mmdit", "--gamma-negative", "1", "--seed", "0"),
        *("--out", "out/agsm-shapes-mmdit-gamma_negative-1-0"),
    )


def test_table_five_samples_the_same_tokens_twice() -> None:
    train, negative, positive, _ = planned([5])
    assert negative.needs == positive.needs == (train.folder,)
    assert negative.arguments[-6:-4] == ("--unconditional", "negative")
    assert "--unconditional" not in positive.arguments
    assert negative.folder != positive.folder


def test_what_is_complete_is_not_done_again() -> None:
    found = Found([complete(AGSM, 0), complete(Recipe("geneval", "shapes-unet", None), 0)])
    done = [job.folder.name for job in planned([1], seeds=2, found=found) if job.done]
    assert done == ["geneval-agsm-shapes-mmdit-0", "geneval-shapes-unet"], "COCO-val5K still needs the tokens"
    done = [job.folder.name for job in planned([6], seeds=2, found=found) if job.done]
    assert done == ["agsm-shapes-mmdit-0", "geneval-agsm-shapes-mmdit-0"]


def test_an_edit_is_typed_with_its_editor_and_named_after_it() -> None:
    base, train, agsm, *_ = planned([10])
    assert base.arguments[:8] == (
        *("eval", "pie_bench", "--backbone", "shapes-unet"),
        *("--editor", "pnp", "--inversion", "ddim"),
    )
    assert base.folder.name == "pie_bench-shapes-unet-pnp-ddim"
    assert agsm.needs == (train.folder,)
    other = Recipe("pie_bench", "shapes-unet", None, editing=(("editor", "pnp"), ("inversion", "direct")))
    assert [job.done for job in planned([10], found=Found([complete(other, 0)]))][:1] == [False]


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": (1, 0)},
        {"seeds": (0, 1)},
        {"limited": True},
        {"incomplete": "incomplete: 3 of 2212 images scored"},
        {"trainer": "softrepa"},
        {"backbone": "shapes-unet"},
        {"tokens": {"trainer": "agsm", "steps": 150}},
        {"tokens": {"trainer": "agsm", "objective": {"gamma_negative": 0.5}}},
        {"sampling": {"unconditional": "negative"}},
        {"sampling": {"weights": "another"}},
    ],
)
def test_another_run_does_not_count_as_complete(changes: dict[str, Any]) -> None:
    jobs = plan([("6", AGSM)], 1, OUT, Found([complete(AGSM, 0, **changes)]))
    assert [job.done for job in jobs] == [False, False]


def test_tokens_that_are_there_are_evaluated_without_training() -> None:
    record = {"trainer": "agsm", "backbone": "shapes-mmdit", "seed": 0, **training_settings(TOKENS)}
    train, evaluate = plan([("6", AGSM)], 1, OUT, Found(trained=[Trained(Path("runs/mine"), record)]))
    assert (train.done, evaluate.done) == (True, False)
    assert evaluate.needs == ()
    assert evaluate.arguments[evaluate.arguments.index("--tokens") + 1] == "runs/mine"
    for other in ({"seed": 1}, {"batch": 2}, {"steps": 10}, {"backbone": "shapes-unet"}):
        train, evaluate = plan([("6", AGSM)], 1, OUT, Found(trained=[Trained(Path("runs/mine"), record | other)]))
        assert (train.done, evaluate.needs) == (False, (train.folder,))


def test_a_training_is_done_as_long_as_one_evaluation_lacks() -> None:
    train, negative, positive, _ = planned([5], found=Found([complete(AGSM, 0)]))
    assert (train.done, negative.done, positive.done) == (False, False, True)


def test_quick_runs_are_small_and_say_so() -> None:
    jobs = planned([6], size=Size(steps=150, prompts=60, images=2))
    for job in jobs:
        flags = ("--steps", "150") if job.kind == "train" else ("--images-per-prompt", "2", "--limit", "60")
        assert " ".join(flags) in " ".join(job.arguments)
        assert job.estimate.units == (150 if job.kind == "train" else 120)
    assert minutes_left(jobs, slots=2) < 15
    whole = complete(AGSM, 0)
    assert not any(job.done for job in planned([6], found=Found([whole]), size=Size(150, 60, 2)))


def test_minutes_are_shared_by_the_processes_but_never_less_than_the_longest_chain() -> None:
    jobs = [job for job in planned([5]) if job.arguments[0] == "train" or "--tokens" in job.arguments]
    train, evaluation = (job.estimate.seconds / 60 for job in jobs[:2])
    assert minutes_left(jobs, 1) == pytest.approx(train + 2 * evaluation)
    assert minutes_left(jobs, 2) == minutes_left(jobs, 8) == pytest.approx(train + evaluation)
    assert minutes_left([replace(job, done=True) for job in jobs], 2) == 0


def test_the_second_half_of_a_run_takes_half_the_time_of_its_steps(tmp_path: Path) -> None:
    job = replace(planned([5])[0], folder=tmp_path)
    (tmp_path / "train.jsonl").write_text("{}\n" * 300)
    assert minutes_left([job], 1) * 60 == pytest.approx(STARTUP + (job.estimate.seconds - STARTUP) / 2)


def test_estimates_grow_with_the_work() -> None:
    by_name = {job.folder.name: job for job in planned([1, 13])}
    pairs = [by_name[f"agsm-shapes-unet{batch}-0"].estimate.seconds for batch in ("-batch-2", "", "-batch-8")]
    assert pairs == sorted(pairs)
    assert by_name["softrepa-shapes-unet-0"].estimate.seconds < by_name["agsm-shapes-unet-0"].estimate.seconds


def test_flags_of_every_kind() -> None:
    options = (("apply", "down,mid"), ("learning_rate", 0.002), ("time_dependent", False))
    flags = train_arguments(replace(TOKENS, options=options), OUT)[4:-2]
    assert flags == ("--apply", "down,mid", "--learning-rate", "0.002", "--no-time-dependent")


def test_a_record_may_lack_options_with_their_default() -> None:
    """Runs made before an option existed."""
    assert training_differences(TOKENS, {"trainer": "agsm", "seed": 4, "steps": 600}) == []
    eight = replace(TOKENS, options=(("tokens", 8),))
    assert training_differences(eight, {"trainer": "agsm"}) == ["tokens 4, not 8"]
    assert training_differences(eight, {"trainer": "agsm", "tokens": 8}) == []


def test_a_table_that_no_runs_fill_is_a_usage_error() -> None:
    with pytest.raises(UserError, match=r"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13"):
        by_tables([11], "shapes")


@pytest.mark.parametrize(
    "row",
    ["options = { gama = 1 }", "evaluation = { steps = 0 }", 'trainer = "agms"'],
)
def test_a_wrong_option_in_a_table_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    for part in ("paper", "tables"):
        (tmp_path / part).mkdir()
        for path in (results_dir() / part).glob("*"):
            (tmp_path / part / path.name).write_bytes(path.read_bytes())
    text = (results_dir() / "tables" / "table_04.toml").read_text().split("[[fill.rows]]")[0]
    text += '[[fill.rows]]\nrow = "dual"\nbackbone = "shapes-mmdit"\n'
    extra = "" if "trainer" in row else 'trainer = "agsm"\n'
    (tmp_path / "tables" / "table_04.toml").write_text(text + extra + row + "\n")
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(tmp_path))
    with pytest.raises((MissingError, UserError)):
        load_fills(4, "shapes")


def test_a_plan_is_a_function_of_what_is_given() -> None:
    assert [asdict(job) for job in planned(TABLES, 2)] == [asdict(job) for job in planned(TABLES, 2)]


def test_a_long_training_keeps_the_tokens_of_shorter_ones() -> None:
    jobs = plan(by_figures(["4"]), 1, OUT, Found())
    trainings = [job for job in jobs if job.kind == "train"]
    assert names(trainings) == [
        *("agsm-shapes-mmdit-0", "agsm-shapes-mmdit-steps-10200-0"),
        *("softrepa-shapes-mmdit-0", "softrepa-shapes-mmdit-steps-10200-0"),
    ]
    assert trainings[1].arguments[-2:] == ("--keep-every", "600")
    evaluations = {job.folder.name: job for job in jobs if job.kind == "eval"}
    assert len(evaluations) == 1 + 2 * 4
    middle = evaluations["geneval-agsm-shapes-mmdit-steps-5400-0"]
    assert middle.arguments[-3] == (OUT / "agsm-shapes-mmdit-steps-10200-0" / "steps" / "005400").as_posix()
    assert middle.needs == (OUT / "agsm-shapes-mmdit-steps-10200-0",)


def test_kept_tokens_are_found() -> None:
    training = Training("agsm", "shapes-mmdit", (("steps", 5400),))
    record = {"trainer": "agsm", "backbone": "shapes-mmdit", "seed": 0, **training_settings(training)}
    kept = Found(trained=[Trained(Path("there"), record)])
    jobs = {job.folder.name: job for job in plan(by_figures(["4"]), 1, OUT, kept)}
    assert "there" in jobs["geneval-agsm-shapes-mmdit-steps-5400-0"].arguments
    assert not jobs["agsm-shapes-mmdit-steps-10200-0"].done


def test_figures_and_claims_share_runs_with_tables() -> None:
    jobs = plan([*by_tables([1], "shapes"), *by_figures(["4"]), *by_claims()], 1, OUT, Found())
    users = {job.folder.name: set(job.users) for job in jobs}
    assert {"1", "F4", "C1", "C3"} <= users["geneval-agsm-shapes-mmdit-0"]
    assert users["geneval-softrepa-shapes-mmdit-steps-10200-0"] == {"F4", "C3"}
    assert users["counting-agsm-shapes-unet-0"] == {"C2"}
    assert users["geneval-diffusion_dpo-shapes-unet-0-agsm-shapes-unet-0"] == {"C7"}


def test_what_a_long_training_keeps_does_not_hang_on_who_asks_first() -> None:
    by_name = {job.folder.name: job for job in plan(by_claims(), 1, OUT, Found())}
    long = by_name["softrepa-shapes-mmdit-steps-10200-0"]
    assert (
        long.arguments == next(j for j in plan(by_figures(["4"]), 1, OUT, Found()) if j.folder == long.folder).arguments
    )


def test_a_short_training_keeps_nothing() -> None:
    recipe = Recipe("geneval", "shapes-mmdit", "agsm", (("steps", 150),))
    (training, _) = plan([("1", recipe)], 1, OUT, Found())
    assert "--keep-every" not in training.arguments


def test_kept_tokens_on_disk_are_found(tmp_path: Path) -> None:
    record = {"trainer": "agsm", "backbone": "shapes-mmdit", "seed": 0, "steps": 1800}
    folder = tmp_path / "agsm-shapes-mmdit-steps-10200-0" / "steps" / "001800"
    save_tokens(SoftTokens(BACKBONE.tokens), folder, record)
    training = Training("agsm", "shapes-mmdit", (("steps", 1800),))
    assert scan(tmp_path, quick=True).result(training, 0) == folder
    jobs = {job.folder.name: job for job in plan(by_figures(["4"]), 1, tmp_path, scan(tmp_path, quick=True))}
    # what is there need not wait for the rest of the training
    assert jobs["geneval-agsm-shapes-mmdit-steps-1800-0"].needs == ()
