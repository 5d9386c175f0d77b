"""HPSv2 equals hpsv2's vendored model and its preprocessing on the same random weights."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from metric_pictures import check_company, judged, picture, pictures, weight_files
from upstream import bare, folder_of

from agsm_bench.errors import MissingError
from agsm_bench.metric import Judge, Picture, ReadsPrompts
from agsm_bench.metrics import hpsv2

NEW, OLD = "hpsv2/v2.1", "hpsv2/v2.0"
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoint of a small model of the same kind, as hpsv2 saves it; ViT-H-14 stands for that model."""
    import open_clip
    from open_clip import factory

    path = tmp_path_factory.mktemp("hps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(factory._MODEL_CONFIGS, "tiny-hps", TINY)
        patch.setattr(hpsv2, "ARCHITECTURE", "tiny-hps")
        torch.manual_seed(0)
        model = open_clip.create_model("tiny-hps")
        for value in model.parameters():
            torch.nn.init.normal_(value, std=0.1) if value.ndim > 1 else None
        torch.save({"state_dict": model.state_dict()}, path / hpsv2.FILES[NEW])
        torch.save({"state_dict": {k: v + 1 for k, v in model.state_dict().items()}}, path / hpsv2.FILES[OLD])
        yield path


@pytest.fixture(scope="module")
def ours(folder: Path) -> Judge:
    return hpsv2.METRIC.load([NEW], weight_files(hpsv2.METRIC, NEW, folder), "cpu")


@pytest.fixture(scope="module")
def upstream(folder: Path) -> tuple[Any, Any, Any]:
    """hpsv2's model with these weights, its preprocessing, and the tokenizer that its wheel lacks the words for."""
    import open_clip

    with bare("hpsv2", "src", "src.open_clip"):
        module = importlib.import_module("hpsv2.src.open_clip.model")
        transform = importlib.import_module("hpsv2.src.open_clip.transform")
    model = module.CLIP(**TINY, output_dict=True).eval()
    model.load_state_dict(torch.load(folder / hpsv2.FILES[NEW], weights_only=True)["state_dict"])
    preprocess = transform.image_transform(224, is_train=False, resize_longest_max=True)
    return model, preprocess, open_clip.get_tokenizer("ViT-H-14")


def test_pixels_are_upstreams(upstream: tuple[Any, Any, Any]) -> None:
    for size in ((300, 200), (37, 211), (224, 224), (640, 641), (500, 9), (1, 1)):
        image = picture(size, 1)
        np.testing.assert_allclose(hpsv2.hps_pixels(np.asarray(image)), upstream[1](image), atol=1e-6)


def test_scores_are_upstreams(upstream: tuple[Any, Any, Any], ours: Judge) -> None:
    model, preprocess, tokenizer = upstream
    expected = []
    with torch.inference_mode():
        for each in pictures():
            found = model(preprocess(each.image)[None], tokenizer([each.prompt]))
            expected.append(float((found["image_features"] @ found["text_features"].T)[0, 0]))
    np.testing.assert_allclose(check_company(ours, NEW, pictures()), expected, atol=1e-4)
    assert np.std(expected) > 0.01


def test_tokens_of_a_prompt_are_counted(ours: Judge) -> None:
    assert isinstance(ours, ReadsPrompts)
    assert [ours.tokens("dog " * words) for words in (0, 75, 76)] == [(2, 2), (77, 77), (78, 77)]


def test_a_picture_of_the_side_that_is_not_square_is_padded(ours: Judge) -> None:
    """Upstream pads only what it resizes, and fails."""
    assert np.isfinite(judged(ours, NEW, [Picture(picture((224, 100), 0), "a dog")])).all()


def test_a_thin_picture_keeps_a_row(ours: Judge) -> None:
    assert np.isfinite(judged(ours, NEW, [Picture(picture((1000, 1), 0), "a dog")])).all()


def test_the_other_versions_checkpoint_is_refused(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from agsm_bench.weight_files import WeightFile, find

    weights = hpsv2.METRIC.variants[NEW].weights
    by_name = find(NEW, weights, folder / hpsv2.FILES[OLD])
    with pytest.raises(MissingError, match=r"is the checkpoint of hpsv2/v2.0, not of hpsv2/v2.1"):
        hpsv2.METRIC.load([NEW], by_name, "cpu")
    renamed = tmp_path / "mine.pt"
    renamed.write_bytes((folder / hpsv2.FILES[OLD]).read_bytes())
    known = folder / hpsv2.FILES[OLD]
    monkeypatch.setattr(WeightFile, "located", lambda self: known if self.file == hpsv2.FILES[OLD] else None)
    with pytest.raises(MissingError, match=r"mine.pt is the checkpoint of hpsv2/v2.0"):
        hpsv2.METRIC.load([NEW], find(NEW, weights, renamed), "cpu")
    assert hpsv2.METRIC.load([OLD], find(OLD, hpsv2.METRIC.variants[OLD].weights, renamed), "cpu")


def test_links_do_not_hide_the_version(folder: Path, tmp_path: Path) -> None:
    """A link of another name to the file, and the hub cache's kind, where only the link has a name."""
    (tmp_path / "mine.pt").symlink_to(folder / hpsv2.FILES[OLD])
    (tmp_path / "blob").write_bytes((folder / hpsv2.FILES[NEW]).read_bytes())
    (tmp_path / hpsv2.FILES[OLD]).symlink_to(tmp_path / "blob")
    for link in (tmp_path / "mine.pt", tmp_path / hpsv2.FILES[OLD]):
        with pytest.raises(MissingError, match=r"is the checkpoint of hpsv2/v2.0"):
            hpsv2.METRIC.load([NEW], {hpsv2.FILES[NEW]: link}, "cpu")


def test_another_models_checkpoint(folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"visual.proj": torch.zeros(2)}}, tmp_path / "other.pt")
    with pytest.raises(MissingError, match=r"other.pt is the checkpoint of another model: it lacks"):
        hpsv2.METRIC.load([NEW], {hpsv2.FILES[NEW]: tmp_path / "other.pt"}, "cpu")


