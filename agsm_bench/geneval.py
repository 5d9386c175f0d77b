"""GenEval (Ghosh et al. 2023): what its benchmark file, and others that judge by its rules, are made of.

The prompts are in `agsm_bench.geneval_prompts`, the verdicts in `agsm_bench.geneval_rules`. All values are
fractions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from agsm_bench.benchmark import Plain, Scored
from agsm_bench.columns import Column, Value, column_of, distinct, mean, unknown
from agsm_bench.geneval_plausibility import warnings
from agsm_bench.geneval_prompts import COCO_CLASSES, TAGS, photo_metadata, shapes_metadata
from agsm_bench.geneval_rules import count_errors, kept, strict, verdict
from agsm_bench.shapes.vocabulary import SHAPES
from agsm_bench.types import Detection, Domain, Interval, Prompt, Score

CORRECT = "geneval/correct"
STRICT = "geneval/strict"
TOO_MANY = "shapes/too_many"
TOO_FEW = "shapes/too_few"


class GenEval(Plain):
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
        scored = distinct(scores)
        if not any(CORRECT in values for _, _, values in scored):
            return {}  # no detector was asked
        metrics = {metric for _, _, values in scored for metric in values}
        summary = _by_tag(column_of(scored, CORRECT), "geneval/")
        summary["geneval/images_correct"] = mean(column_of(scored, CORRECT))
        summary["geneval/prompts_correct"] = mean(_prompts_correct(scored))
        if STRICT in metrics:
            summary |= _by_tag(column_of(scored, STRICT), "geneval/strict_")
        for metric in sorted({TOO_MANY, TOO_FEW} & metrics):
            column = column_of(scored, metric)
            summary[metric] = mean(column)
            summary[f"{metric}_counting"] = mean(column.only("counting"))
        return summary

    def metrics(self, domain: Domain) -> tuple[str, ...]:
        """What `score_sample` gives for every image."""
        return (CORRECT, STRICT, TOO_MANY, TOO_FEW) if domain == "shapes" else (CORRECT,)

    def run_metrics(self, domain: Domain) -> tuple[str, ...]:
        """Held-out denoising errors, and the distance from scenes that are what the prompts ask."""
        return ("denoising", "shapes_frechet") if domain == "shapes" else ()

    def uncolored(self, prompt: Prompt, detections: Sequence[Detection]) -> list[int]:
        """The boxes that a clause on a colour looks at, where there are as many as it asks for."""
        objects = kept(detections, prompt.requirement)
        looked_at: list[Detection] = []
        for clause in prompt.requirement.get("include", ()):
            boxes = objects.get(clause["class"], [])[: clause["count"]]
            looked_at += boxes if "color" in clause and len(boxes) == clause["count"] else []
        return [i for i, each in enumerate(detections) if any(each is box for box in looked_at)]

    def doubts(self, domain: Domain, summary: Mapping[str, Interval], lines: Sequence[Mapping[str, Any]]) -> list[str]:
        """Of photographs: what a detector with the wrong weights would give."""
        if domain == "shapes":
            return []
        tags = {tag: summary[f"geneval/{tag}"] for tag in TAGS if f"geneval/{tag}" in summary}
        found = [sum(map(len, json.loads(line["details"]).values())) for line in lines]
        return warnings({tag: m.value for tag, m in tags.items()}, {tag: m.n for tag, m in tags.items()}, found)

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


def _prompts_correct(scored: Sequence[Scored]) -> Column:
    """One value a prompt: any image correct. None is, but not all were scored: unscored, not wrong."""
    images: dict[tuple[str, str], list[float | None]] = {}
    for prompt, _, values in scored:
        images.setdefault((prompt.id, prompt.tag), []).append(values.get(CORRECT))
    return Column(tuple(Value(_any(values), *key) for key, values in images.items()))


def _any(values: Sequence[float | None]) -> float | None:
    if any(values):
        return 1.0
    return None if None in values else 0.0


def _by_tag(column: Column, prefix: str) -> dict[str, Interval]:
    present = [tag for tag in TAGS if column.only(tag).values]
    by_tag = {f"{prefix}{tag}": mean(column.only(tag)) for tag in present}
    if len(present) < len(TAGS):
        return by_tag
    if not all(interval.n for interval in by_tag.values()):
        return {f"{prefix}mean": unknown(column), **by_tag}
    from agsm_bench.stats import bootstrap_macro_mean

    values, clusters, tags = zip(*column.scored, strict=True)
    macro_mean = replace(bootstrap_macro_mean(values, clusters, tags), unscored=column.unscored)
    return {f"{prefix}mean": macro_mean, **by_tag}


def _in_shapes_world(prompt: Prompt) -> bool:
    return all(clause["class"] in SHAPES for clause in prompt.requirement["include"])


def _class_order(label: str) -> tuple[int, str]:
    """Upstream lists classes in the detector's order."""
    order = (*COCO_CLASSES, *SHAPES)
    return (order.index(label) if label in order else len(order), label)
