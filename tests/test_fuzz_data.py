"""Damaged files of data: prompts, captions, mappings, preferences, results of others, latents, statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import isfinite
from pathlib import Path

import benchmark_data
import numpy as np
import pandas as pd
import pytest
import torch
from coco_tiny import write_coco
from fuzzing import Kind, damaging, fuzz, nested, swap
from PIL import Image

from agsm_bench import pie
from agsm_bench.clip_encoder import read_tokenizer
from agsm_bench.data import coco, latents
from agsm_bench.data.places import damaged, record_of, state
from agsm_bench.data.table import dataset
from agsm_bench.detectors.mask2former import check_config
from agsm_bench.frechet import Statistics, distance
from agsm_bench.geneval import GenEval
from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.geneval_results import read_results
from agsm_bench.images import open_mask
from agsm_bench.report.summary import results_table
from agsm_bench.scoring.sources import read_items
from agsm_bench.training.preferences import read_preferences
from agsm_bench.unigenbench.prompts import points_of, read_prompts
from agsm_bench.weights import INDEX, locate, pipeline_parts, setting_files, survey_pipeline

MASK = [96, 200, 512, 100_000]


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder is the one with the damaged file."""
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "in"))


def make_mapping(folder: Path) -> Path:
    entries = {f"{n:012}": benchmark_data.entry(f"{n:012}", n, MASK) for n in range(3)}
    benchmark_data.write_pie(folder, entries, dict.fromkeys(entries, (64, 64)))
    return folder / "pie-bench" / "mapping_file.json"


def read_mapping(path: Path) -> None:
    pie.read_mapping.cache_clear()
    for prompt in pie.read_pie_bench().prompts:
        given = pie.given(prompt, 64)
        assert given.mask is not None
        assert open_mask(given.mask()).shape == (64, 64)
        with suppress(OSError, ValueError):  # for which its image is unscored
            given.picture()


def make_captions(folder: Path) -> Path:
    write_coco(folder)
    return folder / "coco" / "annotations" / "captions_val2017.json"


def read_captions(path: Path) -> None:
    coco._read.cache_clear()
    for image, caption in coco.val5k():
        assert isinstance(image.id, int)
        assert isinstance(caption, str)
        assert path.parents[1] in image.path.parents
    pairs = coco.CocoPairs(0, True, 16)
    pairs.item(0)
    pairs.picture_key(0)


def make_record(folder: Path) -> Path:
    write_coco(folder)
    return record_of(dataset("coco-val2017"))


def read_record(path: Path) -> None:
    assert state(dataset("coco-val2017")) in ("there", "partly")
    for name in damaged(dataset("coco-val2017"), lambda *_: None):
        assert isinstance(name, str)
    read_captions(path.parents[1] / "coco" / "annotations" / "captions_val2017.json")


def save_pictures(folder: Path) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{name}.png")
    return folder / "images"


def make_prompts(kind: str) -> Callable[[Path], Path]:
    """A file of prompts beside three pictures."""

    def make(folder: Path) -> Path:
        rows = [(f"{name}.png", f"a {name}, ü") for name in "abc"]
        save_pictures(folder)
        path, frame = folder / f"prompts.{kind}", pd.DataFrame(rows, columns=["file", "prompt"])
        if kind == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        elif kind == "txt":
            path.write_text("".join(f"{text}\n" for _, text in rows), "utf-8")
        else:
            frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
        return path

    return make


def read_prompt_file(path: Path) -> None:
    check_items(path.parent / "images", path)


def make_parquet(folder: Path) -> Path:
    pictures = sorted(save_pictures(folder).iterdir())
    rows = [{"image": {"bytes": path.read_bytes(), "path": None}, "prompt": path.stem} for path in pictures]
    pd.DataFrame(rows).to_parquet(folder / "images.parquet")
    return folder / "images.parquet"


def make_layout(folder: Path) -> Path:
    (folder / "00000" / "samples").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "00000" / "samples" / "0000.png")
    (folder / "00000" / "metadata.jsonl").write_text(json.dumps({"prompt": "a dog"}) + "\n")
    return folder / "00000" / "metadata.jsonl"


def check_items(images: Path, prompts: Path | None = None) -> None:
    for item in read_items(images, prompts):
        assert isinstance(item.prompt, str | None)
        assert isinstance(item.cluster, str)
        assert len(item.digest()) == 64


def make_results(folder: Path) -> Path:
    benchmark = GenEval()
    lines = [benchmark.result_line(p, f"{p.id}/samples/0000.png", []) for p in benchmark.prompts("photo")[:5]]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "results.jsonl"


def read_geneval_results(path: Path) -> None:
    found = read_results(path)
    assert all(isfinite(interval.value) for interval in found.metrics.values())
    results_table(path.name, found.metrics, found.warnings)


def make_unigenbench(folder: Path) -> Path:
    cell = benchmark_data.details(["Style", "Action - State"], ["ink", "asleep"])
    benchmark_data.write_unigenbench(folder, [(str(n), f"prompt {n}", cell) for n in range(4)])
    return folder / "unigenbench" / "test_prompts_en_long.csv"


def read_unigenbench(path: Path) -> None:
    for prompt in read_prompts(path).prompts:
        assert prompt.text.strip()
        assert all(point.name and point.description for point in points_of(prompt))


def make_preferences(folder: Path) -> Path:
    save_pictures(folder)
    lines = [{"prompt": f"{n}", "preferred": "images/a.png", "rejected": "images/b.png"} for n in range(3)]
    lines[2]["held_out"] = True
    (folder / "preferences.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recipe.json").write_text(json.dumps({"seed": 0, "pairs": 3}))
    return folder / "preferences.jsonl"


