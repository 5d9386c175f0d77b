"""`agsm-bench data encode`: kept latents are the fresh ones, each is there once, and nothing wrong is ever used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_tiny import noise, write_coco
from conftest import Cli
from photo_tiny import MAKERS, SIZE, save_tiny
from safetensors.torch import load_file, save_file

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.data import encode as encoding
from agsm_bench.data.coco import CocoPairs, coco_images
from agsm_bench.data.latents import Latents, find_latents, spec_of
from agsm_bench.diffusion.text import CachedText
from agsm_bench.errors import UserError
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.training.pairs import load_batch

TRAIN, COPY = (3, 5, 8, 13, 21, 34, 55), 34


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_tiny(name, tmp_path_factory.mktemp(name)) for name in MAKERS}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven images, the sixth a copy of the second; two latents a file."""
    monkeypatch.setattr(encoding, "PER_FILE", 2)
    return coco_at(tmp_path / "data", monkeypatch)


def coco_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGSM_BENCH_DATA", str(root))
    write_coco(root, {"train2017": TRAIN, "val2017": (2, 4)}, lambda key: noise({COPY: 5}.get(key, key)))
    return root


def backbone(folder: Path, name: str = "sd15", **options: Any) -> Backbone:
    chosen = configured(plugins.load("backbones", name), ModelOptions(model=str(folder), **options))
    return replace(chosen, training_data=partial(CocoPairs, size=SIZE))


def command(folder: Path, *more: object, name: str = "sd15") -> tuple[object, ...]:
    return ("data", "encode", "--backbone", name, "--model", folder, "--size", SIZE, *more)


def found(chosen: Backbone) -> Latents:
    latents = find_latents(chosen)
    assert latents is not None
    return latents


def files_of(chosen: Backbone) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in spec_of(chosen, SIZE).folder.glob("*.safetensors")}


