"""Anybody's images: GenEval's layout, folders with files of prompts, parquet; and the Python API."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agsm_bench import score_images
from agsm_bench.errors import MissingError, UserError
from agsm_bench.scoring.items import Item
from agsm_bench.scoring.sources import files_in, read_items


def save(path: Path, grey: int = 90) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), (grey,) * 3).save(path)
    return path.read_bytes()


def described(items: list[Item]) -> list[tuple[str, str | None, str]]:
    return [(item.id, item.prompt, item.cluster) for item in items]


def test_genevals_layout_has_its_prompts(tmp_path: Path) -> None:
    for index, prompt in enumerate(("a dog", "two cats")):
        for sample in (0, 1):
            save(tmp_path / f"{index:05d}" / "samples" / f"{sample:04d}.png")
        (tmp_path / f"{index:05d}" / "metadata.jsonl").write_text(json.dumps({"prompt": prompt}) + "\n")
    save(tmp_path / "00000" / "grid.png")  # upstream writes one; it is no sample
    expected = [
        ("00000/0000", "a dog", "00000"),
        ("00000/0001", "a dog", "00000"),
        ("00001/0000", "two cats", "00001"),
        ("00001/0001", "two cats", "00001"),
    ]
    assert described(read_items(tmp_path, None)) == expected
    (tmp_path / "00000" / "metadata.jsonl").write_text("no json")
    with pytest.raises(MissingError, match=r"metadata.jsonl is damaged"):
        read_items(tmp_path, None)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt"])
def test_folders_with_files_of_prompts(tmp_path: Path, kind: str) -> None:
    for name in ("b.png", "a.jpg", "sub/c.webp"):
        save(tmp_path / "images" / name)
    (tmp_path / "images" / "notes.txt").write_text("not a picture, and nobody takes it for one")
    rows = [("a.jpg", "ä, ö"), ("b.png", "two"), ("sub/c.webp", "three")]
    path = tmp_path / f"prompts.{kind}"
    if kind == "txt":
        path.write_text("\n".join(text for _, text in rows) + "\n", "utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"file_name": f, "caption": t}) + "\n\n" for f, t in rows[::-1]), "utf-8")
    else:
        frame = pd.DataFrame(rows, columns=["image", "text"])
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    found = {item.id: item.prompt for item in read_items(tmp_path / "images", path)}
    assert found == {"a": "ä, ö", "b": "two", "sub/c": "three"}


def test_references_and_masks_go_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.png")
    one, mask = save(tmp_path / "references" / "a.jpg", 1), save(tmp_path / "masks" / "b.png", 255)
    first, second = read_items(tmp_path / "images", None, tmp_path / "references", tmp_path / "masks")
    assert (first.reference and first.reference(), second.mask and second.mask()) == (one, mask)
    assert second.reference is not None
    with pytest.raises(OSError, match="No such file"):
        second.reference()
    assert first.digest() != read_items(tmp_path / "images", None)[0].digest()


def test_parquet_with_bytes_or_the_hubs_structs(tmp_path: Path) -> None:
    png = save(tmp_path / "a.png", 7)
    plain = pd.DataFrame({"image": [png, png], "caption": ["one", "two"]})
    hub = pd.DataFrame({"image": [{"bytes": png, "path": "a.png"}], "prompt": ["one"], "reference": [png]})
    for name, frame in (("plain", plain), ("hub", hub)):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    assert described(read_items(tmp_path / "plain.parquet", None)) == [
        ("000000", "one", "one"),
        ("000001", "two", "two"),
    ]
    (item,) = read_items(tmp_path / "hub.parquet", None)
    assert (item.image(), item.reference and item.reference()) == (png, png)
    with pytest.raises(UserError, match="has its own prompts"):
        read_items(tmp_path / "hub.parquet", tmp_path / "x.csv")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(UserError, match="no column `image`"):
        read_items(tmp_path / "none.parquet", None)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "plain.parquet").read_bytes()[:-20])
    with pytest.raises(MissingError, match="cannot be read"):
        read_items(tmp_path / "cut.parquet", None)


def test_two_files_of_one_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a.jpg and a.png in .* have one name"):
        files_in(tmp_path)


def test_the_api_takes_files_bytes_pictures_and_arrays(tmp_path: Path) -> None:
    data = save(tmp_path / "a.png", 50)
    path, light = tmp_path / "a.png", np.full((24, 24, 3), 60, np.uint8)
    images = [path, str(path), data, Image.open(path), light]
    names = ["mse", "shapes_clip/score"]
    found = score_images(images, ["a red square"] * 5, names, references=[light] * 5, device="cpu")
    expected = [(10 / 255) ** 2] * 4 + [0]
    assert found.scores["mse"] == pytest.approx(expected, abs=1e-8)
    assert found.metrics["mse"].value == pytest.approx(np.mean(expected), abs=1e-8)
    assert len(set(found.scores["shapes_clip/score"][:4])) == 1
    assert found.reasons["mse"] == [None] * 5
    with pytest.raises(UserError, match="There is no metric 'psnrr'"):
        score_images(images, metrics=["psnrr"])
