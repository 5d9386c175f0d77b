"""Which runs some recipes need, in order, and which of them are there. Nothing is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import gcd
from pathlib import Path
from typing import Literal

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Backbone
from agsm_bench.report.commands import eval_arguments, eval_name, pairs_arguments, train_arguments
from agsm_bench.report.recipes import Recipe, Training, sampling_settings, training_settings
from agsm_bench.reproduce.estimates import Estimate, of_images, of_pairs, of_training
from agsm_bench.reproduce.found import Found, of_one_set_of_pairs
from agsm_bench.training.config import kept_folder
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
    users: tuple[str, ...] = ()
    """The tables (numbers), figures (F4) and claims (C1) that use it."""


@dataclass(frozen=True)
class Made:
    """What a job makes."""

    job: Job
    name: str
    """What folders of its evaluations are called after."""
    place: Path
    """Where it is, or will be."""
    found: bool = False
    """Whether it is there."""

    @property
    def needs(self) -> tuple[Path, ...]:
        """What to wait for before the result is used."""
        return () if self.found else (self.job.folder,)


def plan(rows: Sequence[tuple[str, Recipe]], seeds: int, out: Path, found: Found) -> list[Job]:
    """Every run that the rows need, once, the first seed of all rows before the second of any.

    A training comes before its first evaluation; it is done when its result is there, or not needed when all its
    evaluations are there. The same goes for a backbone's preference pairs and the variants trained on them. Of
    trainings that differ in a stated number of steps alone the longest is run, and keeps the tokens of the others.

    Args:
        rows: labels and recipes, as from `wanted`.
        seeds: seeds of the trainings, from 0: a variant meets the soft tokens of its own seed; a backbone with
            neither is evaluated once. All share the evaluation's seed 0, so that they can be compared image by image.
        out: where the missing ones go, each in a folder of its own.
        found: what is there already.
    """
    users: dict[Recipe, tuple[str, ...]] = {}
    for label, recipe in rows:
        users[recipe] = tuple(sorted({*users.get(recipe, ()), label}, key=_rank))
    asked = [(recipe, seed) for seed in range(seeds) for recipe in users if recipe.trainings or seed == 0]
    found = of_one_set_of_pairs(found, asked)
    lengths = Lengths([recipe.tokens for recipe in users if recipe.tokens])
    jobs: dict[Path, Job] = {}
    for recipe, seed in asked:
        for job in _jobs(recipe, seed, out, found, lengths):
            _add(jobs, replace(job, users=users[recipe]))
    return list(jobs.values())


def _jobs(recipe: Recipe, seed: int, out: Path, found: Found, lengths: Lengths) -> list[Job]:
    """What one row and seed needs, in order; all of it is done where the evaluation is."""
    variant = tokens = None
    jobs: list[Job] = []
    if recipe.variant:
        pairs = _pairs(recipe.variant, out, found)
        variant = _training(recipe.variant, seed, out, found, pairs)
        jobs += [replace(pairs.job, done=pairs.job.done or variant.job.done), variant.job]
    if recipe.tokens:
        tokens = lengths.one_of(recipe.tokens, seed, out, found) or _training(recipe.tokens, seed, out, found)
        jobs.append(tokens.job)
    jobs.append(_evaluation(recipe, out, variant, tokens))
    return [replace(job, done=True) for job in jobs] if found.measured(recipe, seed) else jobs


def _pairs(variant: Training, out: Path, found: Found) -> Made:
    folder, place = out / variant.pairs_name, found.preferences(variant)
    arguments = pairs_arguments(variant, folder)
    job = Job("pairs", folder, arguments, (), of_pairs(variant), place is not None)
    return Made(job, folder.name, place or folder, place is not None)


def _training(training: Training, seed: int, out: Path, found: Found, pairs: Made | None = None) -> Made:
    folder, place = out / f"{training.name}-{seed}", found.result(training, seed)
    arguments = train_arguments(training, folder, seed, pairs.place if pairs else None)
    needs = pairs.needs if pairs else ()
    job = Job("train", folder, arguments, needs, of_training(training), place is not None)
    return Made(job, folder.name, place or folder, place is not None)


class Lengths:
    """Trainings with a stated number of steps, by what else they are."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._steps: dict[Training, set[int]] = {}
        for training in trainings:
            if steps := dict(training.options).get("steps"):
                self._steps.setdefault(_without_steps(training), set()).add(steps)

    def one_of(self, training: Training, seed: int, out: Path, found: Found) -> Made | None:
        """The longest of its like, and where that keeps the tokens of this one; None for one of the usual length.

        What is kept does not hang on which lengths are asked for today: another call may ask for more of them.
        """
        plain = _without_steps(training)
        asked, usual = dict(training.options).get("steps"), int(training_settings(plain)["steps"])
        if asked is None or asked <= usual:
            return None
        steps = self._steps[plain]
        longest = replace(training, options=tuple(sorted((dict(training.options) | {"steps": max(steps)}).items())))
        folder, place = out / f"{longest.name}-{seed}", found.result(training, seed)
        arguments = (*train_arguments(longest, folder, seed), "--keep-every", str(gcd(usual, *steps)))
        job = Job("train", folder, arguments, (), of_training(longest), place is not None)
        name, there = f"{training.name}-{seed}", place or kept_folder(folder, asked)
        return Made(job, name, there, place is not None)


def _without_steps(training: Training) -> Training:
    return replace(training, options=tuple(o for o in training.options if o[0] != "steps"))


def _evaluation(recipe: Recipe, out: Path, variant: Made | None, tokens: Made | None) -> Job:
    made = [each for each in (variant, tokens) if each]
    folder = out / eval_name(recipe, *(each.name for each in made))
    weights, soft = (each.place if each else None for each in (variant, tokens))
    arguments = eval_arguments(recipe, weights, soft, folder)
    needs = tuple(need for each in made for need in each.needs)
    return Job(
        "eval", folder, arguments, needs, of_images(_number_of_images(recipe), edited=bool(recipe.editing)), done=False
    )


def _number_of_images(recipe: Recipe) -> int:
    backbone: Backbone = plugins.load("backbones", recipe.backbone)
    prompts = _number_of_prompts(recipe.benchmark, backbone.domain)
    return min(recipe.limit or prompts, prompts) * int(sampling_settings(recipe)["images_per_prompt"])


@cache
def _number_of_prompts(name: str, domain: Domain) -> int:
    benchmark: Benchmark = plugins.load("benchmarks", name)
    return len(benchmark.prompts(domain))


def _rank(label: str) -> tuple[bool, int, str]:
    """Tables by their number, then figures and claims."""
    return not label.isdecimal(), int(label) if label.isdecimal() else 0, label


def _add(jobs: dict[Path, Job], job: Job) -> None:
    """What another row needs, too, is done once; a training is done when no row needs it any more."""
    before = jobs.get(job.folder)
    if before:
        labels = tuple(sorted({*before.users, *job.users}, key=_rank))
        job = replace(job, done=before.done and job.done, users=labels)
    jobs[job.folder] = job
