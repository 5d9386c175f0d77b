"""What is kept of runs without their images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from store_runs import METRICS, SAMPLES, evaluate, scores_of

from agsm_bench.report.evidence import keep, sample_values


def test_scores_survive_without_the_images(tmp_path: Path) -> None:
    evaluate(tmp_path / "run")
    kept = keep(tmp_path / "run", tmp_path / "kept")
    assert kept is not None
    assert kept == tmp_path / "kept" / "run"
    assert {path.name for path in kept.iterdir()} == {"summary.json", "manifest.json", "scores.csv"}
    asked = {sample.id: {score.metric: score.value for score in scores_of(sample)} for sample in SAMPLES}
    assert sample_values(kept) == sample_values(tmp_path / "run") == asked
    assert any(row[METRICS[1]] is None for row in asked.values())


def test_a_training_keeps_its_curve(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "soft_tokens.safetensors").write_bytes(b"tokens")
    (folder / "training_state.safetensors").write_bytes(b"state")
    (folder / "steps" / "000050").mkdir(parents=True)
    (folder / "steps" / "000050" / "soft_tokens.safetensors").write_bytes(b"halfway")
    records = [{"step": n, "loss": float(n)} | ({"val_gap": 0.5} if n == 100 else {}) for n in range(1, 121)]
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    kept = keep(folder, tmp_path / "kept")
    assert kept is not None
    assert {path.name for path in kept.iterdir()} == {"config.json", "soft_tokens.safetensors", "curve.csv"}
    with (kept / "curve.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert [(row["step"], float(row["loss"]), row["val_gap"]) for row in rows] == [
        ("50", 25.5, ""),
        ("100", 75.5, "0.5"),
        ("120", 110.5, ""),
    ]


def test_what_is_not_finished_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert keep(tmp_path / "run", tmp_path / "kept") is None
    assert not (tmp_path / "kept").exists()
