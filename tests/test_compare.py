"""What a comparison concludes from results with known truths."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from comparing import CORRECT, COUNTING, PROMPTS, SPEC, UNITS, result, verdicts

from agsm_bench import compare as module
from agsm_bench import differences
from agsm_bench.compare import Comparison, compare
from agsm_bench.differences import POWER_Z
from agsm_bench.errors import UserError
from agsm_bench.measured import Column, Measured, directions, prompt_tags
from agsm_bench.stats import paired_difference

SCORE = "shapes_clip/score"
RIGHT = np.ones(len(UNITS))
TAGS, DIRECTIONS = cache(prompt_tags), cache(directions)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws, and what plugins say is asked once."""
    monkeypatch.setattr(differences, "RESAMPLES", 300)
    monkeypatch.setattr(module, "prompt_tags", TAGS)
    monkeypatch.setattr(module, "directions", lambda names, spec: DIRECTIONS(tuple(names), spec))


def wrong(prompts: int) -> np.ndarray:
    """All images of the first prompts are wrong."""
    return np.where(np.arange(len(UNITS)) < prompts * SPEC.images_per_prompt, 0.0, 1.0)


def only(found: Comparison, name: str = COUNTING) -> module.Finding:
    return next(each for each in found.findings if each.name == name)


def test_a_run_is_no_worse_than_itself() -> None:
    run = result({CORRECT: wrong(20)})
    found = compare(run, run)
    assert (found.code, only(found).verdict, only(found).interval) == (0, "within noise", (0.0, 0.0))


@pytest.mark.parametrize("column", [CORRECT, "shapes/too_many"])
def test_better_and_worse_are_opposites_and_know_the_direction(column: str) -> None:
    few, many = result({column: wrong(10)}), result({column: wrong(40)})
    down = column != CORRECT
    name = column if down else COUNTING
    assert only(compare(many, few), name).verdict == ("better" if down else "worse")
    assert only(compare(few, many), name).verdict == ("worse" if down else "better")
    assert sorted([compare(many, few).code, compare(few, many).code]) == [0, 1]


def test_the_interval_is_that_of_the_paired_difference() -> None:
    rng = np.random.default_rng(0)
    shares = rng.random(len(PROMPTS))
    a, b = (verdicts(rng, shares) for _ in range(2))
    found = only(compare(result({CORRECT: a}), result({CORRECT: b})))
    known = paired_difference(a, b, [unit.partition("/")[0] for unit in UNITS])
    assert found.effect
    assert found.effect.value == pytest.approx(known.value, abs=1e-12)
    assert found.interval == pytest.approx((known.low, known.high), abs=0.01)


def test_a_loss_within_the_tolerance_is_no_regression() -> None:
    base, run = result({CORRECT: RIGHT}), result({CORRECT: wrong(12)})
    loss = 12 / len(PROMPTS)
    assert compare(run, base).code == 1
    wide = compare(run, base, tolerances={COUNTING: 3 * loss})
    assert (wide.code, only(wide).verdict) == (0, "within tolerance")
    assert compare(run, base, tolerances={COUNTING: loss / 10}).code == 1


def test_a_baselines_gate_says_what_is_tested() -> None:
    worse = result({CORRECT: wrong(40), SCORE: RIGHT})
    base = result({CORRECT: RIGHT, SCORE: RIGHT}, gate={SCORE: 0.0})
    assert compare(worse, base).code == 0
    assert [each.name for each in compare(worse, base).findings if each.tested] == [SCORE]
    assert only(compare(worse, base)).verdict == "worse"
    assert compare(worse, base, metrics=[COUNTING]).code == 1


def test_few_differing_prompts_prove_nothing() -> None:
    """The bootstrap alone would call four losses in 84 prompts significant; a sign test needs six."""
    base = result({CORRECT: RIGHT})
    assert [compare(result({CORRECT: wrong(n)}), base).code for n in (4, 5, 6)] == [0, 0, 1]


