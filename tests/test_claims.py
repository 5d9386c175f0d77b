"""Claims against runs whose effects are known, and the command."""

from __future__ import annotations

import json
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
    alone = judge(claims(), find_runs())[0].p_holds
    among = judge(claims(keys=tuple("ABCDE")), find_runs())
    assert [j.p_holds for j in among] == pytest.approx([min(1.0, 5 * alone)] * 5)


def test_a_claim_on_two_backbones_needs_both() -> None:
    assert overall(["holds", "holds"]) == "holds"
    assert overall(["holds", "does not hold"]) == overall(["holds", "undecided"]) == "undecided"


def test_damaged_scores_are_named() -> None:
    make_all(0.1)
    Path("runs/base/scores.csv").write_text("sample_id,geneval/strict\n00000/0000,right\n")
    with pytest.raises(MissingError, match=r"scores\.csv is damaged"):
        judge(claims(), find_runs())


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
