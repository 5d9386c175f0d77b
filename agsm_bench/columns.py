"""One metric's values over a run, and their mean: unscored ones are counted, never zero."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from agsm_bench.benchmark import Scored
from agsm_bench.types import Interval


class Value(NamedTuple):
    """Of one image, or of one prompt."""

    value: float | None
    cluster: str
    """The prompt, whose images are resampled together."""
    tag: str


@dataclass(frozen=True)
class Column:
    """One metric's values, each with the prompt and tag it belongs to."""

    values: tuple[Value, ...]

    def only(self, tag: str) -> Column:
        """Those of one tag."""
        return Column(tuple(v for v in self.values if v.tag == tag))

    @property
    def scored(self) -> list[tuple[float, str, str]]:
        """The values that are there, each with its cluster and tag."""
        return [(v.value, v.cluster, v.tag) for v in self.values if v.value is not None]

    @property
    def unscored(self) -> int:
        return len(self.values) - len(self.scored)


def distinct(scores: Iterable[Scored]) -> list[Scored]:
    """The scores as a list; raises ValueError for a sample that is listed twice."""
    scored = list(scores)
    if len({sample_id for _, sample_id, _ in scored}) < len(scored):
        raise ValueError("a sample is listed twice: merge the shards by sample id first")
    return scored


def column_of(scored: Sequence[Scored], metric: str) -> Column:
    """A metric's values; None where a sample has none."""
    return Column(tuple(Value(values.get(metric), prompt.id, prompt.tag) for prompt, _, values in scored))


def mean(column: Column) -> Interval:
    """With an interval over the prompts; nan where nothing could be scored."""
    if not column.scored:
        return unknown(column)
    from agsm_bench.stats import bootstrap_mean

    values, clusters, _ = zip(*column.scored, strict=True)
    return replace(bootstrap_mean(values, clusters), unscored=column.unscored)


def means(scored: Sequence[Scored], metrics: Collection[str], tags: Collection[str] = ()) -> dict[str, Interval]:
    """The mean of each metric, and by tag as `METRIC[TAG]` where the run has samples of it."""
    found: dict[str, Interval] = {}
    for metric in metrics:
        column = column_of(scored, metric)
        found[metric] = mean(column)
        found |= {f"{metric}[{tag}]": mean(own) for tag in tags if (own := column.only(tag)).values}
    return found


def unknown(column: Column) -> Interval:
    """A mean that the scored values do not give."""
    n, clusters = len(column.scored), len({cluster for _, cluster, _ in column.scored})
    return Interval(math.nan, math.nan, math.nan, n, clusters, column.unscored)
