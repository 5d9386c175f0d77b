"""Kills, torn lines, lost images and a full disk: a resumed run ends with the bytes of an unbroken one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from store_runs import SAMPLES, evaluate, means, opened, png_of, scores_of, tree, work

from agsm_bench.errors import MissingError, UserError
from agsm_bench.jsonl import Journal
from agsm_bench.store import Run
from agsm_bench.types import Sample


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    evaluate(tmp_path / "whole")
    return tree(tmp_path / "whole")


@pytest.mark.parametrize("seed", range(5))
def test_order_and_interruptions_do_not_show(tmp_path: Path, whole: dict[str, bytes], seed: int) -> None:
    shuffled = Random(seed).sample(SAMPLES, len(SAMPLES))
    with opened(tmp_path / "run") as run:
        work(run, shuffled[:2])
    with opened(tmp_path / "run") as run:
        run.add_image(shuffled[2], png_of(shuffled[2]))
        work(run, shuffled)
        run.add_scores(scores_of(shuffled[0]))
        run.finalise(means(run))
    assert tree(tmp_path / "run") == whole


def finalised(folder: Path, samples: Sequence[Sample]) -> None:
    """Without means, which take their time."""
    with opened(folder, expected=len(samples)) as run:
        work(run, samples)
        run.finalise({})


@pytest.mark.parametrize("name", ["samples.jsonl", "scores.jsonl"])
def test_truncated_anywhere_it_ends_the_same(tmp_path: Path, name: str) -> None:
    few, folder = SAMPLES[2:4], tmp_path / "run"
    finalised(tmp_path / "whole", few)
    with opened(folder, expected=2) as run:
        work(run, reversed(few))
    full = (folder / name).read_bytes()
    edges = [i + d for i, byte in enumerate(full) if byte == ord("\n") for d in (-1, 0, 1, 2)]
    for length in sorted({*range(0, len(full), 7), *edges}):
        (folder / name).write_bytes(full[:length])
        finalised(folder, few)
        assert tree(folder) == tree(tmp_path / "whole"), length


@pytest.mark.parametrize("seed", range(20))
def test_both_files_truncated_it_ends_the_same(tmp_path: Path, whole: dict[str, bytes], seed: int) -> None:
    random = Random(seed)
    with opened(tmp_path / "run") as run:
        work(run, random.sample(SAMPLES, 5))
    for name in ("samples.jsonl", "scores.jsonl"):
        path = tmp_path / "run" / name
        os.truncate(path, random.randrange(path.stat().st_size + 1))
    evaluate(tmp_path / "run")
    assert tree(tmp_path / "run") == whole


def test_after_a_torn_line_the_next_is_whole(tmp_path: Path) -> None:
    """Without a finalise in between, which would rewrite the file."""
    with opened(tmp_path) as run:
        work(run, SAMPLES[:2])
    path = tmp_path / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert list(Run.open(tmp_path).missing(SAMPLES[:2])) == [SAMPLES[1]]
    with opened(tmp_path) as run:
        work(run, SAMPLES[:3])
    assert not list(Run.open(tmp_path).missing(SAMPLES[:3]))
    assert list(Run.open(tmp_path).missing(SAMPLES)) == SAMPLES[3:]


@pytest.mark.parametrize("torn", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16])
@pytest.mark.parametrize("lines", [b"", b"1\n", b"1\n22\n"])
def test_a_torn_line_of_any_length_is_cut_off(tmp_path: Path, lines: bytes, torn: int) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(lines + b"7" * torn)
    assert list(Journal(path).read(int)) == [int(line) for line in lines.split()]
    Journal(path).repair()
    assert path.read_bytes() == lines


def test_a_file_is_not_replaced_by_what_cannot_be_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "some.jsonl")
    journal.replace([{"a": 1}])
    with pytest.raises(ValueError, match="JSON"):
        journal.replace([{"a": 2}, {"a": float("nan")}])
    assert [path.read_text() for path in tmp_path.iterdir()] == ['{"a": 1}\n']


@pytest.mark.parametrize("damage", [b"", b"PNG of", None])
def test_a_lost_or_altered_image_is_made_again(tmp_path: Path, whole: dict[str, bytes], damage: bytes | None) -> None:
    evaluate(tmp_path / "run")
    path = Run.open(tmp_path / "run").image_path(SAMPLES[3].id)
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(MissingError, match=r"0001\.png is absent or altered"):
        list(Run.open(tmp_path / "run").images(SAMPLES))
    assert list(Run.open(tmp_path / "run").missing(SAMPLES)) == [SAMPLES[3]]
    evaluate(tmp_path / "run")
    assert tree(tmp_path / "run") == whole


def test_leftovers_of_a_kill_while_writing_vanish(tmp_path: Path, whole: dict[str, bytes]) -> None:
    with opened(tmp_path / "run") as run:
        work(run, SAMPLES[:2])
    (tmp_path / "run/images/00001/samples").mkdir(parents=True)
    (tmp_path / "run/images/00001/.metadata.jsonl.part").write_text("{")
    (tmp_path / "run/images/00001/samples/.0000.png.part").write_text("PN")
    (tmp_path / "run/images/00001/samples/0000.png").write_text("not recorded")
    evaluate(tmp_path / "run")
    assert tree(tmp_path / "run") == whole


@pytest.mark.parametrize("name", ["samples.jsonl", "scores.jsonl"])
@pytest.mark.parametrize("line", [b"{", b"3", b"{}", b'{"sample_id": "../../x/0000", "sha256": ""}', b"\xff"])
def test_a_damaged_middle_line_is_named(tmp_path: Path, name: str, line: bytes) -> None:
    evaluate(tmp_path)
    lines = (tmp_path / name).read_bytes().split(b"\n")
    (tmp_path / name).write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(MissingError, match=rf"{name} line 3 is damaged.*sed -i 3d"):
        list(Run.open(tmp_path).missing(SAMPLES)), Run.open(tmp_path).scores()


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        with (tmp_path / "scores.jsonl").open("ab") as stream:
            stream.write(b'{"imag')
        raise OSError(28, "No space left on device")

    with opened(tmp_path) as run:
        work(run, SAMPLES[:1])
        with monkeypatch.context() as patch:
            patch.setattr("agsm_bench.jsonl.SYNC_EVERY", 1)
            patch.setattr(os, "fsync", full)
            with pytest.raises(UserError, match="No space left on device"):
                run.add_scores(scores_of(SAMPLES[0]))
        work(run)
    assert len(Run.open(tmp_path).scores()) == len(SAMPLES)
