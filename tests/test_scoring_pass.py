"""The scoring pass: one bad picture fails alone, nothing is judged twice, and batches change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import brightness
import numpy as np
import pytest
from brightness import JUDGED, LOADED
from conftest import Cli
from PIL import Image

from agsm_bench import plugins, score_images
from agsm_bench.errors import UserError
from agsm_bench.scoring import selection

GREYS = (50, 0, 100, 150, 200)


@pytest.fixture(autouse=True)
def _third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plugin beside the others, as an entry point would bring it."""
    own = {"bright": brightness.METRIC}
    others = selection.image_metrics()
    monkeypatch.setattr(selection, "image_metrics", lambda: others | own)
    LOADED.clear()
    JUDGED.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five grey pictures, a text file named .png and half a PNG, with a line of prompts each."""
    path = tmp_path / "images"
    path.mkdir()
    for index, grey in enumerate(GREYS):
        Image.new("RGB", (8, 8), (grey,) * 3).save(path / f"{index}.png")
    (path / "5.png").write_text("hello")
    Image.effect_noise((64, 64), 50).save(path / "6.png")
    (path / "6.png").write_bytes((path / "6.png").read_bytes()[:1000])
    lines = [{"file": f"{index}.png", "prompt": f"grey {index}"} for index in range(7)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def lines_of(out: Path) -> dict[tuple[str, str], dict[str, object]]:
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    return {(row["sample_id"], row["metric"]): row for row in rows}


def score(cli: Cli, folder: Path, *arguments: object) -> tuple[int, str, str]:
    named = ("--images", folder, "--prompts", folder.parent / "prompts.jsonl", "--out", folder.parent / "out")
    return cli("score", *named, *arguments)


def test_bad_pictures_are_unscored_and_the_others_scored(cli: Cli, folder: Path) -> None:
    code, out, err = score(cli, folder, "--metrics", "bright")
    assert code == 0, err
    found = lines_of(folder.parent / "out")
    assert {key[0]: row["value"] for key, row in found.items()} == {
        "0": 50.0, "1": None, "2": None, "3": 150.0, "4": 200.0, "5": None, "6": None,
    }  # fmt: skip
    reasons = {key[0]: str(row["reason"]) for key, row in found.items() if row["value"] is None}
    assert reasons["1"] == "the score is nan"
    assert reasons["2"] == "RuntimeError: no score for this grey"
    assert reasons["5"] == "the image: it is no picture"
    assert reasons["6"].startswith("the image: OSError: ")
    summary = json.loads((folder.parent / "out" / "summary.json").read_text())
    assert (summary["metrics"]["bright"]["n"], summary["metrics"]["bright"]["unscored"]) == (3, 4)
    assert "5 by bright: the image: it is no picture" in out.replace("\n", " ")


def test_what_is_scored_is_not_scored_again(cli: Cli, folder: Path) -> None:
    score(cli, folder, "--metrics", "bright")
    before = (folder.parent / "out" / "scores.jsonl").read_bytes()
    JUDGED.clear()
    assert score(cli, folder, "--metrics", "bright")[0] == 0
    assert not JUDGED
    assert (folder.parent / "out" / "scores.jsonl").read_bytes() == before
    Image.new("RGB", (8, 8), (60,) * 3).save(folder / "0.png")  # another picture under the same name
    score(cli, folder, "--metrics", "bright")
    assert JUDGED == [("bright", 1)]
    assert lines_of(folder.parent / "out")["0", "bright"]["value"] == 60.0


def test_a_killed_pass_goes_on_and_ends_with_the_same_bytes(cli: Cli, folder: Path) -> None:
    score(cli, folder, "--metrics", "bright", "--batch-size", 1)
    store = folder.parent / "out" / "scores.jsonl"
    whole = store.read_bytes()
    lines = whole.splitlines(keepends=True)
    store.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # torn in the fourth line
    JUDGED.clear()
    score(cli, folder, "--metrics", "bright", "--batch-size", 2)
    assert store.read_bytes() == whole
    assert sum(size for _, size in JUDGED) < 5


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_neither_order_nor_batch_changes_a_score(batch_size: int) -> None:
    images = [np.full((4, 4, 3), grey, np.uint8) for grey in (10, 20, 30, 40, 50, 60)]
    found = score_images(images, metrics=["bright"], device="cpu", batch_size=batch_size)
    assert found.scores["bright"] == [10, 20, 30, 40, 50, 60]
    turned = score_images(images[::-1], metrics=["bright"], device="cpu", batch_size=batch_size)
    assert turned.scores["bright"] == found.scores["bright"][::-1]
    assert turned.metrics["bright"].value == found.metrics["bright"].value == 35


def test_variants_share_one_load(cli: Cli, folder: Path) -> None:
    score(cli, folder, "--metrics", "bright,bright/change", "--references", folder)
    assert LOADED == [("bright", "bright/change")]
    found = lines_of(folder.parent / "out")
    assert found["0", "bright"]["value"] == 50.0
    assert found["3", "bright/change"]["value"] is None  # the same picture: brightness's own 'not a number'


def test_a_missing_reference_leaves_the_other_metrics_alone(cli: Cli, folder: Path, tmp_path: Path) -> None:
    references = tmp_path / "references"
    references.mkdir()
    Image.new("RGB", (8, 8), (20,) * 3).save(references / "0.png")
    (references / "4.png").write_text("no picture")
    score(cli, folder, "--metrics", "bright,bright/change", "--references", references)
    found = lines_of(folder.parent / "out")
    assert (found["0", "bright/change"]["value"], found["3", "bright"]["value"]) == (30.0, 150.0)
    assert str(found["3", "bright/change"]["reason"]).startswith("its reference cannot be read (No such file")
    assert str(found["4", "bright/change"]["reason"]) == "its reference: it is no picture"


def test_features_of_a_set_are_kept_and_compared(cli: Cli, folder: Path) -> None:
    for index in range(5, 20):  # ten clusters and more, so that the distance has an interval
        Image.new("RGB", (8, 8), (index * 9 + 1,) * 3).save(folder / f"{index}.png")
    lines = [{"file": f"{index}.png", "prompt": f"grey {index}"} for index in range(20)]
    (folder.parent / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = score(cli, folder, "--metrics", "bright/features", "--references", folder, "--json")
    assert code != 0, "the references have no prompt, and this metric needs one"
    reference = np.load(folder.parent / "out" / "features" / "bright-features" / "000000.npz")
    assert reference["features"].shape == (20, 3)
    assert "has no features: it has no prompt" in err
    assert not out


def test_a_metric_that_is_not_there(cli: Cli, folder: Path) -> None:
    code, _, err = score(cli, folder, "--metrics", "brigt")
    assert (code, "Did you mean bright" in err) == (2, True)
    code, _, err = score(cli, folder, "--metrics", "clip")
    assert (code, "Did you mean clip/openai-l14" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("score",), "Name a run, or images"),
        (("score", "run", "--images", "x"), "Name a run, or images"),
        (("score", "--images", "images"), "--images needs metrics"),
        (("score", "--images", "nowhere", "--metrics", "bright"), "There is no folder nowhere"),
        (("score", "--images", "images", "--metrics", "bright", "--weights", "x"), "NAME=PATH"),
        (("score", "--images", "images", "--metrics", "bright", "--references", "nowhere"), "There is no nowhere"),
        (("score", "--images", "images", "--metrics", "bright/features"), "Add --references DIR or FILE.npz"),
        (("score", "--images", "images", "--metrics", "bright", "--prompts", "two.txt"), "2 prompts, and images has 7"),
        (("score", "--images", "images", "--metrics", "bright", "--prompts", "two.csv"), "5 of 7 pictures in images"),
        (("score", "--images", "images", "--metrics", "bright", "--prompts", "a.xls"), "Use a file that ends in"),
        (("score", "--images", "images", "--metrics", "bright", "--prompts", "none.csv"), "has no column `prompt`"),
        (("score", "--images", "bad.parquet", "--metrics", "bright"), "bad.parquet cannot be read"),
    ],
)
def test_refusals(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], word: str
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("two.txt").write_text("one\ntwo\n")
    Path("two.csv").write_text("file,prompt\n0.png,one\n1.png,two\n")
    Path("none.csv").write_text("file,words\n0.png,one\n")
    Path("bad.parquet").write_bytes(b"no parquet")
    code, _, err = cli(*arguments)
    assert (code in (2, 3), word in " ".join(err.split())) == (True, True), err
    assert not LOADED


def test_lists_of_different_lengths() -> None:
    with pytest.raises(UserError, match="There are 1 prompts for 2 images"):
        score_images([np.zeros((2, 2, 3), np.uint8)] * 2, ["one"], metrics=["bright"])
    with pytest.raises(UserError, match="An image is a list"):
        score_images([[1, 2]], metrics=["bright"])  # type: ignore[list-item]


def test_models_that_do_not_fit_together_have_their_turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agsm_bench.scoring import settings
    from agsm_bench.scoring.selection import choose

    chosen = choose(["bright", "psnr"])
    monkeypatch.setattr(type(chosen[0]), "bytes", property(lambda self: 100))
    for free, turns in ((1000, 1), (150, 2)):
        monkeypatch.setattr(settings, "free_bytes", lambda device, free=free: free)
        assert len(list(settings.PassSettings().turns(chosen))) == turns


def test_broken_plugins_do_not_take_the_list_down(cli: Cli) -> None:
    code, out, _ = cli("list", "metrics")
    assert code == 0
    for name in plugins.names("metrics"):
        assert f"\n  {name} " in f"\n{out}"
    line = next(line for line in out.splitlines() if line.strip().startswith("hpsv2/v2.1"))
    assert "↑ up" in line
    assert "weights missing" in line
    assert "[metrics]" in line
