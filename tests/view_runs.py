"""Runs that the tests of pages show, made without a model: odd names, edits, photographs, 20,000 samples."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from paired_runs import PROMPTS, SPEC, TOKENS
from PIL import Image

from agsm_bench import plugins
from agsm_bench.images import to_png
from agsm_bench.manifest import MANIFEST, Manifest
from agsm_bench.score import judging_of, score_by_detector, summarise
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import sample_scene
from agsm_bench.store import SUMMARY, Run
from agsm_bench.types import Prompt, RunSpec, Sample, Score

EVIL = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
ODD = "a #1?%41 'q' \" b"
"""The id of a prompt, which is the name of a folder."""
NOTE = {"command": "agsm-bench eval", "started": "2026-01-01T00:00:00+00:00"}


def scene_png(seed: int) -> bytes:
    return to_png(Image.fromarray(render(sample_scene(np.random.default_rng(seed)))))


def make_odd_run(folder: Path, *, label: str | None = None) -> Path:
    """Prompts, reasons and names that want to be markup."""
    spec = replace(SPEC, images_per_prompt=1, tokens="t" * 64 if label else None)
    requirement = {"tag": EVIL, "prompt": EVIL, "include": []}
    samples = [Sample(Prompt(ODD, EVIL, EVIL, requirement), 0), Sample(PROMPTS[0], 0)]
    tokens = TOKENS | {"trainer": label} if label else None
    with Run.create_or_resume(folder, spec, 2, True, NOTE | {"command": EVIL}, tokens=tokens) as run:
        for number, sample in enumerate(samples):
            run.add_image(sample, scene_png(number))
            run.add_scores([Score(sample.id, "geneval/correct", float(number), EVIL)])
    return folder


def make_edits(folder: Path, count: int = 3) -> Path:
    """A run of pie_bench whose edits changed nothing."""
    benchmark = plugins.load("benchmarks", "pie_bench")
    spec = replace(SPEC, benchmark="pie_bench", images_per_prompt=1, editing={"editor": "masactrl"})
    samples = [Sample(prompt, 0) for prompt in benchmark.prompts("shapes")[:count]]
    with Run.create_or_resume(folder, spec, count, True, NOTE) as run:
        for sample in samples:
            run.add_image(sample, benchmark.given("shapes", sample.prompt, 24).picture())
        for _ in score_by_detector(run, judging_of(benchmark, "shapes"), samples):
            pass
        summarise(run, benchmark, samples)
    return folder


def make_photographs(folder: Path, seeds: Sequence[int] = (0, 1, 2), side: int = 300) -> Path:
    """Noise of `side` pixels, one image a prompt, of two scores."""
    prompts = plugins.load("benchmarks", "geneval").prompts("photo")
    spec = replace(SPEC, domain="photo", backbone="sd3", size=side, images_per_prompt=1)
    with Run.create_or_resume(folder, spec, len(seeds), True, NOTE) as run:
        for prompt, seed in zip(prompts, seeds, strict=False):
            noise = np.random.default_rng(seed).integers(256, size=(side, side, 3), dtype=np.uint8)
            sample = Sample(prompt, 0)
            run.add_image(sample, to_png(Image.fromarray(noise)))
            run.add_scores([Score(sample.id, "geneval/correct", float(seed % 2), "found 0" if seed % 2 == 0 else None)])
            run.add_scores([Score(sample.id, "clip/openai-l14", 0.2 + 0.01 * seed)])
    return folder


def make_kept(folder: Path, images_per_prompt: int, right: float) -> Path:
    """A run as it is kept without its images: every prompt of the shapes world."""
    spec: RunSpec = replace(SPEC, images_per_prompt=images_per_prompt)
    ids = [Sample(prompt, index).id for prompt in PROMPTS for index in range(images_per_prompt)]
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(Manifest(spec, len(ids), False, provenance=(NOTE,)).dump())
    counts = {"expected": len(ids), "scored": len(ids), "unscored": 0, "complete": True, "limited": False}
    empty = {"schema": 1, "metrics": {}, "unscored_samples": [], "run": {}}
    (folder / SUMMARY).write_text(json.dumps(counts | empty))
    draws = np.random.default_rng([len(ids), int(100 * right)]).random((len(ids), 2))
    with (folder / "scores.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["sample_id", "geneval/correct", "shapes_clip/score"])
        rows.writerows([key, int(a < right), f"{b:.6f}"] for key, (a, b) in zip(ids, draws, strict=True))
    return folder
