"""`agsm-bench doctor`: what it finds, what it tells to type, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from photo_tiny import save_tiny

from agsm_bench import plugins
from agsm_bench.data import places
from agsm_bench.data.table import DATASETS
from agsm_bench.doctor import disk, packages
from agsm_bench.doctor.check import Check
from agsm_bench.doctor.machine import Device
from agsm_bench.doctor.memory import fits
from agsm_bench.doctor.models import parts_of
from agsm_bench.errors import MissingError
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.training.config import TrainingOptions, resolve
from agsm_bench.weights import tensors_in

Doctor = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sd15", tmp_path_factory.mktemp("sd15"))


@pytest.fixture
def doctor(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """The exit code, and the checks by `group name`; no data, and an empty hub cache."""
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        code, out, err = cli("doctor", "--json", "--out", tmp_path / "runs", *arguments)
        assert not err, err
        data = json.loads(out)
        assert data["ok"] == (code == 0)
        return code, {f"{check['group']} {check['name']}": check for check in data["checks"]}

    return run


def put_data(name: str) -> None:
    """A dataset as `data get` leaves it, with one file."""
    one = DATASETS[name]
    folder = places.folder_of(one)
    folder.mkdir(parents=True)
    names = one.wanted if name == "coco-captions" else (one.anchor,)
    for file in names:
        (folder / file).write_bytes(b"{}")
    places.record(one, names, "test", None, lambda *_: None)


def test_the_shapes_domain_has_all_and_the_rest_does_not_fail_it(doctor: Doctor) -> None:
    code, checks = doctor()
    assert code == 0
    assert all(checks[f"weights shapes-{name}"]["state"] == "ok" for name in ("mmdit", "unet"))
    for name in ("sd15", "sd3", "sdxl"):
        assert checks[f"weights {name}"] == checks[f"weights {name}"] | {"state": "missing", "needed": False}
        assert "hf download" in checks[f"weights {name}"]["fix"]
    assert "Accept the licence" in checks["weights sd3"]["fix"]
    assert "(15.5 GB)" in checks["weights sd3"]["fix"]
    assert "Get it (815.6 MB): agsm-bench data get coco-val2017" in checks["data coco-val2017"]["fix"]


def test_a_photo_backbone_that_lacks_everything(doctor: Doctor) -> None:
    code, checks = doctor("--backbone", "sdxl", "--rows-per-backward", 1, "--gradient-checkpointing")
    assert code == 3
    assert "sdxl-vae-fp16-fix" in checks["weights vae"]["fix"]
    assert "stable-diffusion-xl-base-1.0" in checks["weights pipeline"]["fix"]
    assert {name for name, check in checks.items() if name.startswith("data") and check["needed"]} == {
        "data coco-train2017",
        "data coco-val2017",
        "data coco-captions",
    }
    assert "13.8 GB of models" in checks["disk hub cache"]["says"]
    assert "1 of 16 pairs" in checks["memory training"]["says"]


def test_a_photo_backbone_that_has_everything(doctor: Doctor, sd15: Path) -> None:
    for name in ("coco-train2017", "coco-val2017", "coco-captions"):
        put_data(name)
    code, checks = doctor("--backbone", "sd15", "--model", sd15, "--batch", 2)
    assert code == 0, checks
    assert {name for name in checks if name.startswith("weights")} == {
        f"weights {n}" for n in ("text_encoder", "unet", "vae")
    }
    assert "4 pairs" in checks["memory training"]["says"]
    assert checks["data pie-bench"]["state"] == "missing"


def test_every_damaged_component_is_listed(doctor: Doctor, sd15: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sd15, tmp_path / "pipeline")
    unet = copy / "unet" / "diffusion_pytorch_model.safetensors"
    unet.write_bytes(unet.read_bytes()[:-1])
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    shutil.rmtree(copy / "tokenizer")
    code, checks = doctor("--backbone", "sd15", "--model", copy)
    assert code == 3
    wrong = {name for name, check in checks.items() if name.startswith("weights") and check["state"] == "missing"}
    assert wrong == {"weights unet", "weights vae", "weights tokenizer"}
    assert "bytes of tensors" in checks["weights unet"]["says"]
    assert str(unet) in checks["weights unet"]["fix"]


def test_weights_that_are_no_longer_readable(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`identity.hash_files` stops at the first such file and says that doctor lists the others."""
    name = "shapes-unet"
    copy = shutil.copytree(plugins.load("backbones", name).weights(), tmp_path / "weights" / name)
    monkeypatch.setenv("AGSM_BENCH_SHAPES_WEIGHTS", str(tmp_path / "weights"))
    broken = sorted(copy.rglob("*.safetensors"))
    for file in broken:
        file.unlink()
        file.mkdir()
    code, checks = doctor("--backbone", name)
    assert code == 3
    assert {n for n, c in checks.items() if n.startswith("weights") and c["state"] == "missing"} == {
        f"weights {file.parent.name}" for file in broken
    }


def test_a_damaged_configuration(sd15: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sd15, tmp_path / "pipeline")
    (copy / "unet" / "config.json").write_text("{")
    plain = plugins.load("backbones", "sd15")
    parts = parts_of(configured(plain, ModelOptions(unet=str(copy / "unet"), model=None)))
    with pytest.raises(MissingError, match=r"config\.json is damaged"):
        fits(plain, parts, resolve(TrainingOptions(), plain), ModelOptions(), Device("cpu", 1, 1))


def test_nothing_to_train(doctor: Doctor) -> None:
    code, checks = doctor("--backbone", "shapes-unet", "--tokens", 0)
    assert code == 0
    assert "--tokens" in checks["memory training"]["fix"]


