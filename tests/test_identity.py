"""Identities of specs and files."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agsm_bench.errors import MissingError
from agsm_bench.identity import canonical_json, hash_files, identity
from agsm_bench.types import RunSpec

SPEC = RunSpec("geneval", "shapes", "shapes-unet", "w" * 64, 3.0, 20, 64, 0, 4)
OTHER: dict[str, Any] = {
    "benchmark": "coco_val5k",
    "domain": "photo",
    "backbone": "sd15",
    "weights": "v" * 64,
    "guidance_scale": 3.5,
    "steps": 21,
    "size": 65,
    "seed": 1,
    "images_per_prompt": 5,
    "tokens": "t" * 64,
    "unconditional": "negative",
    "model": {"dtype": "float16"},
    "editing": {"editor": "masactrl"},
}


def test_it_never_changes() -> None:
    """Pinned: run folders of earlier versions are to be found again."""
    assert identity(SPEC) == "09486b08d6407821cef38e8299f2e86742428dbe67479cbc844cd8641b8c865d"


def test_every_field_counts() -> None:
    assert OTHER.keys() == {field.name for field in fields(RunSpec)}
    changed = [identity(replace(SPEC, **{name: value})) for name, value in OTHER.items()]
    assert len({identity(SPEC), *changed}) == len(OTHER) + 1


@given(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False))
def test_equal_numbers_are_equal(number: float) -> None:
    """3 and 3.0, 0.0 and -0.0."""
    assert identity(replace(SPEC, guidance_scale=number)) == identity(replace(SPEC, guidance_scale=float(number)))
    assert canonical_json(-0.0) == canonical_json(0)


def test_canonical_json_reaches_inside_and_refuses_nan() -> None:
    assert canonical_json({"b": [1.0, (2.5,)], "a": {"c": True}}) == '{"a":{"c":true},"b":[1,[2.5]]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [folder / name for name in files]


def test_files_are_hashed_by_name_and_content_wherever_they_lie(tmp_path: Path) -> None:
    paths = write(tmp_path / "a", {"unet/config.json": "1", "vae/config.json": "2"})
    known = hash_files(paths)
    assert hash_files([*reversed(paths), paths[0]]) == known
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert hash_files((tmp_path / "b").rglob("*.json")) == known
    others: list[dict[str, str]] = [
        {"unet/config.json": "2", "vae/config.json": "1"},
        {"unet/config.json": "1", "vae/config.js": "2"},
        {"unet/config.json": "1"},
    ]
    hashes = {hash_files(write(tmp_path / f"c{i}", files)) for i, files in enumerate(others)}
    assert len(hashes | {known}) == 4


def test_a_link_counts_as_the_file_by_its_own_name(tmp_path: Path) -> None:
    """The hub cache links names to blobs."""
    (blob,) = write(tmp_path / "blobs", {"abc": "1"})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model").symlink_to(blob)
    assert hash_files([tmp_path / "snapshot" / "model"]) == hash_files(write(tmp_path / "d", {"model": "1"}))


def test_absent_files_are_named_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"model\.safetensors cannot be read"):
        hash_files([tmp_path / "model.safetensors"])
    with pytest.raises(ValueError, match="no files"):
        hash_files([])
