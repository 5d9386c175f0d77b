"""The tables of a page: every metric over all images and by task, and how the runs differ from the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Literal

from agsm_bench.geneval import CORRECT, STRICT
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.records import split_id
from agsm_bench.report.paired import LABELS
from agsm_bench.report.view.loading import Shown, Viewed
from agsm_bench.report.view.metrics import Metric, metric_of
from agsm_bench.stats import Interval, bootstrap_macro_mean, paired_difference

Verdict = Literal["better", "worse", "none", "unknown"]


@dataclass(frozen=True)
class Row:
    """A task, or all of them."""

    label: str
    values: tuple[Interval | None, ...]
    """Of each run over its own scored images; None where it has none."""
    differences: tuple[Interval | None, ...]
    """Of each further run against the first, paired on the images that both have scored."""

    @property
    def n(self) -> int:
        """Images that a difference is over, or the first run's."""
        return next((each.n for each in (*self.differences, *self.values) if each), 0)


@dataclass(frozen=True)
class Table:
    """One metric."""

    metric: Metric
    rows: tuple[Row, ...]
    """By task; the last is of all images."""

    @property
    def total(self) -> Row:
        return self.rows[-1]


def verdict_of(difference: Interval, metric: Metric) -> Verdict:
    """How a run differs from the first; `none` where the interval contains 0."""
    low, high = difference.low, difference.high
    if not (isfinite(low) and isfinite(high)):
        return "unknown"
    if low <= 0 <= high or not metric.better:
        return "none"
    return "better" if (low > 0) is (metric.better == "up") else "worse"


def tables_of(shown: Shown) -> list[Table]:
    """A table a metric of single images, the one that says right or wrong first."""
    ordered = sorted(shown.metrics, key=lambda metric: metric.name not in shown.verdicts[:1])
    return [Table(metric, tuple(_rows(shown, metric))) for metric in ordered]


def wholes_of(shown: Shown) -> list[Table]:
    """What the summaries have of the runs as wholes, which is of no single image."""
    single = {metric.name for metric in shown.metrics}
    names = {name for each in shown.runs for name in each.summary.get("metrics", ())} - single
    whole = sorted(name for name in names if not name.startswith(("geneval/", "shapes/")) and "[" not in name)
    return [
        Table(metric_of(name), (Row("all", tuple(_stored(each, name) for each in shown.runs), ()),)) for name in whole
    ]


def _rows(shown: Shown, metric: Metric) -> Iterator[Row]:
    columns = [_column(each, metric.name) for each in shown.runs]
    tags = {sample: shown.prompt(sample).tag for sample in shown.samples}
    named = [tag for tag in shown.tags if tag]
    for tag in named if len(named) > 1 else ():
        row = _row(LABELS.get(tag, tag.replace("_", " ")), [_only(column, tags, tag) for column in columns])
        if any(row.values):
            yield row
    if set(named) == set(TAGS) and metric.name in (CORRECT, STRICT):  # GenEval's mean, in which tasks weigh alike
        yield _row(LABELS["mean"], columns, tags)
    else:
        yield _row("all images", columns)


def _row(label: str, columns: Sequence[Mapping[str, float]], groups: Mapping[str, str] | None = None) -> Row:
    first, *others = columns
    return Row(
        label,
        tuple(_mean(column, groups) for column in columns),
        tuple(_difference(first, other, groups) for other in others),
    )


def _mean(column: Mapping[str, float], groups: Mapping[str, str] | None) -> Interval | None:
    if not column:
        return None
    return bootstrap_macro_mean([*column.values()], _clusters(column), _groups(column, groups))


def _difference(
    first: Mapping[str, float], other: Mapping[str, float], groups: Mapping[str, str] | None
) -> Interval | None:
    """Other minus first."""
    ids = [sample for sample in first if sample in other]
    if not ids:
        return None
    base, new = ([column[sample] for sample in ids] for column in (first, other))
    return paired_difference(new, base, _clusters(ids), _groups(ids, groups))


def _column(each: Viewed, name: str) -> dict[str, float]:
    """The scored values, in the order of the samples."""
    found = ((sample, row.get(name)) for sample, row in sorted(each.values.items()))
    return {sample: value for sample, value in found if value is not None}


def _only(column: Mapping[str, float], tags: Mapping[str, str], tag: str) -> dict[str, float]:
    return {sample: value for sample, value in column.items() if tags[sample] == tag}


def _clusters(samples: Iterable[str]) -> list[str]:
    return [split_id(sample)[0] for sample in samples]


def _groups(samples: Iterable[str], groups: Mapping[str, str] | None) -> list[str]:
    return ["" if groups is None else groups[sample] for sample in samples]


def _stored(each: Viewed, name: str) -> Interval | None:
    found: Mapping[str, Any] = each.summary.get("metrics", {}).get(name, {})
    if found.get("value") is None:
        return None
    low, high = (nan if found[key] is None else float(found[key]) for key in ("low", "high"))
    return Interval(float(found["value"]), low, high, int(found["n"]), int(found["clusters"]))
