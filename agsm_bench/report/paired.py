"""Two runs compared image by image, as data for the terminal and for pages.

They are compared on the samples that both have scored; the difference is paired, and prompts are what is
resampled. All values are fractions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from agsm_bench import plugins
from agsm_bench.damage import DAMAGED
from agsm_bench.errors import MissingError, UserError
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.manifest import Manifest
from agsm_bench.records import split_id
from agsm_bench.stats import Interval, bootstrap_macro_mean, paired_difference
from agsm_bench.store import Run
from agsm_bench.types import Prompt, Score

CORRECT, STRICT = "geneval/correct", "geneval/strict"
LABELS = {tag: tag.replace("_", " ") for tag in TAGS} | {
    "color_attr": "color attribution",
    "mean": "mean of the six",
}
COUNT_ERRORS = (
    ("shapes/too_many", "too many objects", ""),
    ("shapes/too_many", "too many (counting)", "counting"),
    ("shapes/too_few", "too few objects", ""),
    ("shapes/too_few", "too few (counting)", "counting"),
)
"""Metric, label, and the tag that it is restricted to."""
FEW_PROMPTS = 20
"""Below this many clusters a bootstrap interval is too narrow (see `agsm_bench.stats`)."""


@dataclass(frozen=True)
class Line:
    """One metric of both runs on the same samples."""

    label: str
    base: Interval
    other: Interval
    difference: Interval
    """Other minus base, paired."""
    higher_is_better: bool

    @property
    def verdict(self) -> Literal["better", "worse", "none", "unknown"]:
        """How the other run differs; `none` where the interval contains 0."""
        low, high = self.difference.low, self.difference.high
        if not (isfinite(low) and isfinite(high)):
            return "unknown"
        if low <= 0 <= high:
            return "none"
        return "better" if (low > 0) is self.higher_is_better else "worse"


@dataclass(frozen=True)
class Block:
    """Lines that share a meaning."""

    title: str
    meaning: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    run: Run
    label: str
    """Short, and not the other side's."""
    scores: Mapping[str, Mapping[str, Score]]


@dataclass(frozen=True)
class Comparison:
    """Two runs of the same prompts."""

    base: Side
    other: Side
    prompts: Mapping[str, Prompt]
    samples: tuple[str, ...]
    """Ids with a GenEval verdict on both sides, sorted."""
    blocks: tuple[Block, ...]

    def prompt(self, sample_id: str) -> Prompt:
        return self.prompts[split_id(sample_id)[0]]

    @property
    def stamps(self) -> list[str]:
        """What must be said loudly of either run."""
        return [stamp for side in (self.base, self.other) for stamp in _stamps_of(side)]

    @property
    def differing(self) -> list[str]:
        """Settings besides the tokens in which the runs differ."""
        base, other = (asdict(side.run.manifest.spec) for side in (self.base, self.other))
        return [name for name in base if name != "tokens" and base[name] != other[name]]


def compare(base: Path, other: Path) -> Comparison:
    """Compares two run folders.

    Raises:
        UserError: they are of different benchmarks, domains, seeds or prompts, or share no scored sample.
        MissingError: a folder is no run, or damaged.
    """
    first, second = Run.open(base), Run.open(other)
    spec = first.manifest.spec
    _check_comparable(first.manifest, second.manifest)
    prompts = {p.id: p for p in plugins.load("benchmarks", spec.benchmark).prompts(spec.domain)}
    labels = _labels(first, second)
    sides = Side(first, labels[0], first.scores()), Side(second, labels[1], second.scores())
    for side in sides:
        _check_prompts(side, prompts)
    metrics = _Metrics(sides, prompts)
    samples = tuple(metrics.common(CORRECT))
    if not samples:
        raise UserError(f"{base} and {other} have no scored sample in common.", "Finish both with agsm-bench eval.")
    return Comparison(*sides, prompts, samples, tuple(metrics.blocks()))


def describe_tokens(tokens: Mapping[str, Any] | None) -> str:
    """How soft tokens were trained, in a few words."""
    if not tokens:
        return "no tokens"
    known = [("steps", "{} steps"), ("seed", "seed {}")]
    details = ", ".join(words.format(tokens[key]) for key, words in known if key in tokens)
    return f"{tokens['trainer']} tokens" + (f" ({details})" if details else "")


def stamps(limited: bool, expected: int, scored: int, unscored: int) -> list[str]:
    """What must be said loudly of a run that is not whole."""
    said = [f"LIMITED RUN of {expected} images: not a result of the whole benchmark."] * limited
    if scored + unscored < expected:
        said.append(f"INCOMPLETE: {scored + unscored} of {expected} images have been judged.")
    if unscored:
        said.append(f"UNSCORED: {unscored} images could not be judged and are in no number.")
    return said


