"""Claims against runs whose effects are known, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_runs import summary, write
from store_runs import NOTE, SPEC
from typer.testing import CliRunner

from agsm_bench import plugins
from agsm_bench.cli.main import app
from agsm_bench.errors import MissingError
from agsm_bench.manifest import Manifest
from agsm_bench.report.claims import Claim, Claims, Part, Want, judge, load_claims, overall, to_json
from agsm_bench.report.evidence import sample_values
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.runs import find_runs

PROMPTS = plugins.load("benchmarks", "geneval").prompts("shapes")
IDS = [f"{prompt.id}/{index:04d}" for prompt in PROMPTS for index in range(4)]
AGSM, BASE = {"trainer": "agsm"}, dict[str, str]()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a folder of its own, without the runs that ship."""
    results = tmp_path / "results"
    results.mkdir()
    for name in ("paper", "tables"):
        (results / name).symlink_to(Path(__file__).parents[1] / "results" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))


def make(name: str, values: np.ndarray, trainer: str | None = None, seed: int = 0) -> Path:
    folder = write(name, summary(float(values.mean()), trainer, seed))
    lines = [f"{key},{int(value)},{int(value)}" for key, value in zip(IDS, values, strict=True)]
    (folder / "scores.csv").write_text("\n".join(["sample_id,geneval/correct,geneval/strict", *lines]) + "\n")
    return folder


def make_all(gain: float, seeds: int = 3) -> None:
    """A base right in half of the images, and tokens that mend (or break) so many of them."""
    rng = np.random.default_rng(0)
    base = rng.random(len(IDS)) < 0.5
    make("base", base)
    for seed in range(seeds):
        changed = rng.random(len(IDS)) < abs(gain)
        make(f"agsm-{seed}", np.where(changed, gain > 0, base), "agsm", seed)


def claims(want: Want = "more", over: str = "tasks", keys: tuple[str, ...] = ("C1",)) -> Claims:
    a, b = (recipe_of(side | {"backbone": "shapes-mmdit"}, "geneval") for side in (AGSM, BASE))
    part = Part("AGSM - base", want, "geneval/strict", over, a, b)
    made = tuple(Claim(key, "AGSM helps", "shapes-mmdit", (part,)) for key in keys)
    return Claims(margin=0.01, level=0.05, seeds=3, claims=made)


@pytest.mark.parametrize(
    ("gain", "want", "verdict"),
    [
        (0.1, "more", "holds"),
        (-0.1, "more", "does not hold"),
        (0.0, "more", "does not hold"),
        (0.1, "less", "does not hold"),
        (-0.1, "less", "holds"),
        (0.0, "not less", "holds"),
        (0.1, "not less", "holds"),
        (-0.1, "not less", "does not hold"),
    ],
)
def test_verdicts(gain: float, want: Want, verdict: str) -> None:
    make_all(gain)
    (judged,) = judge(claims(want), find_runs())
    assert judged.verdict == verdict
    assert judged.findings[0].runs["a"] == ("agsm-0", "agsm-1", "agsm-2")
    assert judged.findings[0].runs["b"] == ("base",) * 3


def test_the_effect_is_the_mean_over_tasks_and_seeds() -> None:
    make_all(0.1)
    effect = judge(claims(), find_runs())[0].findings[0].effect
    tags = np.array([prompt.tag for prompt in PROMPTS]).repeat(4)
    found = [sample_values(Path("runs") / name) for name in ("base", "agsm-0", "agsm-1", "agsm-2")]
    columns = [np.array([values[i]["geneval/strict"] for i in IDS], float) for values in found]
    gain = np.mean(columns[1:], axis=0) - columns[0]
    assert effect is not None
    assert effect.value == pytest.approx(np.mean([gain[tags == tag].mean() for tag in np.unique(tags)]))
    assert (effect.seeds, effect.n, effect.clusters) == (3, 2212, 553)


def test_a_task_alone_and_all_images_alike() -> None:
    make_all(0.1)
    counting, images = (judge(claims(over=over), find_runs())[0].findings[0].effect for over in ("counting", "images"))
    assert counting is not None
    assert images is not None
    assert (counting.n, images.n) == (320, 2212)


def test_few_seeds_decide_nothing() -> None:
    make_all(0.1, seeds=2)
    (judged,) = judge(claims(), find_runs())
    assert (judged.verdict, judged.reason) == ("undecided", "2 of 3 training seeds")
    assert judged.findings[0].effect is not None


def test_missing_runs_are_named_with_their_command() -> None:
    make("base", np.zeros(len(IDS)))
    (judged,) = judge(claims(), find_runs())
    assert judged.verdict == "undecided"
    assert "agsm-bench train agsm --backbone shapes-mmdit" in judged.reason


def test_more_claims_make_each_harder_to_hold() -> None:
    make_all(0.012)
    for judged in judge(claims(keys=tuple("ABCDE")), find_runs()):
        raw = judged.findings[0].p_holds
        assert 0 < raw < 0.2
        assert judged.p_holds == pytest.approx(5 * raw)


def test_a_claim_on_two_backbones_needs_both() -> None:
    assert overall(["holds", "holds"]) == "holds"
    assert overall(["holds", "undecided"]) == overall(["undecided", "does not hold"]) == "undecided"
    assert overall(["does not hold", "holds"]) == "differs"


