"""What `agsm-bench list metrics` says of each metric; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agsm_bench import plugins
from agsm_bench.contracts import RunMetric
from agsm_bench.errors import MissingError
from agsm_bench.metric import ImageMetric
from agsm_bench.scoring.selection import absent_packages
from agsm_bench.weight_files import are_there

ARROWS = {"up": "↑ up", "down": "↓ down", "neither": "–"}


@dataclass(frozen=True)
class Row:
    """One metric by its full name."""

    name: str
    better: str
    needs: str
    extra: str
    weights: str


def rows(name: str) -> Iterator[Row]:
    """The metrics of a plugin file; none of one that does not import, whose description says why."""
    try:
        metric: Any = plugins.load("metrics", name)
    except MissingError:
        return
    if isinstance(metric, ImageMetric):
        yield from _of_images(metric)
    elif isinstance(metric, RunMetric):
        for column, better in metric.better.items():
            yield Row(column, ARROWS[better], f"a run of {metric.domain}", "", "")


def _of_images(metric: ImageMetric) -> Iterator[Row]:
    absent = absent_packages(metric)
    extra = f"[{metric.extra}] {'missing' if absent else 'there'}" if metric.extra else ""
    for name, variant in metric.variants.items():
        needs = ", ".join([*variant.needs, *["a set of references"] * (variant.per == "set")])
        yield Row(name, ARROWS[variant.better], needs, extra, f"weights {_weights(metric, name)}")


def _weights(metric: ImageMetric, name: str) -> str:
    weights = metric.variants[name].weights
    if not weights:
        return "shipped" if metric.version else "none"
    return "there" if are_there(weights) else "missing"
