"""Accuracies of UniGenBench++ from the judge's verdicts.

Upstream (eval/src/eval_common.py `calculate_scores`, github CodeGoat24/UniGenBench at 49d0bce) pools the test points
of all images: a kind's accuracy is the points answered 1 over the points answered. A primary dimension, the part of a
kind's name before its dash, is pooled alike over its kinds. The code gives no overall score. That of the leaderboard
(docs/static/images/en_long.png) is the unweighted mean of the ten dimensions: Recraft's ten give 60.93 as stated. An
image without a readable answer is skipped there with a printed warning, so that its points leave the denominators.

Here they leave the mean as well, as nobody knows the answers, but `Interval.unscored` counts them. Intervals are over
whole prompts, as the images and the test points of one prompt are not independent. Values are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from agsm_bench.records import split_id
from agsm_bench.stats import Floats, Interval, bootstrap_mean, bootstrap_statistic
from agsm_bench.unigenbench.judgements import Judgement
from agsm_bench.unigenbench.kinds import DIMENSIONS, KINDS, Point, dimension, slug

MEAN = "unigenbench/mean"
"""Of the ten dimensions, as the leaderboard has it."""
POINTS = "unigenbench/points"
"""Of all test points, each counted alike."""


class _Answer(NamedTuple):
    kind: str
    prompt: str
    yes: float | None
    """None: unscored."""


def summarise(expected: Mapping[str, Sequence[Point]], judgements: Mapping[str, Judgement]) -> dict[str, Interval]:
    """Accuracies by metric: the mean, all points, the dimensions, then the kinds that occur.

    The mean is left out unless all ten dimensions occur, and nan where nothing of one could be judged.

    Args:
        expected: the test points of every image by sample id, those without a judgement, too.
        judgements: by sample id (`JudgementStore.verdicts`).

    Raises:
        ValueError: the verdicts of an image are not on its test points.
    """
    answers = [
        answer for sample in sorted(expected) for answer in _answers(sample, expected[sample], judgements.get(sample))
    ]
    if not answers:
        return {}
    occurring = {answer.kind for answer in answers}
    kinds = [*(kind for kind in KINDS if kind in occurring), *sorted(occurring - set(KINDS))]
    dimensions = list(dict.fromkeys(map(dimension, kinds)))
    mean = {MEAN: _mean_of_dimensions(answers)} if set(DIMENSIONS) <= set(dimensions) else {}
    by_dimension = {name: [a for a in answers if dimension(a.kind) == name] for name in dimensions}
    by_kind = {name: [a for a in answers if a.kind == name] for name in kinds}
    rows = {f"unigenbench/{slug(name)}": _accuracy(own) for name, own in (by_dimension | by_kind).items()}
    return {**mean, POINTS: _accuracy(answers), **rows}


def unjudged(expected: Mapping[str, Sequence[Point]], judgements: Mapping[str, Judgement]) -> dict[str, str]:
    """Sample id -> why the image has no verdicts, sorted; images without test points have none to lack."""
    lacking = {}
    for sample in sorted(sample for sample, points in expected.items() if points):
        judgement = judgements.get(sample)
        if judgement is None or judgement.failed:
            lacking[sample] = (judgement and judgement.failed) or "not judged yet"
    return lacking


def _answers(sample: str, points: Sequence[Point], judgement: Judgement | None) -> list[_Answer]:
    prompt = split_id(sample)[0]
    if judgement is None or judgement.failed:
        return [_Answer(point.name, prompt, None) for point in points]
    if [verdict.name for verdict in judgement.verdicts] != [point.name for point in points]:
        raise ValueError(f"the verdicts of {sample} are on other test points")
    return [_Answer(verdict.name, prompt, float(verdict.yes)) for verdict in judgement.verdicts]


def _accuracy(answers: Sequence[_Answer]) -> Interval:
    known = [(answer.yes, answer.prompt) for answer in answers if answer.yes is not None]
    if not known:
        return Interval(math.nan, math.nan, math.nan, 0, 0, len(answers))
    values, prompts = zip(*known, strict=True)
    return replace(bootstrap_mean(values, prompts), unscored=len(answers) - len(known))


def _mean_of_dimensions(answers: Sequence[_Answer]) -> Interval:
    """A prompt is drawn with all its points, of whichever dimension. A draw without a dimension has the others' mean,
    which happens with a few prompts only."""
    own = [answer for answer in answers if dimension(answer.kind) in DIMENSIONS]
    known = [(a.prompt, DIMENSIONS.index(dimension(a.kind)), a.yes) for a in own if a.yes is not None]
    unscored = len(own) - len(known)
    prompts = {prompt: place for place, prompt in enumerate(sorted({prompt for prompt, _, _ in known}))}
    sums, counts = np.zeros((2, len(prompts), len(DIMENSIONS)))
    for prompt, place, yes in known:
        sums[prompts[prompt], place] += yes
        counts[prompts[prompt], place] += 1
    if not counts.sum(axis=0).all():
        return Interval(math.nan, math.nan, math.nan, len(known), len(prompts), unscored)

    def statistic(weights: Floats) -> Floats:
        drawn = weights @ counts
        accuracies = np.divide(weights @ sums, drawn, out=np.full_like(drawn, np.nan), where=drawn > 0)
        return np.nanmean(accuracies, axis=1)

    return replace(bootstrap_statistic(statistic, len(prompts), len(known)), unscored=unscored)