def test_untested_claims_count_in_the_correction() -> None:
    make_all(0.012)
    both = claims(keys=("A", "B"))
    other = recipe_of({"trainer": "bt", "backbone": "shapes-mmdit"}, "geneval")
    part = replace(both.claims[1].parts[0], a=other)
    pending = replace(both, claims=(both.claims[0], replace(both.claims[1], parts=(part,))))
    assert judge(pending, find_runs())[0].p_holds == judge(both, find_runs())[0].p_holds


def test_other_noise_of_the_evaluation_is_no_other_training() -> None:
    make_all(0.1, seeds=1)
    for noise in (1, 2):
        for name, trainer in (("base", None), ("agsm-0", "agsm")):
            data = summary(0.5, trainer, run={"seed": noise, "identity": f"{name}-{noise}"})
            folder = write(f"{name}-{noise}", data)
            (folder / "scores.csv").write_text((Path("runs") / name / "scores.csv").read_text())
    (judged,) = judge(claims(), find_runs())
    assert judged.reason == "1 of 3 training seeds"


def test_runs_without_a_seed_in_common_are_missing() -> None:
    made = claims()
    shared = recipe_of({"trainer": "shared", "backbone": "shapes-mmdit"}, "geneval")
    part = replace(made.claims[0].parts[0], b=shared)
    rng = np.random.default_rng(0)
    make("agsm-0", rng.random(len(IDS)) < 0.5, "agsm", 0)
    make("shared-1", rng.random(len(IDS)) < 0.5, "shared", 1)
    (judged,) = judge(replace(made, claims=(replace(made.claims[0], parts=(part,)),)), find_runs())
    assert judged.reason.startswith("runs are missing: agsm-bench train shared")


def test_equal_tokens_of_two_trainers_are_two_runs() -> None:
    for name, trainer, options in (("a", "agsm", {"gamma_negative": 0.0}), ("b", "positive", {})):
        data = summary(0.5, trainer, run={"identity": "the same"})
        data["run"]["tokens"]["objective"] = options
        write(name, data)
    assert [run.folder.name for run in find_runs()] == ["a", "b"]


def test_damaged_scores_are_named() -> None:
    make_all(0.1)
    Path("runs/base/scores.csv").write_text("sample_id,geneval/strict\n00000/0000,right\n")
    with pytest.raises(MissingError, match=r"scores\.csv is missing or damaged"):
        judge(claims(), find_runs())


@pytest.mark.parametrize("keep", [1, 100, 2212])
def test_scores_that_were_cut_are_named(keep: int) -> None:
    make_all(0.1)
    path = Path("runs/base/scores.csv")
    lines = path.read_text().splitlines(keepends=True)[: keep + 1]
    path.write_text("".join(lines)[: None if keep < 2212 else -30])
    with pytest.raises(MissingError, match=r"scores\.csv is missing or damaged"):
        judge(claims(), find_runs())


@pytest.mark.parametrize(
    ("old", "new"),
    [("margin = 0.01", 'margin = "x"'), ("seeds = 3", 'seeds = "3"'), ('over = "tasks"', 'over = "imges"'),
     ('"geneval/strict"', '"geneval/strikt"'), ('want = "more"', 'want = "better"')],
)  # fmt: skip
def test_a_damaged_file_of_claims_is_named(tmp_path: Path, old: str, new: str) -> None:
    tables = tmp_path / "results" / "tables"
    text = (tables / "claims.toml").read_text()
    tables.unlink()
    tables.mkdir()
    (tables / "claims.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(MissingError, match=r"claims\.toml is missing or damaged"):
        load_claims()


def test_absent_scores_are_named() -> None:
    make_all(0.1)
    run = find_runs()[0]
    (run.folder / "scores.csv").unlink()
    (run.folder / "manifest.json").write_text(Manifest(SPEC, 6, False, None, None, None, (NOTE,)).dump().decode())
    with pytest.raises(MissingError, match="holds no scores"):
        judge(claims(), find_runs())


def test_the_claims_that_ship() -> None:
    loaded = load_claims()
    assert list(dict.fromkeys(c.key for c in loaded.claims)) == [f"C{i}" for i in range(1, 8)]
    assert to_json(loaded, judge(loaded, []))["claims"][0]["verdict"] == "undecided"


def test_the_command(tmp_path: Path) -> None:
    make_all(0.1)
    shown = CliRunner().invoke(app, ["claims"])
    assert shown.exit_code == 0, shown.output
    assert "C1" in shown.output
    assert "holds" in shown.output
    saved = CliRunner().invoke(app, ["claims", "--format", "json", "--out", "claims.json"])
    assert saved.exit_code == 0, saved.output
    first = json.loads(Path("claims.json").read_text())["claims"][0]["backbones"][1]
    assert (first["backbone"], first["verdict"], first["parts"][0]["images"]) == ("shapes-mmdit", "holds", 3 * 2212)
    markdown = CliRunner().invoke(app, ["claims", "--format", "md"]).output
    assert "| C1 | shapes-mmdit | holds |" in markdown
