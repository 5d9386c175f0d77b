"""Names of metrics to what judges them: which plugin, which weights, and what is missing before anything starts."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.errors import MissingError, UserError, together
from agsm_bench.metric import ImageMetric, Judge, Variant
from agsm_bench.types import Domain
from agsm_bench.weight_files import find, version_of

Weights = Mapping[str, Path]
"""What the user gives in place of the caches: full name -> a folder, or a single file."""


@dataclass(frozen=True)
class Chosen:
    """Variants of one plugin with the same weights: one judge encodes each image once for all of them."""

    metric: ImageMetric
    names: tuple[str, ...]
    """Full names."""
    files: Mapping[str, Path]
    upstream: bool = False
    """Judged by the upstream package (`--reference`)."""
    references: str = ""
    """Digest of the references of all items, for a store that does not know them by item."""

    @property
    def variants(self) -> dict[str, Variant]:
        """By full name."""
        return {name: self.metric.variants[name] for name in self.names}

    def version_of(self, name: str) -> str:
        """What a stored score depends on besides its image: the weights, who judged, and `references`."""
        compared = self.references if {"reference", "mask"} & set(self.metric.variants[name].needs) else ""
        return " ".join(filter(None, [self._weights, "upstream" if self.upstream else "", compared]))

    @cached_property
    def _weights(self) -> str:
        return self.metric.version() if self.metric.version else version_of(self.files) or "1"

    @property
    def bytes(self) -> int:
        """Of its weight files: about what it takes of the memory."""
        return sum(path.stat().st_size for path in self.files.values())

    def loaded(self, device: str) -> Judge:
        """The judge; raises MissingError for files of another model."""
        load = self.metric.reference if self.upstream and self.metric.reference else self.metric.load
        return load(self.names, self.files, device)


def image_metrics() -> dict[str, ImageMetric]:
    """Every plugin that judges images, by file name."""
    loaded: dict[str, Any] = {name: plugins.load("metrics", name) for name in plugins.names("metrics")}
    return {name: found for name, found in loaded.items() if isinstance(found, ImageMetric)}


def known() -> dict[str, ImageMetric]:
    """Full name of every variant -> its plugin."""
    return {name: metric for metric in image_metrics().values() for name in metric.variants}


def default_names(domain: Domain) -> list[str]:
    """What every `eval` and `score` of a domain measures of its images."""
    return [name for metric in image_metrics().values() if metric.domain == domain for name in metric.by_default]


def choose(names: Sequence[str], weights: Weights | None = None, *, upstream: bool = False) -> list[Chosen]:
    """The plugins of metrics by full name, all that is missing said at once.

    Raises:
        UserError: an unknown name, with the closest ones; weights for a metric that is not asked for.
        MissingError: weights, or a package of an extra.
    """
    given, everything = dict(weights or {}), known()
    checked_names([*names, *given])
    if foreign := [name for name in given if name not in names]:
        raise UserError(f"--weights names {foreign[0]}, which is not scored.", f"Add it: --metrics {foreign[0]}")
    chosen, missing = [], []
    for group in _groups(list(dict.fromkeys(names)), everything):
        try:
            chosen.append(_chosen(group, everything[group[0]], given.get(group[0]), upstream))
        except MissingError as error:
            missing.append(error)
    if missing:
        raise together(missing)
    return chosen


def checked_names(names: Sequence[str]) -> dict[str, Variant]:
    """Variants by full name; raises UserError for an unknown one, with the closest."""
    everything = known()
    for name in names:
        if name not in everything:
            raise UserError(f"There is no metric '{name}'.", _suggest(name, sorted(everything)))
    return {name: everything[name].variants[name] for name in names}


def _groups(names: Sequence[str], everything: Mapping[str, ImageMetric]) -> list[tuple[str, ...]]:
    """Names of one plugin with the same weights together."""
    groups: dict[tuple[int, Any], list[str]] = {}
    for name in names:
        metric = everything[name]
        groups.setdefault((id(metric), metric.variants[name].weights), []).append(name)
    return [tuple(group) for group in groups.values()]


def _chosen(names: tuple[str, ...], metric: ImageMetric, given: Path | None, upstream: bool) -> Chosen:
    if upstream and metric.reference is None:
        raise MissingError(f"{names[0]} has no upstream package to judge it.", "Leave out --reference.")
    check_packages(names[0], metric)
    return Chosen(metric, names, find(names[0], metric.variants[names[0]].weights, given), upstream)


def check_packages(name: str, metric: ImageMetric) -> None:
    """Raises MissingError for a package that is not installed."""
    if absent := absent_packages(metric):
        raise MissingError(f"{name} needs the package {absent[0]}.", f'pip install "agsm-bench[{metric.extra}]"')


def absent_packages(metric: ImageMetric) -> list[str]:
    """Those of the metric's packages that are not installed."""
    return [package for package in metric.packages if importlib.util.find_spec(package) is None]


def _suggest(name: str, names: Sequence[str]) -> str:
    close = [n for n in names if n.startswith(f"{name}/")] or get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}agsm-bench list metrics shows all."
