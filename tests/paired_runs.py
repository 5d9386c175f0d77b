"""Two small runs made with the real store, renderer, detector and benchmark: no model is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agsm_bench import plugins
from agsm_bench.images import to_png
from agsm_bench.score import judging_of, score_by_detector, summarise
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, place, sample_scene
from agsm_bench.shapes.truth import is_true
from agsm_bench.shapes.vocabulary import COLORS, SHAPES
from agsm_bench.store import Run
from agsm_bench.types import Prompt, RunSpec, Sample, Score

SPEC = RunSpec("geneval", "shapes", "shapes-mmdit", "w" * 64, 3.0, 20, 24, 0, 2)
TOKENS = {"trainer": "agsm", "steps": 300, "seed": 0, "batch": 4}
PROMPTS = plugins.load("benchmarks", "geneval").prompts("shapes")


def spread(count: int) -> list[Prompt]:
    return [PROMPTS[i * len(PROMPTS) // count] for i in range(count)]


def make_run(
    folder: Path,
    right: float,
    *,
    trainer: str | None = None,
    prompts: Sequence[Prompt] | None = None,
    limited: bool = True,
    **changes: Any,
) -> dict[str, Any]:
    """A run that draws the asked scene in a share `right` of its images; returns its summary."""
    spec = replace(SPEC, tokens="t" * 64 if trainer else None, **changes)
    tokens = TOKENS | {"trainer": trainer} if trainer else None
    asked = spread(24) if prompts is None else prompts
    samples = [Sample(prompt, index) for prompt in asked for index in range(spec.images_per_prompt)]
    note = {"command": f"agsm-bench eval geneval --out {folder.name}", "started": "2026-01-01T00:00:00+00:00"}
    benchmark = plugins.load("benchmarks", "geneval")
    with Run.create_or_resume(folder, spec, len(samples), limited, note, tokens=tokens) as run:
        for sample in samples:
            run.add_image(sample, to_png(Image.fromarray(render(draw(sample, right, trainer is not None)))))
        for _ in score_by_detector(run, judging_of(benchmark, "shapes"), samples):
            pass
        return summarise(run, benchmark, samples)


def make_pair(root: Path, **changes: Any) -> tuple[Path, Path]:
    """Runs without and with tokens; the second is right more often."""
    base, other = root / "base", root / "agsm"
    make_run(base, 0.5, **changes)
    make_run(other, 0.75, trainer="agsm", **changes)
    return base, other


def make_photo_run(folder: Path, **changes: Any) -> None:
    """One image of 300 pixels and its verdict, given without a detector."""
    prompt = plugins.load("benchmarks", "geneval").prompts("photo")[0]
    spec = replace(SPEC, domain="photo", backbone="sd3", size=300, images_per_prompt=1, **changes)
    sample = Sample(prompt, 0)
    noise = np.random.default_rng(0).integers(256, size=(300, 300, 3), dtype=np.uint8)
    tokens = TOKENS if spec.tokens else None
    with Run.create_or_resume(folder, spec, 1, True, {"command": "agsm-bench eval"}, tokens=tokens) as run:
        run.add_image(sample, to_png(Image.fromarray(noise)))
        run.add_scores([Score(sample.id, "geneval/correct", 1.0)])


def write_log(folder: Path, steps: int = 60) -> Path:
    """What a training leaves: a line a step, and a validation point every ten."""
    rng = np.random.default_rng(0)
    path = folder / "train.jsonl"
    lines = []
    for step in range(1, steps + 1):
        line = {"step": step, "loss": 0.2 * np.exp(-step / steps) + 0.05 * rng.random(), "timestep": 500}
        if step % 10 == 0:
            gap = 0.02 * step / steps
            line |= {"val_err_positive": 0.1, "val_err_negative": 0.1 + gap, "val_gap": gap, "val_win_rate": 0.5}
        lines.append(json.dumps(line) + "\n")
    path.write_text("".join(lines))
    return path


def draw(sample: Sample, right: float, shifted: bool) -> Scene:
    """The asked scene, at times with an object too many, or another scene."""
    rng = np.random.default_rng([int(sample.prompt.id), sample.index, shifted])
    if rng.random() > right:
        return sample_scene(rng)
    items = [
        (clause["class"], clause.get("color", str(rng.choice(COLORS))))
        for clause in sample.prompt.requirement["include"]
        for _ in range(clause["count"])
    ]
    scene = place(items, rng)
    while not is_true(sample.prompt.text, scene):
        scene = place(items, rng)
    if len(items) < 3 and rng.random() < 0.2:
        return place([*items, (str(rng.choice(SHAPES)), str(rng.choice(COLORS)))], rng)
    return scene
