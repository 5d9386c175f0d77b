"""Metrics of images on a run folder: added to an old run without touching the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark, Given
from agsm_bench.contracts import Progress
from agsm_bench.errors import UserError
from agsm_bench.folders import read_json, write_json
from agsm_bench.identity import canonical_json
from agsm_bench.scoring.items import Item, reader
from agsm_bench.scoring.reference_sets import ReferenceSet
from agsm_bench.scoring.results import Results, cut_prompts, mean_of, score_items
from agsm_bench.scoring.selection import Chosen, Weights, choose, known
from agsm_bench.scoring.settings import PassSettings
from agsm_bench.scoring.sheet import RunSheet, references_digest
from agsm_bench.scoring.sources import files_in
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Sample

DISTANCES = "distances.json"


@dataclass(frozen=True)
class How:
    """What a user may say of a pass."""

    weights: Weights = field(default_factory=dict)
    upstream: bool = False
    references: Path | None = None
    """A folder or run with a picture of each sample's id; of a metric of sets any folder, or an npz file."""
    settings: PassSettings = field(default_factory=PassSettings)


def score_samples(
    run: Run, samples: Sequence[Sample], names: Sequence[str], progress: Progress, how: How | None = None
) -> Results:
    """Scores what lacks a score of the present weights and references, and sums up; raises as `choose`."""
    how = how or How()
    chosen = choose(names, how.weights, upstream=how.upstream)
    benchmark: Benchmark = plugins.load("benchmarks", run.manifest.spec.benchmark)
    items = [_item(run, benchmark, sample) for sample in samples if sample.id in run.records.images]
    variants = [variant for each in chosen for variant in each.variants.values()]
    if any({"reference", "mask"} & set(variant.needs) for variant in variants):
        if how.references or (items and not any(item.reference for item in items)):
            items = with_references(items, how.references, chosen)
        chosen = [replace(each, references=references_digest(items)) for each in chosen]
    sets = any(variant.per == "set" for variant in variants)
    compared = how.references or (given_set(run, benchmark) if sets else None)
    found = score_items(items, RunSheet(run), chosen, how.settings, progress, compared)
    _keep_distances(run, chosen, found)
    return found


def _item(run: Run, benchmark: Benchmark, sample: Sample) -> Item:
    """An image with its prompt, and the picture and mask that the benchmark gives with it."""
    spec = run.manifest.spec
    given = benchmark.given(spec.domain, sample.prompt, spec.size)
    picture, mask = (given.picture, given.mask) if given else (None, None)
    image = partial(run.checked_image, sample.id)
    return Item(sample.id, image, sample.prompt.text, picture, mask, sample.prompt.id)


def given_set(run: Run, benchmark: Benchmark) -> ReferenceSet | None:
    """All pictures that the benchmark gives, for metrics that compare two sets; None where it gives none."""
    spec = run.manifest.spec
    given = {prompt.id: benchmark.given(spec.domain, prompt, spec.size) for prompt in benchmark.prompts(spec.domain)}
    found: dict[str, Given] = {name: each for name, each in given.items() if each}
    keys = sorted(f"{name} {each.key}" for name, each in found.items())
    return ReferenceSet({name: each.picture for name, each in found.items()}, keys) if found else None


def with_references(items: Sequence[Item], folder: Path | None, chosen: Sequence[Chosen]) -> list[Item]:
    """The items with the pictures of their ids.

    Raises:
        UserError: no folder is given, or it has none of these pictures.
    """
    needing = next(name for each in chosen for name, variant in each.variants.items() if "reference" in variant.needs)
    if folder is None:
        raise UserError(
            f"{needing} compares each image with a reference.", "Add --references DIR, e.g. the base's run."
        )
    files = files_in(folder)
    if items and not any(item.id in files for item in items):
        raise UserError(
            f"{folder} has no {items[0].id}, nor any other of these images.", "Name a run of this benchmark."
        )
    return [replace(item, reference=reader(files.get(item.id, folder / f"{item.id}.png"))) for item in items]


def stored_measures(run: Run, samples: Sequence[Sample]) -> Results:
    """The mean of every metric of single images that the run has scores of, and the distances of its present images."""
    sheet, found = RunSheet(run), Results()
    clusters = {sample.id: sample.prompt.id for sample in samples}
    names = {verdict.score.metric for verdict in run.records.verdicts()}
    for name in sorted(names & known().keys()):
        scores = sheet.scores(name)
        if mean := mean_of(scores, clusters):
            found.metrics[name] = mean
        found.warnings.extend(cut_prompts(name, scores, clusters))
    for name, kept in _distances(run).items():
        if kept["images"] == _images_digest(run):
            unknown = {key: math.nan for key, value in kept["distance"].items() if value is None}
            found.metrics[name] = Interval(**kept["distance"] | unknown)
            found.warnings.extend(kept["warnings"])
    return found


def _keep_distances(run: Run, chosen: Sequence[Chosen], found: Results) -> None:
    """A distance is of all images together: it has no line in the scores."""
    names = {name for each in chosen for name, variant in each.variants.items() if variant.per == "set"}
    if own := names & found.metrics.keys():
        kept = _distances(run)
        for name in own:
            warnings = [text for text in found.warnings if text.startswith(f"{name}:")]
            distance = {key: value if isfinite(value) else None for key, value in asdict(found.metrics[name]).items()}
            kept[name] = {"images": _images_digest(run), "distance": distance, "warnings": warnings}
            kept[name] |= {"reference": found.references[name]}
        with run.changing():
            write_json(run.folder / DISTANCES, kept)


def _distances(run: Run) -> dict[str, Any]:
    path = run.folder / DISTANCES
    return read_json(path, f"Delete it, and score the run again: rm {path}") if path.exists() else {}


def _images_digest(run: Run) -> str:
    return sha256(canonical_json(run.records.images).encode()).hexdigest()
