"""The difference that training made, over several seeds: `python -m agsm_bench.report.paired_seeds BASE RUN [RUN ...]`.

The runs are equal but for their training seeds. `RUN [RUN ...] --bases BASE [BASE ...]` compares each with a base of
its own, e.g. of the same seed. Intervals are over prompts and, with several runs, over seeds
(`agsm_bench.hypotheses`). Runs without their images will do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.hypotheses import Effect, effect
from agsm_bench.manifest import load_manifest
from agsm_bench.records import split_id
from agsm_bench.report.evidence import sample_values
from agsm_bench.report.runs import SHARES

LINES = (
    ("geneval/correct", "mean"),
    ("geneval/strict", "mean"),
    ("geneval/correct", "counting"),
    ("shapes/too_many", ""),
    ("shapes/too_few", ""),
)
"""Of GenEval: metric, and the tag it is of; `mean`: of the tags' means; empty: of all images."""
OTHERS = {
    "coco_val5k": ("coco_val5k/scene", "shapes_clip/score"),
    "pie_bench": ("pie_bench/success", "pie_bench/kept", "shapes_clip/lpips-unedited", "psnr/unedited"),
    "unigenbench": ("unigenbench/points", "unigenbench/scene", "unigenbench/relation", "shapes_clip/score"),
}
"""Of other benchmarks, the metrics over all images."""


def difference(bases: Sequence[Path], runs: Sequence[Path], metric: str, tag: str) -> Effect:
    """Runs minus their bases, on the images that all have judged.

    Raises:
        MissingError: a folder is no run, or damaged.
    """
    spec = load_manifest(bases[0]).spec
    tags = {p.id: p.tag for p in plugins.load("benchmarks", spec.benchmark).prompts(spec.domain)}
    values = {folder: _values(folder, metric) for folder in (*bases, *runs)}
    ids = [i for i in sorted(set.intersection(*map(set, values.values()))) if tag in ("", "mean", tags[split_id(i)[0]])]
    clusters = [split_id(i)[0] for i in ids]
    groups = [tags[cluster] if tag == "mean" else "" for cluster in clusters]
    pairs = [(values[run], values[base]) for run, base in zip(runs, bases, strict=True)]
    return effect([[ours[i] - theirs[i] for i in ids] for ours, theirs in pairs], clusters, groups)


def _values(folder: Path, metric: str) -> dict[str, float]:
    found = {key: row.get(metric) for key, row in sample_values(folder).items()}
    return {key: value for key, value in found.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints points, or differences of what is no share, with their 95% intervals."""
    parser = argparse.ArgumentParser(prog="python -m agsm_bench.report.paired_seeds", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the first is the base, but for --bases")
    parser.add_argument("--bases", type=Path, nargs="+", default=[])
    given = parser.parse_args(arguments)
    runs = given.runs if given.bases else given.runs[1:]
    bases = given.bases or given.runs[:1] * len(runs)
    if not runs or len(bases) != len(runs):
        parser.error(f"{len(runs)} runs and {len(bases)} bases")
    others = OTHERS.get(load_manifest(bases[0]).spec.benchmark)
    for metric, tag in [(metric, "") for metric in others] if others else LINES:
        found = difference(bases, runs, metric, tag)
        # shares in points, the rest as it is
        scale, digits = (100, 1) if metric.startswith(SHARES) else (1, 4)
        value, low, high = (f"{scale * number:+.{digits}f}" for number in (found.value, *found.interval()))
        print(f"{metric:<16} {tag or 'all images':<10} {value} ({low} to {high})")


if __name__ == "__main__":
    main()
