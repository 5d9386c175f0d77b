"""What runs have measured, ready to be compared: every value by metric, unit and training seed.

A column is what is stored: one value a unit, a unit being an image or a group of held-out pairs. A quantity is what
summary.json and the tables call a metric: the mean of a column over all units or those of a tag, or the unweighted
mean of the tags' means.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.errors import MissingError, UserError
from agsm_bench.geneval import CORRECT, STRICT, TOO_FEW, TOO_MANY
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.identity import canonical_json
from agsm_bench.manifest import Manifest, load_manifest
from agsm_bench.report.evidence import SCORES, Values, sample_values, values_of
from agsm_bench.report.files import readable
from agsm_bench.stats import Floats
from agsm_bench.store import Run
from agsm_bench.summary_file import SUMMARY, read_summary
from agsm_bench.types import RunSpec

Over = Literal["all", "tag", "tags"]
Direction = Literal["up", "down", "neither"]
IMAGES_CORRECT = "geneval/images_correct"
"""What stands for the mean over tags where a run has not all of them."""
ROUNDING = 1e-6
"""Between a mean in summary.json and the mean of the values that it sums up."""


@dataclass(frozen=True)
class Column:
    """One stored metric."""

    units: tuple[str, ...]
    """Sample ids, or names of groups of held-out pairs; sorted."""
    values: Floats
    """[seeds, units]; nan: unscored."""
    version: str | None = None
    """Of what judged it; None: not kept, or not all of one version."""

    @cached_property
    def prompts(self) -> list[str]:
        """The prompts, or groups, of the units; sorted."""
        return sorted({unit.partition("/")[0] for unit in self.units})

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """Of each unit, the place of its prompt or group in `prompts`."""
        places = {prompt: place for place, prompt in enumerate(self.prompts)}
        return np.array([places[unit.partition("/")[0]] for unit in self.units])


@dataclass(frozen=True)
class Quantity:
    """A metric by its name in summary.json."""

    name: str
    column: str
    over: Over = "all"
    """`tag`: units of one tag; `tags`: the mean of the tags' means."""
    tag: str = ""


@dataclass(frozen=True)
class Measured:
    """A run, or runs that differ in their training seeds alone."""

    name: str
    """The folder or file, as it was named."""
    spec: RunSpec
    """Of the first one."""
    trainings: tuple[Mapping[str, Any] | None, ...]
    """Of each seed, how its weights or tokens were trained; None: neither was."""
    limited: bool
    prompts: str
    """Hash of the prompts that were asked, with their ids and tags."""
    columns: Mapping[str, Column]
    summaries: tuple[Mapping[str, float], ...]
    """Of each seed, the values of summary.json."""
    unscored: int = 0
    """Images without a value, the most of one seed."""
    gate: Mapping[str, float] = field(default_factory=dict)
    """Metrics that a baseline declares, each with its tolerance."""
    run: Run | None = None
    """Where images and features may be; None of a baseline."""

    @property
    def seeds(self) -> int:
        return len(self.trainings)

    @property
    def samples(self) -> tuple[str, ...]:
        """Ids of all images."""
        return next(column.units for column in self.columns.values() if "/" in column.units[0])


def read_run(folder: Path) -> Measured:
    """A run folder, or what `agsm_bench.report.evidence` kept of one.

    Raises:
        UserError: the run is not finished, a shard, or holds no scores.
        MissingError: there is no run, or its files are damaged or do not agree with each other.
    """
    manifest, summary = load_manifest(folder), read_summary(folder)
    _check_whole(folder, manifest, summary)
    kept = (folder / SCORES).is_file()
    run = Run.open(folder)
    values = sample_values(folder) if kept else values_of(run)
    benchmark: Benchmark = plugins.load("benchmarks", manifest.spec.benchmark)
    columns = {} if kept else _of_groups(run, benchmark)
    columns |= _columns(values, {} if kept else _versions(run))
    tags = prompt_tags(manifest.spec, values)
    found = Measured(
        name=str(folder),
        spec=manifest.spec,
        trainings=(_training(manifest),),
        limited=manifest.limited,
        prompts=_prompts_hash(run, tags),
        columns=columns,
        summaries=({k: float(m["value"]) for k, m in summary["metrics"].items() if m["value"] is not None},),
        unscored=int(summary["unscored"]),
        run=None if kept else run,
    )
    _check_agreement(folder, found, tags)
    return found


def prompt_tags(spec: RunSpec, samples: Sequence[str] | Values) -> dict[str, str]:
    """The tag of each prompt that a run asked; raises UserError for prompts that this version does not have."""
    known = {p.id: p.tag for p in plugins.load("benchmarks", spec.benchmark).prompts(spec.domain)}
    asked = sorted({sample.partition("/")[0] for sample in samples})
    if strange := [prompt for prompt in asked if prompt not in known]:
        raise UserError(
            f"{spec.benchmark} has no prompt {strange[0]}: the run is of another version.",
            "Make it again with this one: agsm-bench eval.",
        )
    return {prompt: known[prompt] for prompt in asked}


def quantities(columns: Mapping[str, Column], tags: Mapping[str, str]) -> dict[str, Quantity]:
    """All that the columns give, by name; GenEval's names are its own, further ones are those of `columns.means`."""
    found = [q for name in columns for q in _quantities(name, [tag for tag in sorted(set(tags.values())) if tag])]
    return {quantity.name: quantity for quantity in found}


