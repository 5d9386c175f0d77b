"""GenEval (Ghosh et al. 2023): what its benchmark file, and others that judge by its rules, are made of.

The prompts are in `agsm_bench.geneval_prompts`, the verdicts in `agsm_bench.geneval_rules`. All values are
fractions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from agsm_bench.geneval_prompts import COCO_CLASSES, TAGS, photo_metadata, shapes_metadata
from agsm_bench.geneval_rules import count_errors, kept, strict, verdict
from agsm_bench.shapes.vocabulary import SHAPES
from agsm_bench.stats import Interval, bootstrap_macro_mean, bootstrap_mean
from agsm_bench.types import Detection, Domain, Prompt, Score

CORRECT = "geneval/correct"
STRICT = "geneval/strict"
TOO_MANY = "shapes/too_many"
TOO_FEW = "shapes/too_few"

Scored = tuple[Prompt, str, Mapping[str, float | None]]
"""A prompt, a sample id and the sample's values by metric; None, or no entry, is unscored."""


class GenEval:
    """The benchmark on both domains."""

    name: str = "geneval"
    images_per_prompt: int = 4

    def prompts(self, domain: Domain) -> list[Prompt]:
        """All 553 prompts; the id is the index, upstream's folder name."""
        entries = photo_metadata() if domain == "photo" else shapes_metadata()
        return [Prompt(f"{i:05d}", entry["prompt"], entry["tag"], entry) for i, entry in enumerate(entries)]

    def score_sample(self, prompt: Prompt, sample_id: str, detections: Sequence[Detection]) -> list[Score]:
        """GenEval's verdict; in the shapes world also the strict reading and the errors in the object count.

        A photograph holds things that nobody asked for by right, so there the verdict stands alone.
        """
        judged = verdict(detections, prompt.requirement)
        scores = [Score(sample_id, CORRECT, float(judged.correct), judged.reason or None)]
        if _in_shapes_world(prompt):
            too_many, too_few = count_errors(detections, prompt.requirement)
            exact = strict(detections, prompt.requirement)
            for metric, value in ((STRICT, exact), (TOO_MANY, too_many), (TOO_FEW, too_few)):
                scores.append(Score(sample_id, metric, float(value)))
        return scores

    def summarise(self, scores: Iterable[Scored]) -> dict[str, Interval]:
        """GenEval's summary (evaluation/summary_scores.py) with intervals clustered by prompt.

        The mean is the unweighted one over the six tags: without samples of all six it is left out, and where
        nothing of a tag could be scored it is nan. Unscored samples are counted in `Interval.unscored`.
        """
        scored = _distinct(scores)
        metrics = {metric for _, _, values in scored for metric in values}
        summary = _by_tag(_column(scored, CORRECT), "geneval/")
        summary["geneval/images_correct"] = _mean(_column(scored, CORRECT))
        summary["geneval/prompts_correct"] = _mean(_prompts_correct(scored))
        if STRICT in metrics:
            summary |= _by_tag(_column(scored, STRICT), "geneval/strict_")
        for metric in sorted({TOO_MANY, TOO_FEW} & metrics):
            column = _column(scored, metric)
            summary[metric] = _mean(column)
            summary[f"{metric}_counting"] = _mean(column.only("counting"))
        return summary

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        """What `score_sample` gives for every image."""
        return (CORRECT, STRICT, TOO_MANY, TOO_FEW) if domain == "shapes" else (CORRECT,)

    def result_line(self, prompt: Prompt, filename: str, detections: Sequence[Detection]) -> dict[str, Any]:
        """One line of upstream's results.jsonl; `details` has x0, y0, x1, y1, score of the boxes kept."""
        objects = kept(detections, prompt.requirement)
        in_order = sorted(objects, key=_class_order)
        boxes = {label: [[*d.box, d.score] for d in objects[label]] for label in in_order}
        return {
            "filename": filename,
            "tag": prompt.tag,
            "prompt": prompt.text,
            **asdict(verdict(detections, prompt.requirement)),
            "metadata": json.dumps(dict(prompt.requirement)),
            "details": json.dumps(boxes),
        }


class _Value(NamedTuple):
    value: float | None
    cluster: str
    tag: str


@dataclass(frozen=True)
class _Column:
    """One metric's values, each with the prompt and tag it belongs to."""

    values: tuple[_Value, ...]

    def only(self, tag: str) -> _Column:
        return _Column(tuple(v for v in self.values if v.tag == tag))

    @property
    def scored(self) -> list[tuple[float, str, str]]:
        return [(v.value, v.cluster, v.tag) for v in self.values if v.value is not None]

    @property
    def unscored(self) -> int:
        return len(self.values) - len(self.scored)


def _distinct(scores: Iterable[Scored]) -> list[Scored]:
    scored = list(scores)
    if len({sample_id for _, sample_id, _ in scored}) < len(scored):
        raise ValueError("a sample is listed twice: merge the shards by sample id first")
    return scored


def _column(scored: Sequence[Scored], metric: str) -> _Column:
    return _Column(tuple(_Value(values.get(metric), prompt.id, prompt.tag) for prompt, _, values in scored))


def _prompts_correct(scored: Sequence[Scored]) -> _Column:
    """One value a prompt: any image correct. None is, but not all were scored: unscored, not wrong."""
    images: dict[tuple[str, str], list[float | None]] = {}
    for prompt, _, values in scored:
        images.setdefault((prompt.id, prompt.tag), []).append(values.get(CORRECT))
    return _Column(tuple(_Value(_any(values), *key) for key, values in images.items()))


def _any(values: Sequence[float | None]) -> float | None:
    if any(values):
        return 1.0
    return None if None in values else 0.0


def _by_tag(column: _Column, prefix: str) -> dict[str, Interval]:
    present = [tag for tag in TAGS if column.only(tag).values]
    by_tag = {f"{prefix}{tag}": _mean(column.only(tag)) for tag in present}
    if len(present) < len(TAGS):
        return by_tag
    if not all(interval.n for interval in by_tag.values()):
        return {f"{prefix}mean": _unknown(column), **by_tag}
    values, clusters, tags = zip(*column.scored, strict=True)
    mean = replace(bootstrap_macro_mean(values, clusters, tags), unscored=column.unscored)
    return {f"{prefix}mean": mean, **by_tag}


def _mean(column: _Column) -> Interval:
    if not column.scored:
        return _unknown(column)
    values, clusters, _ = zip(*column.scored, strict=True)
    return replace(bootstrap_mean(values, clusters), unscored=column.unscored)


def _unknown(column: _Column) -> Interval:
    """A mean that the scored values do not give."""
    n, clusters = len(column.scored), len({cluster for _, cluster, _ in column.scored})
    return Interval(math.nan, math.nan, math.nan, n, clusters, column.unscored)


def _in_shapes_world(prompt: Prompt) -> bool:
    return all(clause["class"] in SHAPES for clause in prompt.requirement["include"])


def _class_order(label: str) -> tuple[int, str]:
    """Upstream lists classes in the detector's order."""
    order = (*COCO_CLASSES, *SHAPES)
    return (order.index(label) if label in order else len(order), label)
