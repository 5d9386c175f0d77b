"""What a pass found: means with intervals, distances of sets, and what to warn of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agsm_bench.errors import UserError
from agsm_bench.frechet import Statistics, distance_with_interval, too_few
from agsm_bench.scoring.items import Item
from agsm_bench.scoring.judging import Progress, judged
from agsm_bench.scoring.reference_sets import ReferenceSet, statistics_of
from agsm_bench.scoring.selection import Chosen
from agsm_bench.scoring.settings import PassSettings
from agsm_bench.scoring.sheet import Sheet
from agsm_bench.stats import Interval, bootstrap_mean
from agsm_bench.types import Score


@dataclass(frozen=True)
class Results:
    """Of all metrics asked for, raw (not in the tables' scale)."""

    metrics: dict[str, Interval] = field(default_factory=dict)
    """By full name; without an entry where nothing could be scored."""
    unscored: list[Score] = field(default_factory=list)
    """Each with its reason."""
    warnings: list[str] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)
    """Of metrics of sets, the file with the statistics that they compare with."""


def score_items(
    items: Sequence[Item],
    sheet: Sheet,
    chosen: Sequence[Chosen],
    settings: PassSettings,
    progress: Progress,
    compared_with: Path | ReferenceSet | None = None,
) -> Results:
    """Scores what lacks a score, stores it, and sums up.

    Args:
        items: the images.
        sheet: what is scored already, and where the rest goes.
        chosen: the metrics.
        settings: of the pass.
        progress: told of every batch.
        compared_with: for metrics of sets: a folder of images, a run, statistics in an npz file, or a benchmark's own.

    Raises:
        UserError: a metric of sets without a set to compare with.
        MissingError: a checkpoint is another model's.
    """
    sets = [each for each in chosen if any(variant.per == "set" for variant in each.variants.values())]
    if sets and compared_with is None:
        raise UserError(f"{sets[0].names[0]} compares two sets of images.", "Add --references DIR or FILE.npz")
    for outcomes in judged(sheet.lacking(items, chosen), chosen, settings, progress):
        sheet.add(outcomes)
    found = Results()
    for each in chosen:
        for name, variant in each.variants.items():
            _sum_up(found, items, sheet, name)
            if variant.per == "set" and compared_with:
                reference = statistics_of(each, name, compared_with, settings, progress)
                _compare(found, items, sheet, name, reference)
    return found


def mean_of(scores: Mapping[str, Score], clusters: Mapping[str, str]) -> Interval | None:
    """The mean of the items' scores, with an interval over their clusters; None where none has a score."""
    own = [(scores[item], cluster) for item, cluster in clusters.items() if item in scores]
    known = [(score.value, cluster) for score, cluster in own if score.value is not None]
    if not known:
        return None
    values, labels = zip(*known, strict=True)
    return replace(bootstrap_mean(values, labels), unscored=len(own) - len(known))


def cut_prompts(name: str, scores: Mapping[str, Score], clusters: Mapping[str, str]) -> list[str]:
    """A warning where a metric did not read the end of some of the items' prompts."""
    own = [(score, clusters[item]) for item, score in scores.items() if item in clusters and score.value is not None]
    cut = {prompt for score, prompt in own if score.reason}
    there = len({prompt for _, prompt in own})
    return [f"{name} read the beginning alone of {len(cut)} of {there} prompts, for want of tokens."] if cut else []


def _sum_up(found: Results, items: Sequence[Item], sheet: Sheet, name: str) -> None:
    scores, clusters = sheet.scores(name), {item.id: item.cluster for item in items}
    if mean := mean_of(scores, clusters):
        found.metrics[name] = mean
    found.warnings.extend(cut_prompts(name, scores, clusters))
    own = [scores[item.id] for item in items if item.id in scores]
    found.unscored.extend(score for score in own if score.value is None)


def _compare(found: Results, items: Sequence[Item], sheet: Sheet, name: str, reference: Statistics) -> None:
    store = sheet.features(name)
    there = [item for item in items if item.id in store.keys]
    if len(there) < 2:
        found.warnings.append(f"{name}: {len(there)} images have features, and a distance needs two.")
        return
    features = store.rows([item.id for item in there])
    distance = distance_with_interval(features, [item.cluster for item in there], reference)
    found.metrics[name] = replace(distance, unscored=len(items) - len(there))
    found.references[name] = reference.source
    for n, what in ((len(there), "images"), (reference.n, "reference images")):
        if warning := too_few(n, features.shape[1]):
            found.warnings.append(f"{name}: {warning} ({what})")