def select(quantity: Quantity, column: Column, tags: Mapping[str, str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of a column's units count for a quantity, and the group of each: groups weigh equally."""
    names, of_prompts = np.unique([tags.get(prompt, "") for prompt in column.prompts], return_inverse=True)
    of_units = of_prompts[column.clusters]
    counts = (names == quantity.tag)[of_units] if quantity.over == "tag" else np.ones(len(of_units), bool)
    chosen = np.flatnonzero(counts)
    return chosen, of_units[chosen] if quantity.over == "tags" else np.zeros_like(chosen)


def directions(names: Sequence[str], spec: RunSpec) -> dict[str, Direction]:
    """Where better is, by name; a benchmark's own shares are better the higher, but those of a wrong number."""
    from agsm_bench.scoring.selection import known

    better: dict[str, Direction] = {n: v.variants[n].better for n, v in known().items()}
    for name in plugins.load("benchmarks", spec.benchmark).run_metrics(spec.domain):
        better |= plugins.load("metrics", name).better
    better |= {TOO_MANY: "down", TOO_FEW: "down"}
    return {name: better.get(name.partition("[")[0].removesuffix("_counting"), "up") for name in names}


def without_seeds(training: Any) -> Any:
    """A training without what differs between its seeds."""
    if isinstance(training, Mapping):
        return {key: without_seeds(value) for key, value in training.items() if key not in ("seed", "hash")}
    return training


def _quantities(column: str, tags: Sequence[str]) -> list[Quantity]:
    prefix = {CORRECT: "geneval/", STRICT: "geneval/strict_"}.get(column)
    if prefix and len(tags) == 1:
        return [Quantity(f"{prefix}{tags[0]}", column)]
    if prefix:
        whole = [Quantity(IMAGES_CORRECT, column)] if column == CORRECT else []
        if set(TAGS) <= set(tags):
            whole = [Quantity(f"{prefix}mean", column, "tags")]
        return [*whole, *(Quantity(f"{prefix}{t}", column, "tag", t) for t in tags)]
    if column in (TOO_MANY, TOO_FEW):
        counting = [Quantity(f"{column}_counting", column, "tag", "counting")] if len(tags) > 1 else []
        return [Quantity(column, column), *counting]
    return [Quantity(column, column), *(Quantity(f"{column}[{tag}]", column, "tag", tag) for tag in tags)]


def value_of(quantity: Quantity, column: Column, tags: Mapping[str, str], seed: int = 0) -> float:
    """Of one training seed; nan where nothing is scored."""
    chosen, groups = select(quantity, column, tags)
    values, every = column.values[seed][chosen], np.unique(groups)
    known = np.isfinite(values)
    means = [values[own].mean() for group in every if (own := known & (groups == group)).any()]
    return float(np.mean(means)) if len(means) == len(every) and means else math.nan


def _check_whole(folder: Path, manifest: Manifest, summary: Mapping[str, Any]) -> None:
    if manifest.shard:
        raise UserError(f"{folder} is one shard of a run.", "Merge its shards: agsm-bench score SHARDS --out DIR.")
    if not summary["complete"] or summary["expected"] != manifest.expected:
        raise UserError(
            f"{folder} is incomplete: {summary['scored']} of {manifest.expected} images are scored.",
            "Run its agsm-bench eval command again: it goes on.",
        )


def _columns(values: Values, versions: Mapping[str, str]) -> dict[str, Column]:
    units = tuple(sorted(values))
    names = sorted({name for row in values.values() for name in row})
    found = {}
    for name in names:
        row = [values[unit].get(name) for unit in units]
        array = np.array([[math.nan if value is None else value for value in row]])
        found[name] = Column(units, array, versions.get(name))
    return found


def _versions(run: Run) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for verdict in run.records.verdicts():
        found.setdefault(verdict.score.metric, set()).add(verdict.score.version)
    return {name: next(iter(own)) for name, own in found.items() if len(own) == 1}


def _of_groups(run: Run, benchmark: Benchmark) -> dict[str, Column]:
    """What run metrics measure by groups of their own."""
    found: dict[str, Column] = {}
    for name in benchmark.run_metrics(run.manifest.spec.domain):
        for metric, groups in plugins.load("metrics", name).by_group(run.folder).items():
            units = tuple(sorted(groups))
            found[metric] = Column(units, np.array([[groups[unit] for unit in units]]))
    return found


def _training(manifest: Manifest) -> Mapping[str, Any] | None:
    made = {"tokens": manifest.tokens, "variant": manifest.variant}
    return made if any(made.values()) else None


def _prompts_hash(run: Run, tags: Mapping[str, str]) -> str:
    """Of what the run's own metadata lines say; of a run that is kept without images, of this version's prompts."""
    spec = run.manifest.spec
    texts = {p.id: p.text for p in plugins.load("benchmarks", spec.benchmark).prompts(spec.domain)}
    asked = []
    for prompt, tag in tags.items():
        path = run.metadata_path(f"{prompt}/0000")
        with readable(path, "Run the run's agsm-bench eval command again."), suppress(FileNotFoundError):
            texts[prompt] = str(json.loads(path.read_bytes())["prompt"])
        asked.append([prompt, texts[prompt], tag])
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


def _check_agreement(folder: Path, found: Measured, tags: Mapping[str, str]) -> None:
    """The summary is of these values; else one of the two was changed by hand, or is of another run."""
    for name, quantity in quantities(found.columns, tags).items():
        value, stated = value_of(quantity, found.columns[quantity.column], tags), found.summaries[0].get(name)
        if stated is not None and not abs(value - stated) <= ROUNDING * max(1.0, abs(stated)):
            raise MissingError(
                f"{folder} is damaged or was edited: its values give {name} {value:.6g}, its {SUMMARY} "
                f"says {stated:.6g}.",
                f"Get it again as it was, or score it again: agsm-bench score {folder}",
            )
