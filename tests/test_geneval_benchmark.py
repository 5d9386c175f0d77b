"""The benchmark object: scores of a sample, the summary with its unscored samples, the result line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from agsm_bench.benchmark import Benchmark
from agsm_bench.benchmarks.geneval import BENCHMARK
from agsm_bench.geneval import CORRECT, Scored
from agsm_bench.geneval_prompts import TAGS
from agsm_bench.geneval_results import read_results
from agsm_bench.geneval_rules import Box, verdict
from agsm_bench.shapes.vocabulary import SHAPES
from agsm_bench.types import Detection, Prompt, Score


def seen(label: str, score: float = 1.0, box: Box = (0, 0, 8, 8)) -> Detection:
    return Detection(label, box, score)


def test_it_keeps_the_contract() -> None:
    benchmark: Benchmark = BENCHMARK  # what mypy checks
    assert (benchmark.name, benchmark.images_per_prompt) == ("geneval", 4)


def test_a_shapes_sample_gets_four_scores_a_photo_one() -> None:
    shapes, photo = BENCHMARK.prompts("shapes")[0], BENCHMARK.prompts("photo")[0]
    (wanted,) = (ask["class"] for ask in shapes.requirement["include"])
    other = next(shape for shape in SHAPES if shape != wanted)
    assert BENCHMARK.score_sample(shapes, "00000/0001", [seen(wanted)]) == [
        Score("00000/0001", "geneval/correct", 1.0),
        Score("00000/0001", "geneval/strict", 1.0),
        Score("00000/0001", "shapes/too_many", 0.0),
        Score("00000/0001", "shapes/too_few", 0.0),
    ]
    extra = BENCHMARK.score_sample(shapes, "00000/0001", [seen(wanted), seen(other)])
    assert [score.value for score in extra] == [1.0, 0.0, 1.0, 0.0]
    assert BENCHMARK.score_sample(photo, "00000/0000", []) == [
        Score("00000/0000", "geneval/correct", 0.0, "expected bench>=1, found 0")
    ]


def scored(values: Mapping[str, Sequence[float | None]], metrics: Sequence[str] = ("geneval/correct",)) -> list[Scored]:
    """Samples of prompts named TAG-NUMBER, every metric with the same values."""
    return [
        (Prompt(name, name, name.split("-")[0]), f"{name}/{i:04d}", dict.fromkeys(metrics, value))
        for name, row in values.items()
        for i, value in enumerate(row)
    ]


def one_of_each(tag: str | None = None, row: Sequence[float | None] = ()) -> dict[str, Sequence[float | None]]:
    """Two prompts a tag, right and wrong; `row` replaces both of one tag."""
    rows: dict[str, Sequence[float | None]] = {f"{t}-{i}": [1 - i, 0] for t in TAGS for i in (0, 1)}
    return rows | ({f"{tag}-0": row, f"{tag}-1": row} if tag else {})


def test_the_summary_is_upstreams() -> None:
    rows = one_of_each() | {"single_object-0": [1, 1], "single_object-2": [1, 0], "color_attr-0": [0, 0]}
    summary = BENCHMARK.summarise(scored(rows))
    assert summary["geneval/single_object"].value == 0.5
    assert summary["geneval/color_attr"].value == 0
    assert summary["geneval/mean"].value == pytest.approx((0.5 + 4 * 0.25 + 0) / 6)
    assert summary["geneval/images_correct"].value == 7 / 26
    assert summary["geneval/prompts_correct"].value == 6 / 13
    assert (summary["geneval/mean"].n, summary["geneval/mean"].clusters) == (26, 13)
    assert summary["geneval/mean"].low <= summary["geneval/mean"].value <= summary["geneval/mean"].high
    assert list(summary) == [
        "geneval/mean",
        *(f"geneval/{tag}" for tag in TAGS),
        "geneval/images_correct",
        "geneval/prompts_correct",
    ]


def test_the_summary_does_not_depend_on_the_order_of_the_samples() -> None:
    samples = scored(one_of_each())
    assert BENCHMARK.summarise(samples[::-1]) == BENCHMARK.summarise(iter(samples))


def test_unscored_is_counted_and_never_zero() -> None:
    rows = one_of_each() | {"counting-0": [1, None], "counting-1": [0, None], "counting-2": [None, None]}
    summary = BENCHMARK.summarise(scored(rows))
    counting, prompts = summary["geneval/counting"], summary["geneval/prompts_correct"]
    assert (counting.value, counting.n, counting.clusters, counting.unscored) == (0.5, 2, 2, 4)
    assert summary["geneval/mean"].unscored == summary["geneval/images_correct"].unscored == 4
    assert (prompts.value, prompts.n, prompts.unscored) == (6 / 11, 11, 2)  # one sure, two open
    assert summary["geneval/colors"].unscored == 0


def test_a_missing_entry_is_unscored_like_none() -> None:
    samples = [(prompt, i, {} if v["geneval/correct"] else v) for prompt, i, v in scored(one_of_each())]
    assert BENCHMARK.summarise(samples)["geneval/images_correct"].unscored == 6


def test_a_tag_that_could_not_be_scored_leaves_the_mean_unknown() -> None:
    summary = BENCHMARK.summarise(scored(one_of_each("counting", [None, None])))
    assert math.isnan(summary["geneval/mean"].value)
    assert math.isnan(summary["geneval/counting"].value)
    assert (summary["geneval/counting"].n, summary["geneval/counting"].unscored) == (0, 4)
    assert summary["geneval/images_correct"].value == 0.25


def test_a_limited_run_has_no_mean() -> None:
    summary = BENCHMARK.summarise(scored({"single_object-0": [1, 0], "single_object-1": [1, 1]}))
    assert "geneval/mean" not in summary
    assert summary["geneval/single_object"].value == 0.75


def test_the_shapes_summary_has_the_strict_reading_and_the_count_errors() -> None:
    metrics = ("geneval/correct", "geneval/strict", "shapes/too_many", "shapes/too_few")
    summary = BENCHMARK.summarise(scored(one_of_each("counting", [1, 1]), metrics))
    assert summary["geneval/strict_mean"] == summary["geneval/mean"]
    assert [summary[f"geneval/strict_{tag}"] for tag in TAGS] == [summary[f"geneval/{tag}"] for tag in TAGS]
    for name in ("shapes/too_many", "shapes/too_few"):
        assert summary[name].value == (4 + 5) / 24
        assert (summary[f"{name}_counting"].value, summary[f"{name}_counting"].n) == (1, 4)


def test_a_sample_listed_twice_is_refused() -> None:
    samples = scored(one_of_each())
    with pytest.raises(ValueError, match="listed twice"):
        BENCHMARK.summarise([*samples, samples[0]])


def test_the_result_line_is_upstreams() -> None:
    prompt = next(p for p in BENCHMARK.prompts("photo") if p.tag == "counting")
    label = prompt.requirement["include"][0]["class"]
    found = [
        seen("toothbrush", 0.95, box=(1, 2, 3, 4)),
        seen(label, 0.91, box=(5, 6, 7, 8)),
        seen(label, 0.99, box=(0, 0, 2, 2)),
        seen(label, 0.5),
        seen("person", 0.92, box=(0, 0, 1, 1)),
    ]
    judged = verdict(found, prompt.requirement)
    line = BENCHMARK.result_line(prompt, "00179/samples/0000.png", found)
    assert list(line) == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    assert (line["tag"], line["prompt"], line["correct"]) == ("counting", prompt.text, judged.correct)
    assert line["metadata"] == json.dumps(prompt.requirement)
    details = json.loads(line["details"])
    assert list(details) == ["person", label, "toothbrush"]
    assert details[label] == [[0, 0, 2, 2, 0.99], [5, 6, 7, 8, 0.91]]


def test_a_results_file_of_the_shapes_world_has_all_its_prompts(tmp_path: Path) -> None:
    """Texts repeat there; the folder tells which prompt an image is of."""
    rng, samples, lines = np.random.default_rng(0), list[Scored](), []
    for prompt in BENCHMARK.prompts("shapes"):
        label = prompt.requirement["include"][0]["class"]
        for index in range(4):
            found = [Detection(label, (0, 0, 8, 8), 1.0, "red")] if rng.random() < 0.5 else []
            line = BENCHMARK.result_line(prompt, f"images/{prompt.id}/samples/{index:04d}.png", found)
            samples.append((prompt, f"{prompt.id}/{index:04d}", {CORRECT: float(line["correct"])}))
            lines.append(json.dumps(line))
    (tmp_path / "results.jsonl").write_text("\n".join(lines))
    found_there = read_results(tmp_path / "results.jsonl")
    assert (found_there.domain, found_there.images, found_there.warnings) == ("shapes", 2212, ())
    assert found_there.metrics == BENCHMARK.summarise(samples)
    (tmp_path / "results.jsonl").write_text("\n".join(lines[:40] + lines[41:]))
    (warning,) = read_results(tmp_path / "results.jsonl").warnings
    assert warning == "1 of 2212 images are missing, of 1 prompts (first 00010)."
