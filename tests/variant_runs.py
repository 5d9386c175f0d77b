"""Variants of backbones and their preference pairs that were never made, for the tests of tables and plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report_runs import summary

from agsm_bench import plugins
from agsm_bench.report.recipes import Training, pairs_settings, training_settings
from agsm_bench.variant import LORA_FILE, combined_hash, weights_hash

DPO = Training("diffusion_dpo", "shapes-unet")
BASE = weights_hash(plugins.load("backbones", "shapes-unet"))


def record(seed: int = 0, training: Training = DPO, **changes: Any) -> dict[str, Any]:
    """What a variant says of itself."""
    made = {**training_settings(training), "trainer": training.trainer, "backbone": training.backbone, "seed": seed}
    data = {"preferences": "p", "pairs": dict(pairs_settings(training))}
    return made | data | {"kind": "lora", "base": BASE, "hash": f"v{seed}"} | changes


def tuned(value: float, tokens: str | None = None, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """The summary of an evaluation of a variant of shapes-unet, with soft tokens of a trainer or without."""
    variant = record(**({"seed": seed} | changes.pop("variant", {})))
    run = {"backbone": "shapes-unet", "steps": 16, "variant": variant, "identity": json.dumps([value, variant, tokens])}
    run |= {"weights": combined_hash(BASE, variant["hash"])}
    return summary(value, tokens, seed, run=run | changes.pop("run", {}), **changes)


def write_variant(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A variant's folder; its weights are an empty file."""
    training = record(seed, **changes)
    top = {key: training.pop(key) for key in ("kind", "base", "hash")}
    folder.mkdir(parents=True)
    head = {"format": "agsm-bench backbone variant", "schema": 1, "backbone": training["backbone"]}
    (folder / "variant.json").write_text(json.dumps({**head, **top, "training": training}))
    (folder / LORA_FILE).touch()
    return folder


def write_pairs(folder: Path, training: Training = DPO, image: bytes = b"", lack: int = 0) -> Path:
    """A folder of pairs, all of the same two files; `lack` of those to train on are not there."""
    settings = dict(pairs_settings(training))
    train, held_out = settings.pop("train") - lack, settings.pop("held_out")
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / name).write_bytes(image)
    line = {"prompt": "a circle", "preferred": "a", "rejected": "b", "caption": 0}
    lines = [json.dumps(line | {"held_out": i >= train}) + "\n" for i in range(train + held_out)]
    (folder / "preferences.jsonl").write_text("".join(lines))
    (folder / "recipe.json").write_text(json.dumps(settings))
    return folder
