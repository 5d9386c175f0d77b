"""Shards: a partition of the samples, and a union that is as one process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_runs import METRICS, NOTE, SAMPLES, SPEC, evaluate, means, opened, tree

from agsm_bench.errors import MissingError, UserError
from agsm_bench.shards import in_shard, merge
from agsm_bench.store import Run
from agsm_bench.types import Score


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    evaluate(tmp_path / "whole")
    return tree(tmp_path / "whole")


@given(st.text(), st.integers(1, 9))
def test_every_sample_is_in_one_shard(sample_id: str, count: int) -> None:
    assert sum(in_shard(sample_id, index, count) for index in range(count)) == 1


def test_shards_are_stable_and_balanced() -> None:
    ids = [f"{i:05d}/{j:04d}" for i in range(553) for j in range(4)]
    sizes = [sum(in_shard(sample_id, index, 4) for sample_id in ids) for index in range(4)]
    assert all(abs(size - 553) < 80 for size in sizes)
    for index, count in ((4, 4), (-1, 4), (0, 0)):
        with pytest.raises(UserError, match="no shard"):
            in_shard("00000/0000", index, count)


def shards(tmp_path: Path, count: int = 3) -> list[Path]:
    folders = [tmp_path / f"shard{index}" for index in range(count)]
    for index, folder in enumerate(folders):
        mine = [sample for sample in SAMPLES if in_shard(sample.id, index, count)]
        note = NOTE | {"command": f"--shard {index}/{count}"}
        assert not evaluate(folder, mine, shard=(index, count), provenance=note)["complete"]
    return folders


def finish(runs: Sequence[Path], into: Path) -> dict[str, bytes]:
    with merge(runs, into) as run:
        run.finalise(means(run))
    return tree(into)


def test_merged_in_any_order_shards_are_as_one_process(tmp_path: Path, whole: dict[str, bytes]) -> None:
    manifests = set()
    for i, order in enumerate(permutations(shards(tmp_path))):
        assert finish(order, tmp_path / f"merged{i}") == whole
        manifests.add((tmp_path / f"merged{i}" / "manifest.json").read_bytes())
    assert len(manifests) == 1
    assert len(Run.open(tmp_path / "merged0").manifest.provenance) == 3


def test_a_part_can_be_merged_first_and_the_rest_later(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folders = shards(tmp_path)
    finish(folders[:2], tmp_path / "merged")
    assert not json.loads((tmp_path / "merged" / "summary.json").read_text())["complete"]
    Run.open(tmp_path / "merged").image_path(SAMPLES[0].id).unlink(missing_ok=True)
    assert finish(folders, tmp_path / "merged") == whole


def test_other_runs_and_contradictions_are_not_merged(tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    evaluate(tmp_path / "b", spec=replace(SPEC, seed=1))
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "into")
    for name, change in (("c", "image"), ("d", "score")):
        evaluate(tmp_path / name)
        with opened(tmp_path / name) as run:
            if change == "image":
                run.add_image(SAMPLES[0], b"other")
            run.add_scores([Score(SAMPLES[0].id, METRICS[0], 0.125)])
        with pytest.raises(UserError, match=f"holds another .*{SAMPLES[0].id}"):
            merge([tmp_path / "a", tmp_path / name], tmp_path / f"into-{name}")
        opened(tmp_path / f"into-{name}").close()
    with pytest.raises(UserError, match="nothing to merge"):
        merge([], tmp_path / "into")


def test_a_merge_judged_again_by_another_version_is_no_contradiction(tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    merge([tmp_path / "a"], tmp_path / "into").close()
    newer = Score(SAMPLES[0].id, METRICS[0], 0.125, version="2")
    with opened(tmp_path / "into") as run:
        run.add_scores([newer])
    with merge([tmp_path / "a"], tmp_path / "into") as merged:
        assert merged.scores()[SAMPLES[0].id][METRICS[0]] == newer
        assert list(merged.unscored(SAMPLES, METRICS[:1], "2")) == SAMPLES[1:]


def test_a_lost_image_of_a_shard_is_named(tmp_path: Path) -> None:
    evaluate(tmp_path / "a")
    (tmp_path / "a/images/00001/metadata.jsonl").unlink()
    with pytest.raises(MissingError, match=r"metadata\.jsonl is absent"):
        merge([tmp_path / "a"], tmp_path / "b")
    Run.open(tmp_path / "a").image_path(SAMPLES[0].id).unlink()
    with pytest.raises(MissingError, match=r"0000\.png is absent or altered"):
        merge([tmp_path / "a"], tmp_path / "c")


def test_a_reason_for_no_image_gives_way_to_the_image_of_another_shard(tmp_path: Path, whole: dict[str, bytes]) -> None:
    evaluate(tmp_path / "a")
    with opened(tmp_path / "b") as run:
        run.add_scores([Score(SAMPLES[0].id, METRICS[0], None, "out of memory")])
    assert finish([tmp_path / "b", tmp_path / "a"], tmp_path / "c") == whole
