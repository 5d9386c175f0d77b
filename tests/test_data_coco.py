"""COCO: which image, which caption, which pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coco_tiny import caption, write_coco
from PIL import Image

from agsm_bench.data import coco
from agsm_bench.data.coco import CocoPairs, coco_images, picture, val5k
from agsm_bench.errors import MissingError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path))
    write_coco(tmp_path)
    return tmp_path


def test_val5k_is_sorted_and_has_the_first_caption(root: Path) -> None:
    assert [(image.id, text) for image, text in val5k()] == [(139, caption(139, 0)), (632, caption(632, 0))]


def test_every_epoch_has_each_image_once_in_an_order_of_its_own(root: Path) -> None:
    data = CocoPairs(0, held_out=False, size=8)
    epochs = [[data.item(3 * epoch + i)[1].split()[0] for i in range(3)] for epoch in range(12)]
    assert all(sorted(epoch) == ["25", "30", "9"] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_pairs_depend_on_seed_and_index_alone(root: Path) -> None:
    captions = [CocoPairs(0, False, 8).item(i)[1] for i in range(60)]
    assert captions[::-1] == [CocoPairs(0, False, 8).item(i)[1] for i in reversed(range(60))]
    assert captions != [CocoPairs(1, False, 8).item(i)[1] for i in range(60)]
    assert {caption.split()[-1] for caption in captions} == {f"{n}." for n in range(5)}


def test_held_out_pairs_are_of_val2017(root: Path) -> None:
    assert {CocoPairs(0, True, 8).item(i)[1].split()[0] for i in range(4)} == {"139", "632"}


def test_only_an_image_met_twice_is_a_false_negative(root: Path) -> None:
    data = CocoPairs(0, held_out=False, size=8)
    assert not data.false_negatives(range(3)).any()
    names = [data.item(i)[1].split()[0] for i in range(6)]
    expected = [[a == b and i != j for j, b in enumerate(names)] for i, a in enumerate(names)]
    assert data.false_negatives(range(6)).tolist() == expected


def test_the_largest_square_around_the_centre_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 255
    for mode in ("RGB", "L"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "wide.png")
        assert picture(tmp_path / "wide.png", 16).shape == (16, 16, 3)
        assert (picture(tmp_path / "wide.png", 16) == 255).all()


def test_a_missing_and_a_damaged_image_are_named(root: Path) -> None:
    path = root / "coco" / "val2017" / "000000000139.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MissingError, match=r"000000000139\.jpg is gone or damaged.*data verify coco-val2017"):
        picture(path, 8)
    path.unlink()
    with pytest.raises(MissingError, match=r"000000000139\.jpg is gone or damaged"):
        picture(path, 8)
    with pytest.raises(MissingError, match="data get coco-val2017"):
        coco_images("val2017")


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": [], "annotations": [{"image_id": 1}]}'])
def test_damaged_captions_are_named(root: Path, content: str) -> None:
    coco._read.cache_clear()
    (root / "coco" / "annotations" / "captions_val2017.json").write_text(content)
    with pytest.raises(MissingError, match=r"captions_val2017\.json is damaged.*data get coco-captions --again"):
        val5k()


def test_absent_data_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="agsm-bench data get coco-train2017"):
        CocoPairs(0, held_out=False).item(0)


def test_the_version_is_that_of_pictures_and_captions(root: Path) -> None:
    data = CocoPairs(0, False, 8)
    before = data.version()
    assert CocoPairs(1, False, 16).version() == before != CocoPairs(0, True, 8).version()
    record = root / ".records" / "coco-train2017.json"
    record.write_text(record.read_text().replace('": "', '": "0', 1))
    assert CocoPairs(0, False, 8).version() != before