def test_more_metrics_ask_for_more_evidence() -> None:
    """Six differing prompts are enough for one metric, and not for four."""
    names = [CORRECT, "shapes/too_few", "shapes/too_many", SCORE]
    run, base = (result({name: row if name == CORRECT else RIGHT for name in names}) for row in (wrong(6), RIGHT))
    assert compare(run, base).code == 0
    assert compare(run, base, metrics=[COUNTING]).code == 1


def test_other_seeds_of_the_baseline_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    shares = np.full(len(PROMPTS), 0.5)
    run = result({CORRECT: verdicts(rng, shares, -0.15)}, (9,))
    alike = np.stack([verdicts(rng, shares)] * 5)
    apart = np.stack([verdicts(rng, shares, shift) for shift in (-0.2, -0.1, 0.0, 0.1, 0.2)])
    assert compare(run, result({CORRECT: alike}, tuple(range(5)))).code == 1
    found = compare(run, result({CORRECT: apart}, tuple(range(5))))
    assert found.code == 0
    assert only(found).prompts_needed is None
    assert any("5 training seeds" in note for note in found.notes)


def test_equal_seeds_leave_no_rounding() -> None:
    """The mean of three equal values is not always that value."""
    row = np.full(len(UNITS), 0.1)
    found = only(compare(result({SCORE: row}, (9,)), result({SCORE: np.stack([row] * 3)}, (0, 1, 2))), SCORE)
    assert (found.interval, found.p_better, found.verdict) == ((0.0, 0.0), 1.0, "within noise")


def test_one_seed_against_another_says_what_it_does_not_know() -> None:
    found = compare(result({CORRECT: RIGHT}, (1,)), result({CORRECT: RIGHT}, (0,)))
    assert any("one training seed" in note for note in found.notes)
    untrained = replace(result({CORRECT: RIGHT}), trainings=(None,))
    assert not compare(untrained, untrained).notes


def test_prompts_needed_follows_the_textbook() -> None:
    """n = (z variance-of-a-prompt / difference)^2, with one point, or the tolerance."""
    rng = np.random.default_rng(2)
    a, b = (verdicts(rng, np.full(len(PROMPTS), 0.5)) for _ in range(2))
    of_prompts = (a - b).reshape(len(PROMPTS), -1).mean(axis=1)
    for tolerances, visible in (({}, 0.01), ({COUNTING: 0.05}, 0.05)):
        found = only(compare(result({CORRECT: a}), result({CORRECT: b}), tolerances=tolerances))
        needed = (POWER_Z * of_prompts.std() / visible) ** 2
        assert found.visible == visible
        assert found.prompts_needed == pytest.approx(needed, rel=0.15)


def test_a_metric_that_cannot_be_compared_says_why_and_others_go_on() -> None:
    base = result({CORRECT: RIGHT, SCORE: RIGHT})
    other_weights = replace(base, columns=base.columns | {SCORE: Column(UNITS, RIGHT[None], "2")})
    found = compare(other_weights, base)
    assert (found.code, only(found, SCORE).verdict) == (0, "not comparable")
    assert "other versions: 2 and 1" in only(found, SCORE).reason
    without = compare(result({CORRECT: RIGHT}), base)
    assert "only run has it" in only(without, SCORE).reason


def test_a_declared_metric_that_cannot_be_compared_fails() -> None:
    """It must not pass because it is gone."""
    run, base = result({CORRECT: RIGHT}), result({CORRECT: RIGHT, SCORE: RIGHT}, gate={CORRECT: 0, SCORE: 0})
    base = replace(base, gate={COUNTING: 0.0, SCORE: 0.0})
    found = compare(run, base)
    assert (found.code, [each.name for each in found.untestable]) == (1, [SCORE])
    with pytest.raises(UserError, match="No metric can be compared"):
        compare(run, base, metrics=[SCORE])