def test_the_package_is_the_reference_where_it_imports(folder: Path) -> None:
    assert hpsv2.METRIC.reference is not None
    try:
        importlib.import_module("hpsv2.src.open_clip")
    except Exception:
        with pytest.raises(MissingError, match="hpsv2 does not import here"):
            hpsv2.METRIC.reference([NEW], weight_files(hpsv2.METRIC, NEW, folder), "cpu")


def test_the_reference_judges_alike(folder: Path, ours: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a copy of the package that has the vocabulary and the small model's sizes."""
    import open_clip

    copied = shutil.copytree(folder_of("hpsv2"), tmp_path / "hpsv2") / "src" / "open_clip"
    shutil.copy(Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz"), copied)
    (copied / "model_configs" / "tiny-hps.json").write_text(json.dumps(TINY))
    monkeypatch.syspath_prepend(tmp_path)
    assert hpsv2.METRIC.reference is not None
    with bare("hpsv2", "src", turtle={"forward": None}):
        judge = hpsv2.METRIC.reference([NEW], weight_files(hpsv2.METRIC, NEW, folder), "cpu")
        found = judged(judge, NEW, pictures())
    np.testing.assert_allclose(judged(ours, NEW, pictures()), found, atol=1e-5)


def test_the_command_line_refuses_the_other_version_in_one_line(cli: Cli, folder: Path, tmp_path: Path) -> None:
    picture((30, 30), 0).save(tmp_path / "a.png")
    (tmp_path / "prompts.txt").write_text("a dog\n")
    where = ("--images", tmp_path, "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "out", "--device", "cpu")
    wrong = ("--weights", f"{NEW}={folder / hpsv2.FILES[OLD]}")
    code, out, err = cli("score", *where, "--metrics", NEW, *wrong)
    assert (code, out) == (3, "")
    assert f"{hpsv2.FILES[OLD]} is the checkpoint of hpsv2/v2.0, not of hpsv2/v2.1." in " ".join(err.split())
    right = ("--weights", f"{NEW}={folder / hpsv2.FILES[NEW]}")
    assert cli("score", *where, "--metrics", NEW, *right)[0] == 0