@dataclass(frozen=True)
class _Metrics:
    """What both runs say on each sample."""

    sides: tuple[Side, Side]
    prompts: Mapping[str, Prompt]

    def common(self, metric: str, tag: str = "") -> list[str]:
        """The samples (of a tag) that the metric judged on both sides, sorted."""
        base, other = (values.keys() for values in self._values(metric))
        return [key for key in sorted(base & other) if tag in ("", self.prompts[split_id(key)[0]].tag)]

    def blocks(self) -> Iterator[Block]:
        yield Block(
            "GenEval accuracy ↑", "The objects asked for are there; others may be, too.", self._by_task(CORRECT)
        )
        if lines := self._by_task(STRICT):
            yield Block("Exactly the scene ↑", "GenEval's verdict, and nothing else in the picture.", lines)
        errors = [self._line(label, metric, tag) for metric, label, tag in COUNT_ERRORS]
        if lines := tuple(line for line in errors if line is not None):
            yield Block("Images with ↓", "More or fewer objects than asked for; less is better.", lines)

    def _by_task(self, metric: str) -> tuple[Line, ...]:
        """A line a tag; the mean needs all of them, as the benchmark's does."""
        lines = [self._line(LABELS[tag], metric, tag) for tag in TAGS]
        lines += [] if None in lines else [self._line(LABELS["mean"], metric, macro=True)]
        return tuple(line for line in lines if line is not None)

    def _line(self, label: str, metric: str, tag: str = "", *, macro: bool = False) -> Line | None:
        """None where the runs share no sample."""
        ids = self.common(metric, tag)
        if not ids:
            return None
        clusters = [split_id(key)[0] for key in ids]
        groups = [self.prompts[cluster].tag if macro else "" for cluster in clusters]
        base, other = ([values[key] for key in ids] for values in self._values(metric))
        return Line(
            label,
            base=bootstrap_macro_mean(base, clusters, groups),
            other=bootstrap_macro_mean(other, clusters, groups),
            difference=paired_difference(other, base, clusters, groups),
            higher_is_better=metric in (CORRECT, STRICT),
        )

    def _values(self, metric: str) -> Iterator[dict[str, float]]:
        """Of each side, by sample id, what could be scored."""
        for side in self.sides:
            found = {key: row[metric].value for key, row in side.scores.items() if metric in row}
            yield {key: value for key, value in found.items() if value is not None}


def _stamps_of(side: Side) -> list[str]:
    counted = {CORRECT, STRICT, *(name for name, _, _ in COUNT_ERRORS)}  # not what `score --metrics` has added
    rows = [[score.value for name, score in row.items() if name in counted] for row in side.scores.values()]
    unscored = sum(None in row for row in rows)
    manifest, scored = side.run.manifest, len(side.scores) - unscored
    return [f"{side.label}: {s}" for s in stamps(manifest.limited, manifest.expected, scored, unscored)]


def _check_comparable(base: Manifest, other: Manifest) -> None:
    for name in ("benchmark", "domain", "seed"):
        ours, theirs = getattr(base.spec, name), getattr(other.spec, name)
        if ours != theirs:
            raise UserError(
                f"The runs cannot be compared: their {name} is {ours!r} and {theirs!r}.",
                f"Run agsm-bench eval with the same {name} for both.",
            )


def _check_prompts(side: Side, prompts: Mapping[str, Prompt]) -> None:
    """A run must have been asked the prompts that this version's benchmark has."""
    for prompt_id in sorted({split_id(sample_id)[0] for sample_id in side.scores}):
        path, prompt = side.run.metadata_path(f"{prompt_id}/0000"), prompts.get(prompt_id)
        # a run that ships without its images has no metadata lines
        asked = _prompt_of(path) if path.is_file() else prompt and prompt.text
        if prompt is None or asked != prompt.text:
            raise UserError(
                f"{side.run.folder} was asked other prompts than the benchmark has (prompt {prompt_id}).",
                "Make the run again with this version: agsm-bench eval.",
            )


def _prompt_of(path: Path) -> str:
    """The prompt that a metadata line of the run states."""
    try:
        return str(json.loads(path.read_bytes())["prompt"])
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged.", "Run the run's agsm-bench eval command again.") from error


def _labels(base: Run, other: Run) -> Sequence[str]:
    """The shortest names that tell the two apart; of equal tokens and backbones, the folders' paths."""
    ways: list[Callable[[Run], str]] = [
        lambda run: _trainer(run),
        lambda run: f"{run.manifest.spec.backbone}, {_trainer(run)}",
        lambda run: describe_tokens(run.manifest.tokens),
        lambda run: run.folder.name,
    ]
    found = ((way(base), way(other)) for way in ways)
    return next((pair for pair in found if pair[0] != pair[1]), (str(base.folder), str(other.folder)))


def _trainer(run: Run) -> str:
    """The trainers behind the backbone's weights and the tokens, e.g. `diffusion_dpo + agsm`."""
    made = (run.manifest.variant, run.manifest.tokens)
    return " + ".join(str(each["trainer"]) for each in made if each) or "no tokens"
