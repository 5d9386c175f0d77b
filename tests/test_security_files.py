"""Files from anybody that hold code: it is not run, whichever of our readers gets them, and the error is one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from photo_tiny import SIZE

from agsm_bench.errors import MissingError
from agsm_bench.frechet import Statistics
from agsm_bench.scoring.features import FeatureStore
from agsm_bench.state_dicts import read_state


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def pickled(marker: Path, tmp_path: Path) -> Path:
    """What torch.save makes of it; that it works is seen first."""
    file = tmp_path / "evil.pt"
    torch.save({"weight": Evil(marker)}, file)
    torch.load(file, weights_only=False)
    assert marker.exists()
    marker.unlink()
    return file


def as_npz(path: Path, marker: Path, names: tuple[str, ...]) -> Path:
    np.savez(path, **dict.fromkeys(names, np.array([Evil(marker)], dtype=object)))
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_state_dicts(pickled: Path, marker: Path, suffix: str) -> None:
    """Through which metrics and detectors read all their weights."""
    with pytest.raises(MissingError, match="holds no weights"):
        read_state(pickled.rename(pickled.with_suffix(suffix)))
    bare = pickled.with_suffix(".pth")
    bare.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(MissingError, match="holds no weights"):
        read_state(bare)
    assert not marker.exists()


def test_statistics_and_features(tmp_path: Path, marker: Path) -> None:
    file = as_npz(tmp_path / "statistics.npz", marker, ("mean", "covariance", "n"))
    with pytest.raises(MissingError):
        Statistics.load(file)
    store = FeatureStore(tmp_path, "evil")
    store.add(["a"], [("digest", "version")], np.zeros((1, 2), np.float32))
    (part,) = tmp_path.rglob("0*.npz")
    as_npz(part, marker, ("ids", "digests", "versions", "features"))
    with pytest.raises(MissingError):
        FeatureStore(tmp_path, "evil")
    file.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(MissingError):
        Statistics.load(file)
    assert not marker.exists()


def with_evil_module(copy: Path, marker: Path, folder: str = "") -> None:
    (copy / folder / "evil.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nfrom diffusers import UNet2DConditionModel as Evil\n"
    )


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def module_of_a_component(copy: Path, marker: Path, pickled: Path) -> None:
    with_evil_module(copy, marker, "unet")
    change(copy / "model_index.json", unet=["evil", "Evil"])


def module_of_the_working_folder(copy: Path, marker: Path, pickled: Path) -> None:
    with_evil_module(copy, marker, "..")
    change(copy / "model_index.json", vae=["evil", "Evil"])


def module_of_the_pipeline(copy: Path, marker: Path, pickled: Path) -> None:
    with_evil_module(copy, marker)
    change(copy / "model_index.json", _class_name=["evil", "Evil"])


def code_of_the_text_encoder(copy: Path, marker: Path, pickled: Path) -> None:
    with_evil_module(copy, marker, "text_encoder")
    change(copy / "model_index.json", text_encoder=["transformers", "AutoModel"])
    change(copy / "text_encoder" / "config.json", model_type="evil", auto_map={"AutoModel": "evil.Evil"})


def code_of_the_tokenizer(copy: Path, marker: Path, pickled: Path) -> None:
    with_evil_module(copy, marker, "tokenizer")
    change(copy / "model_index.json", tokenizer=["transformers", "AutoTokenizer"])
    file = copy / "tokenizer" / "tokenizer_config.json"
    change(file, tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]})


def pickled_weights(copy: Path, marker: Path, pickled: Path) -> None:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    shutil.copy(pickled, copy / "unet" / "diffusion_pytorch_model.bin")


def pickled_safetensors(copy: Path, marker: Path, pickled: Path) -> None:
    shutil.copy(pickled, copy / "vae" / "diffusion_pytorch_model.safetensors")


def pickled_text_encoder(copy: Path, marker: Path, pickled: Path) -> None:
    (copy / "text_encoder" / "model.safetensors").unlink()
    shutil.copy(pickled, copy / "text_encoder" / "pytorch_model.bin")


def evaluated(cli: Cli, tmp_path: Path, *arguments: object) -> tuple[int, str]:
    """An image of SD1.5, without a judge: what needs none is not refused for the lack of one."""
    small = ("--limit", 1, "--images-per-prompt", 1, "--steps", 1, "--size", SIZE, "--device", "cpu")
    model = ("eval", "geneval", "--backbone", "sd15", *small, "--metrics", "none")
    code, _, error = cli(*model, *arguments, "--out", tmp_path / "run")
    return code, error


@pytest.mark.parametrize(
    "harm",
    [
        *(module_of_a_component, module_of_the_working_folder, module_of_the_pipeline),
        *(code_of_the_text_encoder, code_of_the_tokenizer),
        *(pickled_weights, pickled_safetensors, pickled_text_encoder),
    ],
)
def test_pipelines(
    cli: Cli,
    tiny_models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    marker: Path,
    pickled: Path,
    harm: Callable[[Path, Path, Path], None],
) -> None:
    """A folder as the hub has them, which names code of its own, or holds pickles."""
    copy = Path(shutil.copytree(tiny_models["sd15"], tmp_path / "work" / "copy"))
    monkeypatch.chdir(copy.parent)
    monkeypatch.syspath_prepend(str(copy.parent))
    harm(copy, marker, pickled)
    code, error = evaluated(cli, tmp_path, "--model", copy)
    assert not marker.exists()
    assert (code, error.count("agsm-bench: "), "Traceback" in error) == (3, 1, False)


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.safetensors", "evil.bin"])
def test_single_files_and_adapters(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path, marker: Path, pickled: Path, name: str
) -> None:
    file = shutil.copy(pickled, tmp_path / name)
    for arguments in (("--model", file), ("--model", tiny_models["sd15"], "--lora", file)):
        code, error = evaluated(cli, tmp_path, *arguments)
        assert not marker.exists()
        assert (code, "Traceback" in error) == (3, False), error


def test_what_runs_leave(cli: Cli, tmp_path: Path, marker: Path, pickled: Path) -> None:
    """A training that goes on, soft tokens, a backbone's weights."""
    trained, backbone = tmp_path / "trained", ("--backbone", "shapes-unet")
    trained.mkdir()
    for name in ("training_state", "soft_tokens", "pytorch_lora_weights"):
        shutil.copy(pickled, trained / f"{name}.safetensors")
    small = (*backbone, "--limit", 1, "--images-per-prompt", 1, "--steps", 1, "--out", tmp_path / "run")
    for command in (
        ("train", "agsm", *backbone, "--batch", 2, "--steps", 1, "--out", trained),
        ("eval", "geneval", *small, "--tokens", trained),
        ("eval", "geneval", *small, "--backbone-weights", trained),
    ):
        code, _, error = cli(*command)
        assert not marker.exists()
        assert (code, "Traceback" in error) == (3, False), error
