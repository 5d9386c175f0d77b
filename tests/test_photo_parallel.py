"""Photographs' backbones on several processes (gloo, CPU): the same bytes as on one, whatever was killed before."""

from __future__ import annotations

from pathlib import Path

import pytest
from coco_tiny import write_coco
from conftest import Cli
from photo_tiny import SIZE, save_tiny
from test_training_parallel import TORCHRUN, Deaf, finished, silent, start

from agsm_bench import evaluate as evaluation
from agsm_bench.data import coco
from agsm_bench.model_options import ModelOptions
from agsm_bench.request import EvaluationOptions, Request, Scoring
from agsm_bench.training.log import LOG_FILE
from agsm_bench.training.state import STATE_FILE

TRAIN = ("train", "agsm", "--batch", 2, "--size", SIZE, "--steps", 2, "--accumulate", 2, "--device", "cpu")
OPTIONS = EvaluationOptions(limit=4, images_per_prompt=1, steps=2, size=SIZE)
SAMPLING = ("--limit", 4, "--images-per-prompt", 1, "--steps", 2, "--size", SIZE, "--device", "cpu")
EVAL = ("eval", "geneval", *SAMPLING, "--metrics", "none")


def pictures(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*.png"))}


def leave_part(folder: Path, out: Path) -> None:
    """What the second of three killed processes made."""
    model = ModelOptions(model=str(folder), device="cpu")
    plan = evaluation.planned(
        Request("geneval", "sd15", out, options=OPTIONS, model=model, scoring=Scoring(nothing=True))
    )
    evaluation._share(plan, Deaf(1, 3), silent)
    assert len(list((out / ".shards").glob("*/samples.jsonl"))) == 1


def test_two_processes_like_one(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))
    coco._read.cache_clear()
    write_coco(tmp_path / "data")
    folder = save_tiny("sd15", tmp_path)
    model = ("--backbone", "sd15", "--model", folder)
    leave_part(folder, tmp_path / "two-run")
    train, evaluate = ([*command, *model, "--out"] for command in (TRAIN, EVAL))
    process = start(TORCHRUN, *train, tmp_path / "two", "--then", *evaluate, tmp_path / "two-run")
    code, _, err = finished(process)
    assert code == 0, err
    assert cli(*train, tmp_path / "one")[0] == 0
    assert cli(*evaluate, tmp_path / "one-run")[0] == 0
    for name in ("soft_tokens.safetensors", STATE_FILE, LOG_FILE):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    assert pictures(tmp_path / "two-run") == pictures(tmp_path / "one-run")
    assert not (tmp_path / "two-run" / ".shards").exists()