def make_recipe(folder: Path) -> Path:
    return make_preferences(folder).with_name("recipe.json")


def read_pairs(path: Path) -> None:
    found = read_preferences(path.parent)
    json.dumps(found.describe())
    assert len(found.hash) == 64
    assert found.batch(0, [0])[0].images(8).shape == (2, 8, 8, 3)


def make_statistics(folder: Path) -> Path:
    Statistics.of(np.random.default_rng(0).normal(size=(20, 4))).save(folder / "statistics.npz", {"metric": "fid"})
    return folder / "statistics.npz"


def read_statistics(path: Path) -> None:
    found = Statistics.load(path)
    assert found.n >= 0
    assert isfinite(distance(found, found))


SPEC = latents.LatentsSpec("v" * 64, "float32", 16)
KEYS = ["a-16", "b-16"]


def make_latents(folder: Path) -> Path:
    latents.claim(SPEC)
    torch.manual_seed(0)
    latents.write(SPEC.folder / "00000.safetensors", {key: torch.randn(4, 2, 2) for key in KEYS})
    return SPEC.folder / "00000.safetensors"


def make_claim(folder: Path) -> Path:
    return make_latents(folder).with_name(latents.RECORD)


def read_latents(path: Path) -> None:
    """Each has its checksum, so what is read is what was written."""
    assert latents.is_claimed(SPEC)
    kept = latents.Latents(SPEC)
    torch.manual_seed(0)
    for key, written in [(key, torch.randn(4, 2, 2)) for key in KEYS]:
        mean = kept.get(key)
        assert mean is None or torch.equal(mean, written)
    latents.is_whole(path, KEYS)


def make_pipeline(name: str) -> Callable[[Path], Path]:
    """A diffusers folder with a UNet in two shards."""

    def make(folder: Path) -> Path:
        from safetensors.torch import save_file

        index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        for part in ("unet", "scheduler"):
            (folder / "model" / part).mkdir(parents=True)
        (folder / "model" / INDEX).write_text(json.dumps(index))
        (folder / "model" / "scheduler" / "scheduler_config.json").write_text("{}")
        (folder / "model" / "unet" / "config.json").write_text("{}")
        files = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        for file in files:
            save_file({file[24:29]: torch.ones(2)}, folder / "model" / "unet" / file)
        weight_map = json.dumps({"metadata": {}, "weight_map": {file[24:29]: file for file in files}})
        (folder / "model" / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(weight_map)
        return folder / "model" / name

    return make


def read_pipeline(root: int, path: Path) -> None:
    located = locate(str(path.parents[root]))
    survey_pipeline(located)
    assert all(isinstance(name, str) for name in pipeline_parts(located))
    setting_files(located)


def make_detector(folder: Path) -> Path:
    labels = {str(n): label for n, label in enumerate(COCO_CLASSES)}
    (folder / "config.json").write_text(json.dumps({"model_type": "mask2former", "id2label": labels}))
    return folder / "config.json"


def make_vocabulary(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        words = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
        (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
        return folder / name

    return make


def read_vocabulary(path: Path) -> None:
    tokenizer = read_tokenizer(path.with_name("vocab.json"), path.with_name("merges.txt"), 7)
    assert len(tokenizer(["a ab"]).input_ids[0]) >= 2


INDEX_OF_SHARDS = "unet/diffusion_pytorch_model.safetensors.index.json"
KINDS = [
    Kind("mapping of PIE-Bench", make_mapping, read_mapping, "json", (nested,)),
    Kind("captions", make_captions, read_captions, "json", (nested,)),
    Kind("record of a dataset", make_record, read_record, "json", (nested,)),
    Kind("prompts, csv", make_prompts("csv"), read_prompt_file, "csv"),
    Kind("prompts, tsv", make_prompts("tsv"), read_prompt_file, "tsv"),
    Kind("prompts, jsonl", make_prompts("jsonl"), read_prompt_file, "jsonl", (nested,)),
    Kind("prompts, txt", make_prompts("txt"), read_prompt_file),
    Kind("parquet", make_parquet, check_items),
    Kind("metadata of a folder", make_layout, lambda path: check_items(path.parents[1]), "jsonl", (nested,)),
    Kind("results of GenEval", make_results, read_geneval_results, "jsonl", (nested,)),
    Kind("prompts of UniGenBench", make_unigenbench, read_unigenbench, "csv"),
    Kind("preferences", make_preferences, read_pairs, "jsonl", (nested,)),
    Kind("recipe", make_recipe, read_pairs, "json", (nested,)),
    Kind("statistics", make_statistics, read_statistics, "zip"),
    Kind("latents", make_latents, read_latents, "safetensors", (swap('"shape":[4,2,2]', '"shape":[2,4,2]'),)),
    Kind("record of latents", make_claim, read_latents, "json", (nested,)),
    Kind("index of a pipeline", make_pipeline(INDEX), partial(read_pipeline, 0), "json", (nested,)),
    Kind("index of shards", make_pipeline(INDEX_OF_SHARDS), partial(read_pipeline, 1), "json", (nested,)),
    Kind("configuration of a detector", make_detector, check_config, "json", (nested,)),
    Kind("vocabulary", make_vocabulary("vocab.json"), read_vocabulary, "json", (nested,)),
    Kind("merges", make_vocabulary("merges.txt"), read_vocabulary),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
