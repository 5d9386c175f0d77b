"""Damaged files of run folders: manifests, samples, scores, summaries, and what else lies there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
from comparing import CORRECT, UNITS, result
from fuzzing import Kind, damaging, fuzz, nested, swap
from paired_runs import make_run, spread
from view_runs import make_kept

from agsm_bench.baseline import read_baseline, write_baseline
from agsm_bench.detections import read_detections
from agsm_bench.distances import _source
from agsm_bench.identity import identity
from agsm_bench.measured import quantities, read_run, value_of
from agsm_bench.report import runs as report_runs
from agsm_bench.report.evidence import sample_values
from agsm_bench.report.summary import summary_table
from agsm_bench.report.view.loading import load
from agsm_bench.scoring.features import FeatureStore
from agsm_bench.scoring.runs import DISTANCES
from agsm_bench.store import Run
from agsm_bench.summary_file import SEAL, read_summary
from agsm_bench.unigenbench.judgements import Asked, Judgement, JudgementStore
from agsm_bench.unigenbench.question import Verdict

pytestmark = pytest.mark.usefixtures("no_fsync")
METRICS = ("geneval/correct", "geneval/strict", "shapes/too_many", "shapes/too_few")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    make_run(folder, 0.5, trainer="agsm", prompts=spread(4))
    FeatureStore(folder, "fid").add(["00000/0000", "00001/0000"], [("d", "1"), ("e", "1")], np.ones((2, 3)))
    (folder / DISTANCES).write_text(json.dumps({"fid": {"value": 1.0, "reference": "statistics.npz"}}))
    return folder


MADE: dict[str, Path] = {}


@pytest.fixture(autouse=True)
def _made(run_folder: Path) -> None:
    MADE["run"] = run_folder


def part(name: str) -> Callable[[Path], Path]:
    """A file of a copy of the run."""

    def make(folder: Path) -> Path:
        shutil.copytree(MADE["run"], folder / "run", dirs_exist_ok=True)
        return folder / "run" / name

    return make


def read_manifest(path: Path) -> None:
    found, valid = (Run.open(folder).manifest.spec for folder in (path.parent, MADE["run"]))
    assert identity(found) == identity(valid)
    load([path.parent])
    read_run(path.parent)


def read_samples(path: Path) -> None:
    run = Run.open(path.parent)
    for sample_id, digest in run.records.images.items():
        assert isinstance(digest, str)
        run.read_image(sample_id)
    run.scores()


def read_scores(path: Path) -> None:
    scores = Run.open(path.parent).scores()
    for sample_id, row in scores.items():
        for metric, score in row.items():
            assert (score.sample_id, score.metric) == (sample_id, metric)
            assert score.value is None or isfinite(score.value)
            assert score.value is not None or score.reason
    load([path.parent])


def read_found(path: Path) -> None:
    for found in read_detections(path.parent):
        for each in found.detections:
            assert all(isfinite(float(number)) for number in (*each.box, each.score))
    _ = load([path.parent]).runs[0].detections


def read_sealed(path: Path) -> None:
    summary = read_summary(path.parent)
    if SEAL in summary:
        assert summary == read_summary(MADE["run"])
    report_runs.read_run(path.parent)
    summary_table(summary)
    load([path.parent])


def read_metadata(path: Path) -> None:
    load([path.parents[2]])


def read_page(path: Path) -> None:
    load([path.parent])
    for row in sample_values(path.parent).values():
        assert all(value is None or isfinite(value) for value in row.values())


def read_features(path: Path) -> None:
    store = FeatureStore(path.parents[2], "fid")
    if ids := sorted(store.keys):
        assert store.rows(ids).ndim == 2
        assert np.isfinite(store.rows(ids)).all()


def read_distances(path: Path) -> None:
    _source("fid", path.parent)


def make_judgements(folder: Path) -> Path:
    with JudgementStore.open(folder) as store:
        for number in range(3):
            asked = Asked(f"{number:05d}/0000", "i" * 64, "judge", "question")
            store.add(Judgement(asked, (Verdict("Style", True, "seen"),) if number else (), None if number else "why"))
    return folder / "judgements.jsonl"


def read_judgements(path: Path) -> None:
    for asked, judgement in JudgementStore(path.parent).all.items():
        assert all(isinstance(word, str) for word in asked)
        assert bool(judgement.verdicts) != bool(judgement.failed)


def make_baseline(folder: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 2, (2, len(UNITS))).astype(float)
    write_baseline(result({CORRECT: values}, (0, 1)), {"geneval/counting": 0.01}, folder / "baseline.json")
    return folder / "baseline.json"


def read_kept_baseline(path: Path) -> None:
    found = read_baseline(path)
    again = result({CORRECT: found.columns[CORRECT].values}, (0, 1))
    assert found.columns[CORRECT].units == again.columns[CORRECT].units
    for quantity in quantities(found.columns, {}).values():
        assert isfinite(value_of(quantity, found.columns[quantity.column], {}))


def make_copy_of_scores(folder: Path) -> Path:
    return make_kept(folder / "kept", 1, 0.5) / "scores.csv"


LONG = f'"{"7" * 300}/0000"'
KINDS = [
    Kind(
        "manifest",
        part("manifest.json"),
        read_manifest,
        "json",
        (nested, swap('"variant": null', '"variant": 5'), swap('"provenance": [', '"provenance": [7, ')),
    ),
    Kind(
        "samples",
        part("samples.jsonl"),
        read_samples,
        "jsonl",
        (nested, swap('"00000/0000"', LONG), swap('"sha256": "', '"sha256": 5, "x": "')),
    ),
    Kind(
        "scores",
        part("scores.jsonl"),
        read_scores,
        "jsonl",
        (
            *(nested, swap('"value": 0.0', '"value": "0"'), swap('"value": 0.0', f'"value": {"9" * 400}')),
            *(swap('"metric": "', f'"metric": {value}, "x": "') for value in ("[]", "0.5")),
        ),
    ),
    Kind(
        "detections",
        part("detections.jsonl"),
        read_found,
        "jsonl",
        (nested, swap('"score": 1.0', '"score": "shapes"'), swap('"sha256": "', '"sha256": {}, "x": "')),
    ),
    Kind("summary", part("summary.json"), read_sealed, "json", (nested, swap('"expected": 8', '"expected": 1e999'))),
    Kind("metadata", part("images/00000/metadata.jsonl"), read_metadata, "jsonl", (nested,)),
    Kind("features", part("features/fid/000000.npz"), read_features, "zip", (lambda valid: valid[:100],)),
    Kind("distances", part(DISTANCES), read_distances, "json", (nested,)),
    Kind("judgements", make_judgements, read_judgements, "jsonl", (nested, swap("00000/0000", "x" * 10_000))),
    Kind("baseline", make_baseline, read_kept_baseline, "json", (nested,)),
    Kind("copy of scores", make_copy_of_scores, read_page, "csv", (swap("00000/0000", LONG),)),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
