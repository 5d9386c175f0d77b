"""Eight processes that write their shards at the same time, and the union of these."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from store_runs import evaluate, means, tree

from agsm_bench.shards import in_shard, merge
from agsm_bench.types import Prompt, Sample

SHARDS = 8


def samples_of(prompts: int) -> list[Sample]:
    asked = [
        Prompt(f"{i:05d}", f"prompt {i}", "counting", {"tag": "counting", "prompt": f"{i}"}) for i in range(prompts)
    ]
    return [Sample(prompt, index) for prompt in asked for index in range(4)]


def write_shard(folder: Path, index: int, prompts: int, together: Barrier) -> None:
    samples = samples_of(prompts)
    mine = [sample for sample in samples if in_shard(sample.id, index, SHARDS)]
    together.wait(timeout=60)
    evaluate(folder, mine, shard=(index, SHARDS), expected=len(samples))


@pytest.mark.parametrize("prompts", [40, pytest.param(5000, marks=pytest.mark.slow)])
def test_shards_written_at_once_are_as_one_process(tmp_path: Path, prompts: int) -> None:
    context = get_context("spawn")
    together = context.Barrier(SHARDS)
    folders = [tmp_path / f"shard{index}" for index in range(SHARDS)]
    processes = [
        context.Process(target=write_shard, args=(folder, index, prompts, together))
        for index, folder in enumerate(folders)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * SHARDS
    with merge(folders, tmp_path / "merged") as run:
        run.finalise(means(run))
    evaluate(tmp_path / "whole", samples_of(prompts), expected=4 * prompts)
    assert tree(tmp_path / "merged") == tree(tmp_path / "whole")
