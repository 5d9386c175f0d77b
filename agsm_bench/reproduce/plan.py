"""Which runs a set of tables needs, in order, and which of them are there. Nothing is run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Benchmark
from agsm_bench.errors import UserError
from agsm_bench.report.commands import eval_arguments, eval_name, pairs_arguments, train_arguments
from agsm_bench.report.fills import Size, load_fills
from agsm_bench.report.recipes import Recipe, Training, sampling_settings
from agsm_bench.report.tables import NUMBERS, load_paper
from agsm_bench.reproduce.estimates import Estimate, of_images, of_pairs, of_training
from agsm_bench.reproduce.found import Found, of_one_set_of_pairs
from agsm_bench.types import Domain


@dataclass(frozen=True)
class Job:
    """One making of preference pairs, training or evaluation."""

    kind: Literal["pairs", "train", "eval"]
    folder: Path
    arguments: tuple[str, ...]
    """The words after `agsm-bench`."""
    needs: tuple[Path, ...]
    """The folders of the jobs that must be done before."""
    estimate: Estimate
    done: bool
    tables: tuple[int, ...] = ()
    """The tables that use it."""


@dataclass(frozen=True)
class Made:
    """A job, and where its result is: in its own folder, or in another one that was there already."""

    job: Job
    place: Path

    @property
    def needs(self) -> tuple[Path, ...]:
        """What to wait for before the result is used."""
        return (self.job.folder,) if self.place == self.job.folder else ()


def wanted(numbers: Iterable[int], domain: Domain, size: Size | None = None) -> list[tuple[int, Recipe]]:
    """The recipes of the rows of some tables, each with the table's number.

    Raises:
        UserError: there is no such table, or nothing is known of how to fill it.
    """
    rows = []
    for number in numbers:
        load_paper(number)
        fills = load_fills(number, domain, size)
        if not fills:
            known = ", ".join(map(str, fillable(domain))) or "none"
            raise UserError(f"No runs fill Table {number} on {domain}.", f"Tables that runs fill there: {known}.")
        rows += [(number, row.recipe) for fill in fills for row in fill.rows]
    return rows


def fillable(domain: Domain) -> list[int]:
    """The numbers of the tables that runs fill on a domain."""
    return [number for number in NUMBERS if load_fills(number, domain)]


def plan(rows: Sequence[tuple[int, Recipe]], seeds: int, out: Path, found: Found) -> list[Job]:
    """Every run that the rows need, once, the first seed of all rows before the second of any.

    A training comes before its first evaluation; it is done when its result is there, or not needed when all its
    evaluations are there. The same goes for a backbone's preference pairs and the variants trained on them.

    Args:
        rows: table numbers and recipes, as from `wanted`.
        seeds: seeds of the trainings, from 0: a variant meets the soft tokens of its own seed; a backbone with
            neither is evaluated once. All share the evaluation's seed 0, so that they can be compared image by image.
        out: where the missing ones go, each in a folder of its own.
        found: what is there already.
    """
    tables: dict[Recipe, tuple[int, ...]] = {}
    for number, recipe in rows:
        tables[recipe] = tuple(dict.fromkeys((*tables.get(recipe, ()), number)))
    asked = [(recipe, seed) for seed in range(seeds) for recipe in tables if recipe.trainings or seed == 0]
    found = of_one_set_of_pairs(found, asked)
    jobs: dict[Path, Job] = {}
    for recipe, seed in asked:
        for job in _jobs(recipe, seed, out, found):
            _add(jobs, replace(job, tables=tables[recipe]))
    return list(jobs.values())


def _jobs(recipe: Recipe, seed: int, out: Path, found: Found) -> list[Job]:
    """What one row and seed needs, in order; all of it is done where the evaluation is."""
    variant = tokens = None
    jobs: list[Job] = []
    if recipe.variant:
        pairs = _pairs(recipe.variant, out, found)
        variant = _training(recipe.variant, seed, out, found, pairs)
        jobs += [replace(pairs.job, done=pairs.job.done or variant.job.done), variant.job]
    if recipe.tokens:
        tokens = _training(recipe.tokens, seed, out, found)
        jobs.append(tokens.job)
    jobs.append(_evaluation(recipe, out, variant, tokens))
    return [replace(job, done=True) for job in jobs] if found.measured(recipe, seed) else jobs


def _pairs(variant: Training, out: Path, found: Found) -> Made:
    folder, place = out / variant.pairs_name, found.preferences(variant)
    arguments = pairs_arguments(variant, folder)
    return Made(Job("pairs", folder, arguments, (), of_pairs(variant), place is not None), place or folder)


def _training(training: Training, seed: int, out: Path, found: Found, pairs: Made | None = None) -> Made:
    folder, place = out / f"{training.name}-{seed}", found.result(training, seed)
    arguments = train_arguments(training, folder, seed, pairs.place if pairs else None)
    needs = pairs.needs if pairs else ()
    return Made(Job("train", folder, arguments, needs, of_training(training), place is not None), place or folder)


def _evaluation(recipe: Recipe, out: Path, variant: Made | None, tokens: Made | None) -> Job:
    made = [each for each in (variant, tokens) if each]
    folder = out / eval_name(recipe, *(each.job.folder.name for each in made))
    weights, soft = (each.place if each else None for each in (variant, tokens))
    arguments = eval_arguments(recipe, weights, soft, folder)
    needs = tuple(need for each in made for need in each.needs)
    return Job("eval", folder, arguments, needs, of_images(_number_of_images(recipe)), done=False)


def _number_of_images(recipe: Recipe) -> int:
    backbone: Backbone = plugins.load("backbones", recipe.backbone)
    prompts = _number_of_prompts(recipe.benchmark, backbone.domain)
    return min(recipe.limit or prompts, prompts) * int(sampling_settings(recipe)["images_per_prompt"])


@cache
def _number_of_prompts(name: str, domain: Domain) -> int:
    benchmark: Benchmark = plugins.load("benchmarks", name)
    return len(benchmark.prompts(domain))


def _add(jobs: dict[Path, Job], job: Job) -> None:
    """What another row needs, too, is done once; a training is done when no row needs it any more."""
    before = jobs.get(job.folder)
    if before:
        numbers = tuple(sorted({*before.tables, *job.tables}))
        job = replace(job, done=before.done and job.done, tables=numbers)
    jobs[job.folder] = job