@pytest.mark.parametrize("name", MAKERS)
def test_kept_latents_are_the_fresh_ones_to_the_bit(root: Path, folders: dict[str, Path], cli: Cli, name: str) -> None:
    code, said, _ = cli(*command(folders[name], name=name))
    assert code == 0
    assert "7 at 16 px, 1 of them copies" in said
    assert "4 x 8 x 8 x 4 bytes (float32) = 1,024 bytes" in said
    chosen = backbone(folders[name], name)
    denoiser, pairs, latents = chosen.load(), chosen.training_data(0, False), found(chosen)
    assert len(latents.files) == 6
    text = CachedText(denoiser.encode_text)
    kept, fresh = (load_batch(pairs, range(5), denoiser, text, source).latents for source in (latents, None))
    assert torch.equal(kept, fresh)
    assert torch.equal(load_batch(pairs, [2], denoiser, text).latents[0], fresh[2])  # in whatever batch
    pixels = torch.stack([torch.from_numpy(pairs.item(i)[0]) for i in range(5)]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(kept, denoiser.encode_images(pixels))


@pytest.fixture
def train(cli: Cli, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The command on small pictures: its exit code, and what it says on stderr."""
    monkeypatch.setattr("agsm_bench.training.validation.TIMESTEPS", (500,))

    def run(out: Path, *more: object) -> tuple[int, str]:
        options = ("--model", folders["sd15"], "--size", SIZE, "--steps", 3, "--batch", 3, "--out", out)
        code, _, said = cli("train", "agsm", "--backbone", "sd15", *options, *more)
        return code, said

    return run


def trained(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ("soft_tokens.safetensors", "train.jsonl")]


def test_a_training_is_the_same_and_reads_no_picture(
    root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli, train: Callable[..., tuple[int, str]]
) -> None:
    code, said = train(tmp_path / "fresh")
    assert (code, "Latents" in said) == (0, False)
    assert cli(*command(folders["sd15"], "--limit", 5))[0] == 0
    code, said = train(tmp_path / "some")  # what is not kept is encoded
    assert (code, "Latents of 5 pictures" in said) == (0, True)
    assert cli(*command(folders["sd15"]))[0] == 0
    for image in coco_images("train2017"):
        image.path.write_bytes(b"no picture")
    code, said = train(tmp_path / "kept")
    assert (code, "Latents of 6 pictures" in said) == (0, True)
    code, said = train(tmp_path / "half", "--dtype", "bfloat16")  # of which none are kept, and the pictures are gone
    assert (code, "`agsm-bench data encode` with this training's flags makes its own" in said) == (3, True)
    assert trained(tmp_path / "fresh") == trained(tmp_path / "some") == trained(tmp_path / "kept")
    notes = [json.loads((tmp_path / name / "config.json").read_text())["provenance"] for name in ("fresh", "kept")]
    assert "latents" not in notes[0]
    assert notes[1]["latents"]["pictures"] == 6
    shutil.rmtree(root / "latents")
    code, said = train(tmp_path / "none")
    assert (code, "gone or damaged" in said) == (3, True)


def test_a_killed_process_goes_on_to_the_same_bytes(
    root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = backbone(folders["sd15"])
    assert cli(*command(folders["sd15"]))[0] == 0
    whole = files_of(chosen)
    shutil.rmtree(spec_of(chosen, SIZE).folder)
    (tmp_path / "child.py").write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, tmp_path / "child.py", folders["sd15"], str(SIZE)]
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL
    assert {name for name in whole if files_of(chosen).get(name) == whole[name]} == {"00000.safetensors"}
    assert cli(*command(folders["sd15"]))[0] == 0
    assert files_of(chosen) == whole


KILLED = """
import os, signal, sys
from agsm_bench import plugins
from agsm_bench.data import encode as encoding
from agsm_bench.data.coco import coco_images
from agsm_bench.data.latents import spec_of
from agsm_bench.model_options import ModelOptions, configured

def show(phase, done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

encoding.PER_FILE = 2
chosen = configured(plugins.load("backbones", "sd15"), ModelOptions(model=sys.argv[1]))
encoder = chosen.load_encoder()
plan = encoding.make_plan(encoder, spec_of(chosen, int(sys.argv[2])), coco_images("train2017"))
encoding.encode(plan, encoder, show)
"""


def test_parts_made_apart_are_put_together(
    root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = backbone(folders["sd15"])
    assert cli(*command(folders["sd15"]))[0] == 0
    whole = files_of(chosen)
    code, said, _ = cli(*command(folders["sd15"], "--shard", "0/2"))
    assert (code, "this part" in said) == (0, True)
    merged: dict[str, bytes] = {}
    for n in range(2):
        coco_at(tmp_path / f"node{n}", monkeypatch)
        assert cli(*command(folders["sd15"], "--shard", f"{n}/2"))[0] == 0
        assert len(files_of(chosen)) == (2, 1)[n]
        merged |= files_of(chosen)
    assert merged == whole


def test_a_try_leaves_what_the_whole_goes_on_with(root: Path, folders: dict[str, Path], cli: Cli) -> None:
    chosen = backbone(folders["sd15"])
    assert cli(*command(folders["sd15"]))[0] == 0
    whole = files_of(chosen)
    shutil.rmtree(spec_of(chosen, SIZE).folder)
    assert cli(*command(folders["sd15"], "--limit", 3))[0] == 0
    assert len(found(chosen).files) == 3
    assert cli(*command(folders["sd15"]))[0] == 0
    assert files_of(chosen) == whole
    assert cli(*command(folders["sd15"], "--limit", 3))[0] == 0
    assert files_of(chosen) == whole


def test_latents_of_other_weights_types_and_sizes_are_not_used(
    root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli
) -> None:
    assert cli(*command(folders["sd15"]))[0] == 0
    vae = shutil.copytree(folders["sd15"] / "vae", tmp_path / "vae")
    weights = load_file(file := vae / "diffusion_pytorch_model.safetensors")
    save_file({name: value * 1.1 for name, value in weights.items()}, file, metadata={"format": "pt"})
    mine, other = backbone(folders["sd15"]), backbone(folders["sd15"], vae=str(vae))
    half = backbone(folders["sd15"], dtype="bfloat16")
    larger = replace(mine, training_data=partial(CocoPairs, size=2 * SIZE))
    assert [find_latents(each) is None for each in (mine, other, half, larger)] == [False, True, True, True]
    spec_of(mine, SIZE).folder.rename(spec_of(other, SIZE).folder)  # somebody's renaming does not make them fit
    with pytest.raises(UserError, match="holds other latents"):
        find_latents(other)
    code, _, said = cli(*command(folders["sd15"], "--vae", vae))
    assert code == 2
    assert "holds other latents" in said


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_damage_is_noticed_and_mended(
    root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli, train: Callable[..., tuple[int, str]], harm: str
) -> None:
    chosen = backbone(folders["sd15"])
    assert cli(*command(folders["sd15"]))[0] == 0
    whole = files_of(chosen)
    for name, content in whole.items():
        harmed = {"flip": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "cut": content[:-9], "empty": b""}
        (spec_of(chosen, SIZE).folder / name).write_bytes(harmed[harm])
    code, said = train(tmp_path / "out")
    assert code == 3
    assert "safetensors is damaged" in said
    assert "agsm-bench data encode" in said
    assert cli(*command(folders["sd15"]))[0] == 0
    assert files_of(chosen) == whole


def test_an_image_that_is_another_by_now_is_named(root: Path, folders: dict[str, Path], cli: Cli) -> None:
    first, second = coco_images("train2017")[:2]
    first.path.write_bytes(second.path.read_bytes())
    code, _, said = cli(*command(folders["sd15"]))
    assert code == 3
    assert "000000000003.jpg is not the file that was got" in said
    assert "data verify coco-train2017" in said


def test_shapes_and_sizes_that_make_no_sense(root: Path, folders: dict[str, Path], cli: Cli) -> None:
    code, _, said = cli("data", "encode", "--backbone", "shapes-unet")
    assert (code, "drawn as they are needed" in said) == (2, True)
    code, _, said = cli(*command(folders["sd15"])[:-1], 17)
    assert (code, "--size is 17. Use a multiple of 2." in said) == (2, True)
    assert find_latents(plugins.load("backbones", "shapes-unet")) is None


def test_a_full_disk_is_seen_before_the_work(
    root: Path, folders: dict[str, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 6000))  # type: ignore[attr-defined]
    code, _, said = cli(*command(folders["sd15"]))
    assert code == 2
    assert "0.0 MB are free" not in said
    assert "AGSM_BENCH_DATA" in said
    assert files_of(backbone(folders["sd15"])) == {}


def test_values_that_are_not_finite_are_refused(root: Path, tmp_path: Path, folders: dict[str, Path], cli: Cli) -> None:
    vae = shutil.copytree(folders["sd15"] / "vae", tmp_path / "vae")
    weights = load_file(file := vae / "diffusion_pytorch_model.safetensors")
    save_file({name: value * torch.inf for name, value in weights.items()}, file, metadata={"format": "pt"})
    code, _, said = cli(*command(folders["sd15"], "--vae", vae))
    assert code == 2
    assert "not finite in float32" in said
    assert "--dtype float32" in said