def test_a_few_unscored_images_are_left_out_of_both_and_many_are_refused() -> None:
    """A run must not pass because its bad images could not be judged."""
    row = wrong(20)
    row[:3] = math.nan
    found = compare(result({CORRECT: row}, unscored=3), result({CORRECT: RIGHT}))
    assert only(found).effect
    assert only(found).effect.n == len(UNITS) - 3  # type: ignore[union-attr]
    assert any("3 images are unscored" in note for note in found.notes)
    with pytest.raises(UserError, match="40 unscored images"):
        compare(result({CORRECT: row}, unscored=40), result({CORRECT: RIGHT}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("domain", "photo"), ("benchmark", "geneval"), ("seed", 1), ("steps", 4), ("guidance_scale", 3.0)),
        *(("images_per_prompt", 2), ("size", 32), ("editing", {"editor": "pnp"}), ("model", {"protocol": "released"})),
    ],
)
def test_runs_of_other_settings_are_refused(field: str, value: object) -> None:
    run = result({CORRECT: RIGHT})
    with pytest.raises(UserError, match="protocol" if field == "model" else field):
        compare(run, replace(run, spec=replace(SPEC, **{field: value})))


def test_runs_of_other_images_are_refused() -> None:
    run = result({CORRECT: RIGHT})
    for changes, said in (({"limited": True}, "limited"), ({"prompts": "q"}, "other prompts")):
        with pytest.raises(UserError, match=said):
            compare(replace(run, **changes), run)
    fewer = {CORRECT: Column(UNITS[:8], RIGHT[None, :8], "1")}
    with pytest.raises(UserError, match="other prompts"):
        compare(replace(run, columns=fewer), run)


def test_limited_runs_of_the_same_images_are_compared_loudly() -> None:
    run = result({CORRECT: RIGHT}, limited=True)
    assert any(note.startswith("LIMITED RUNS of 336 images") for note in compare(run, run).notes)


@pytest.mark.parametrize("given", [{"metrics": ["geneval/countin"]}, {"tolerances": {"geneval/countin": 0.1}}])
def test_an_unknown_metric_is_named(given: dict[str, object]) -> None:
    run = result({CORRECT: RIGHT})
    with pytest.raises(UserError, match=r"geneval/countin .* Did you mean geneval/counting\?"):
        compare(run, run, **given)  # type: ignore[arg-type]


def _simulated(rng: np.random.Generator, loss: float, seeds: int, spread: float) -> tuple[Measured, Measured]:
    """A run and its baseline of other training seeds, whose accuracy varies by `spread` from seed to seed."""
    shares = rng.uniform(0.3, 0.9, len(PROMPTS))
    rows = [verdicts(rng, shares, spread * rng.standard_normal() - loss * (i == 0)) for i in range(seeds + 1)]
    return result({CORRECT: rows[0]}, (seeds,)), result({CORRECT: np.stack(rows[1:])}, tuple(range(seeds)))


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (5, 0.0), (5, 0.05), (3, 0.05)])
def test_false_alarms_are_as_rare_as_promised(seeds: int, spread: float) -> None:
    """2.5% at most; of 120 that is 3, and more than 8 with a chance of 0.4%."""
    rng = np.random.default_rng(seeds)
    alarms = sum(int(compare(*_simulated(rng, 0.0, seeds, spread)).code) for _ in range(120))
    assert alarms <= 8


def test_power_is_as_stated() -> None:
    """A loss that the sample size is given for is seen in 80% of comparisons."""
    rng = np.random.default_rng(3)
    needed = only(compare(*_simulated(rng, 0.0, 1, 0.0)))
    assert needed.prompts_needed
    visible = needed.visible * math.sqrt(needed.prompts_needed / len(PROMPTS))
    seen = sum(int(compare(*_simulated(rng, visible, 1, 0.0)).code) for _ in range(60))
    assert 36 <= seen <= 58
