"""UniGenBench++'s accuracies: pooled as upstream pools them, and what failed is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np
import pytest

from agsm_bench.unigenbench.judgements import Asked, Judgement
from agsm_bench.unigenbench.kinds import DIMENSIONS, KINDS, Point, dimension, slug
from agsm_bench.unigenbench.question import Verdict
from agsm_bench.unigenbench.summary import summarise, unjudged

COLOR, SIZE, STYLE = "Attribute - Color", "Attribute - Size", "Style"
Expected = Mapping[str, Sequence[Point]]


def points(*kinds: str) -> list[Point]:
    return [Point(kind, "words") for kind in kinds]


def judgement(sample: str, kinds: Sequence[str], yes: Sequence[bool]) -> Judgement:
    verdicts = tuple(Verdict(kind, each, "") for kind, each in zip(kinds, yes, strict=True))
    return Judgement(Asked(sample, "0", "m", "1-0"), verdicts)


def failed(sample: str, reason: str) -> Judgement:
    return Judgement(Asked(sample, "0", "m", "1-0"), failed=reason)


def of_all_kinds(prompts: int, images: int = 2) -> tuple[Expected, dict[str, Judgement]]:
    """Some verdicts on prompts with a draw of the kinds each."""
    rng = np.random.default_rng(0)
    expected, judgements = {}, {}
    for prompt in range(prompts):
        kinds = [KINDS[i] for i in rng.choice(len(KINDS), 12, replace=False)]
        for image in range(images):
            sample = f"{prompt:05d}/{image:04d}"
            expected[sample] = points(*kinds)
            judgements[sample] = judgement(sample, kinds, [bool(each) for each in rng.random(12) < 0.7])
    return expected, judgements


def test_points_are_pooled_by_kind_and_by_dimension() -> None:
    expected = {"00000/0000": points(COLOR, COLOR, STYLE), "00001/0000": points(COLOR, SIZE)}
    judgements = {
        "00000/0000": judgement("00000/0000", [COLOR, COLOR, STYLE], [True, False, True]),
        "00001/0000": judgement("00001/0000", [COLOR, SIZE], [True, False]),
    }
    summary = summarise(expected, judgements)
    found = {name.removeprefix("unigenbench/"): (each.value, each.n) for name, each in summary.items()}
    assert found == {
        "points": (pytest.approx(3 / 5), 5),
        "attribute": (pytest.approx(2 / 4), 4),
        "style": (1.0, 1),
        "attribute_color": (pytest.approx(2 / 3), 3),
        "attribute_size": (0.0, 1),
    }
    assert summary["unigenbench/attribute"].clusters == 2


def test_failed_and_missing_judgements_are_counted_and_in_no_mean() -> None:
    expected = {f"0000{i}/0000": points(COLOR, STYLE) for i in range(3)}
    judgements = {
        "00000/0000": judgement("00000/0000", [COLOR, STYLE], [True, True]),
        "00001/0000": failed("00001/0000", "the connection was cut"),
    }
    summary = summarise(expected, judgements)
    assert {each.value for each in summary.values()} == {1.0}
    assert summary["unigenbench/points"].unscored == 4
    assert summary["unigenbench/style"].unscored == 2
    assert unjudged(expected, judgements) == {
        "00001/0000": "the connection was cut",
        "00002/0000": "not judged yet",
    }


def test_a_kind_without_any_judgement_is_unknown_and_not_zero() -> None:
    expected = {"00000/0000": points(COLOR), "00001/0000": points(STYLE)}
    summary = summarise(expected, {"00000/0000": judgement("00000/0000", [COLOR], [True])})
    assert isnan(summary["unigenbench/style"].value)
    assert summary["unigenbench/style"].unscored == 1


def test_the_mean_is_that_of_the_ten_dimensions() -> None:
    expected, judgements = of_all_kinds(30)
    summary = summarise(expected, judgements)
    mean = summary["unigenbench/mean"]
    rows = [summary[f"unigenbench/{slug(name)}"].value for name in DIMENSIONS]
    assert mean.value == pytest.approx(np.mean(rows), abs=1e-12)
    assert mean.low < mean.value < mean.high
    assert (mean.n, mean.clusters, mean.unscored) == (30 * 2 * 12, 30, 0)


def test_a_slow_reading_gives_the_same_accuracies() -> None:
    expected, judgements = of_all_kinds(20)
    summary = summarise(expected, judgements)
    verdicts = [verdict for each in judgements.values() for verdict in each.verdicts]
    for name in (*KINDS, *DIMENSIONS):
        own = [verdict.yes for verdict in verdicts if name in (verdict.name, dimension(verdict.name))]
        assert summary[f"unigenbench/{slug(name)}"].value == pytest.approx(sum(own) / len(own))
    assert len(summary) == 2 + len({*KINDS, *DIMENSIONS})


def test_the_interval_of_the_mean_is_over_whole_prompts() -> None:
    """Four equal images a prompt say no more than one; and a prompt is drawn with all its dimensions."""
    expected, judgements = of_all_kinds(30, images=1)
    copies = {f"{key[:5]}/{image:04d}": each for key, each in judgements.items() for image in range(4)}
    once = summarise(expected, judgements)["unigenbench/mean"]
    four = summarise({key: expected[f"{key[:5]}/0000"] for key in copies}, copies)["unigenbench/mean"]
    assert (four.value, four.low, four.high) == pytest.approx((once.value, once.low, once.high), abs=1e-12)


def test_the_order_of_the_samples_does_not_matter() -> None:
    expected, judgements = of_all_kinds(12)
    assert summarise(expected, judgements) == summarise(
        dict(reversed(list(expected.items()))), dict(reversed(list(judgements.items())))
    )


def test_the_mean_is_left_out_where_a_dimension_is_not_asked_for_and_unknown_where_it_failed() -> None:
    kinds = [next(kind for kind in KINDS if dimension(kind) == name) for name in DIMENSIONS]
    one = {"00000/0000": points(*kinds[1:])}
    assert "unigenbench/mean" not in summarise(one, {})
    other = {**one, "00001/0000": points(kinds[0])}
    mean = summarise(other, {"00000/0000": judgement("00000/0000", kinds[1:], [True] * 9)})["unigenbench/mean"]
    assert isnan(mean.value)
    assert (mean.n, mean.unscored) == (9, 1)


def test_a_kind_that_upstream_adds_has_its_row() -> None:
    summary = summarise({"00000/0000": points("Sense - Smell")}, {})
    assert set(summary) == {"unigenbench/points", "unigenbench/sense", "unigenbench/sense_smell"}


def test_images_without_test_points_have_nothing_to_judge() -> None:
    assert summarise({"00509/0000": []}, {}) == {}
    assert unjudged({"00509/0000": []}, {}) == {}


def test_verdicts_on_other_points_are_refused() -> None:
    with pytest.raises(ValueError, match="00000/0000"):
        summarise({"00000/0000": points(COLOR)}, {"00000/0000": judgement("00000/0000", [STYLE], [True])})