def test_a_model_that_is_nowhere(doctor: Doctor) -> None:
    code, checks = doctor("--backbone", "sd15", "--model", "somebody/none", "--unet", "dpo")
    assert code == 3
    assert "hf download somebody/none" in checks["weights model"]["fix"]
    assert checks["memory training"]["state"] == "warning"


def test_a_gpu_that_is_not_there(doctor: Doctor, sd15: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, checks = doctor("--backbone", "sd15", "--model", sd15, "--device", "cuda")
    assert code == 3
    assert checks["machine GPU"] == checks["machine GPU"] | {"state": "missing", "needed": True}


def test_a_compiler_is_asked_for_with_compile_only(
    doctor: Doctor, sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ("--backbone", "sd15", "--model", sd15, "--device", "cpu", "--size", 16)
    assert "machine compiler" not in doctor(*model)[1]
    monkeypatch.setenv("CXX", sys.executable)  # any program
    assert doctor(*model, "--compile")[1]["machine compiler"]["state"] == "ok"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    code, checks = doctor(*model, "--compile")
    assert code == 3
    assert checks["machine compiler"]["state"] == "missing"
    assert "C++" in checks["machine compiler"]["says"]


def test_the_memory_is_said_to_be_the_trainings(doctor: Doctor) -> None:
    assert "for the training (sampling is not counted)" in doctor("--backbone", "sd3")[1]["memory training"]["says"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--backbone", "sd99"],
        ["--backbone", "sd15", "--batch", 0],
        ["--device", "foo", "--backbone", "sd15"],
        ["--backbone", "shapes-mmdit", "--size", 64],
        ["--backbone", "sd15", "--size", 17],
        ["--backbone", "sd15", "--mixed-precision", "fp16", "--device", "cpu"],
        ["--model", "somewhere"],
    ],
)
def test_flags_that_make_no_sense(cli: Cli, arguments: list[object]) -> None:
    assert cli("doctor", *arguments)[0] == 2


def test_a_tracker_and_an_output_that_a_training_would_refuse(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said, _ = cli("doctor", "--backbone", "shapes-mmdit", "--out", tmp_path / "file" / "run")
    assert (code, "is no folder" in " ".join(said.split())) == (3, True)
    if find_spec("wandb") is None:
        code, said, _ = cli("doctor", "--backbone", "shapes-mmdit", "--tracker", "wandb", "--out", tmp_path / "run")
        assert (code, "pip install wandb" in said) == (3, True)


def test_the_memory_that_others_have_is_said(sd15: Path) -> None:
    backbone = plugins.load("backbones", "sd15")
    options = resolve(TrainingOptions(), backbone)
    found = fits(backbone, [], options, ModelOptions(), Device("cuda:0", int(80e9), int(1e9)))
    assert (found.state, "of which 1.0 GB are free now" in found.says) == ("warning", True)


def test_the_memory_follows_the_flags() -> None:
    backbone, model = plugins.load("backbones", "sd15"), ModelOptions()

    def check(total: float, **flags: Any) -> Check:
        options = resolve(TrainingOptions(**flags), backbone)
        return fits(backbone, [], options, model, Device("cuda:0", int(total), int(total)))

    large, small = check(80e9), check(12e9)
    assert (large.state, large.fix) == ("ok", "")
    assert small.state == "missing"
    rows = int(small.fix.partition("--rows-per-backward ")[2].split()[0])
    assert 1 <= rows < 16
    assert check(12e9, rows_per_backward=rows).state == "ok"
    assert check(12e9, rows_per_backward=rows + 1).state != "ok"
    assert check(12e9, size=256).state == "ok"


def test_a_version_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.version
    monkeypatch.setattr(packages, "version", lambda name: "0.1" if name == "torch" else real(name))
    (wrong,) = [check for check in packages.packages(bits=False) if check.fails]
    assert (wrong.name, wrong.state) == ("torch", "missing")
    assert wrong.fix.startswith('pip install "torch')


def test_downloads_to_one_disk_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("AGSM_BENCH_DATA", str(tmp_path / "data"))
    free = shutil.disk_usage(tmp_path).free
    fine = {check.name: check.state for check in disk.disk(tmp_path, free // 2, 0.0, ())}
    assert fine == {"output": "ok", "hub cache": "ok", "data": "ok"}
    full = {check.name: check for check in disk.disk(tmp_path, free // 2, 0.6 * free / 1e9, ())}
    assert [full[name].state for name in ("output", "hub cache", "data")] == ["missing", "missing", "ok"]
    assert "HF_HUB_CACHE" in full["hub cache"].fix
    assert not (tmp_path / "hub").exists()


def test_it_prints_the_commands_whole() -> None:
    """Each on a line of its own, however narrow the terminal."""
    command = [sys.executable, "-m", "agsm_bench", "doctor"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/nowhere", "COLUMNS": "60"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "hf download stable-diffusion-v1-5" in line]
    assert len(lines) == 1
    assert lines[0].endswith('--include "text_encoder/model.safetensors"')
    assert "The shapes domain has all that it needs" in done.stdout


def test_parts_are_the_files_that_are_loaded(sd15: Path) -> None:
    backbone = configured(plugins.load("backbones", "sd15"), ModelOptions(model=str(sd15)))
    assert backbone.weight_parts is not None
    found = {part.name: list(part.files) for part in parts_of(backbone) if part.files}
    read = backbone.weight_parts()
    assert read.pop("settings")
    assert found == {name: [file for file in files if file.suffix == ".safetensors"] for name, files in read.items()}
    for files in found.values():
        assert all(tensors_in(file) for file in files)
