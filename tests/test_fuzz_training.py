"""Damaged files of trainings: soft tokens, the authors' pickles, states, logs, configurations, variants, weights."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzzing import Kind, damaging, fuzz, nested, swap
from torch import nn
from variant_runs import write_variant

from agsm_bench.report.recipes import Training
from agsm_bench.report.stability import _seed, logged
from agsm_bench.state_dicts import fill, read_state
from agsm_bench.tokens import SoftTokens, TokensConfig, load_tokens, save_tokens
from agsm_bench.tokens.released import read_released
from agsm_bench.training import log
from agsm_bench.training.state import load_state, save_state, stored_step
from agsm_bench.variant import describe_variant
from agsm_bench.weights import tensors_in

CONFIG = TokensConfig("shapes-unet", "unet", 8, count=2, time_bins=10)
TRAINING = {"trainer": "agsm", "seed": 0, "steps": 10, "objective": {"gamma_negative": 0.1}}
STEPS = 5


def tokens() -> SoftTokens:
    torch.manual_seed(0)
    made = SoftTokens(CONFIG)
    nn.init.normal_(made.base)
    return made


def make_tokens(folder: Path) -> Path:
    return save_tokens(tokens(), folder, TRAINING)


def read_tokens(path: Path) -> None:
    """A hash holds all but the version of the package, so what is read is what was written."""
    found = load_tokens(path, "shapes-unet")
    assert found.config == CONFIG
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), tokens().state_dict().values(), strict=True)
    )


class Hostile:
    """Pickled, a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def make_released(folder: Path) -> Path:
    """SoftREPA's files; the time embedding is the one that is damaged."""
    torch.manual_seed(0)
    torch.save(nn.Parameter(torch.randn(2, 768)), folder / "dc_tokens.pth")
    torch.save(nn.Embedding(100, 768), folder / "dc_t_tokens.pth")
    return folder / "dc_t_tokens.pth"


def make_old(folder: Path) -> Path:
    """The tokens as torch wrote them before 1.6: pickles one after the other, without a zip around them."""
    make_released(folder)
    tokens = torch.load(folder / "dc_tokens.pth", weights_only=True)
    torch.save(tokens, folder / "dc_tokens.pth", _use_new_zipfile_serialization=False)
    return folder / "dc_tokens.pth"


def make_hostile(folder: Path) -> Path:
    """An embedding with a call inside."""
    table: Any = nn.Embedding(100, 768)
    table.extra = Hostile(eval, f"open({str(make_released(folder).with_name('outside'))!r}, 'w')")
    torch.save(table, folder / "dc_t_tokens.pth")
    return folder / "dc_t_tokens.pth"


def make_old_hostile(folder: Path) -> Path:
    path = make_old(folder)
    torch.save([Hostile(os.system, f"touch {folder}/outside")], path, _use_new_zipfile_serialization=False)
    return path


def read_authors(path: Path) -> None:
    found = read_released(path.parent)
    assert (found.config.backbone, found.config.count) == ("sd15", 2)
    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())


def trained() -> tuple[dict[str, nn.Parameter], dict[str, torch.Tensor], torch.optim.Optimizer]:
    torch.manual_seed(0)
    parameters = {"base": nn.Parameter(torch.randn(2, 3)), "time": nn.Parameter(torch.randn(4))}
    return parameters, {"base": torch.ones(2, 3)}, torch.optim.AdamW(parameters.values())


def make_state(folder: Path) -> Path:
    parameters, averages, optimizer = trained()
    sum(value.square().sum() for value in parameters.values()).backward()
    optimizer.step()
    save_state(folder / "training_state.safetensors", STEPS, parameters, averages, optimizer)
    return folder / "training_state.safetensors"


def read_training_state(path: Path) -> None:
    parameters, averages, optimizer = trained()
    assert load_state(path, parameters, averages, optimizer) == stored_step(path) >= 0
    sum(value.square().sum() for value in parameters.values()).backward()
    optimizer.step()


def make_log(folder: Path) -> Path:
    for step in range(1, 40):
        log.append(folder / log.LOG_FILE, {"step": step, "loss": 0.5, "val_gap": 0.1})
    (folder / "config.json").write_text(json.dumps({"training": TRAINING | {"backbone": "shapes-unet"}}))
    return folder / log.LOG_FILE


def read_log(path: Path) -> None:
    for record in log.read(path):
        assert type(record["step"]) is int
    for step, value in logged(path.parent, "loss"):
        assert (type(step), type(value)) == (int, float)


def make_config(folder: Path) -> Path:
    make_log(folder)
    return folder / "config.json"


def read_config(path: Path) -> None:
    _seed(Training("agsm", "shapes-unet"), path.parent)


def make_variant(folder: Path) -> Path:
    return write_variant(folder / "variant") / "variant.json"


def read_variant(path: Path) -> None:
    found = describe_variant(path.parent)
    assert all(isinstance(text, str) for text in (found.backbone, found.kind, found.base, found.hash))
    json.dumps(found.describe())


def call(module: str, name: str) -> bytes:
    """A pickle that asks for something, in a file of an old torch."""
    whole = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return whole + f"\x80\x02c{module}\n{name}\n.".encode("latin-1")


def make_weights(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.manual_seed(0)
        path, state = folder / f"weights{suffix}", nn.Linear(3, 2).state_dict()
        if suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(state, path)
        else:
            torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
        return path

    return make


def read_weights(path: Path) -> None:
    fill(nn.Linear(3, 2), read_state(path), path)


def read_entries(path: Path) -> None:
    for entry in tensors_in(path).values():
        assert entry["shape"] == [int(length) for length in entry["shape"]]


KINDS = [
    Kind("soft tokens", make_tokens, read_tokens, "safetensors"),
    Kind("released", make_released, read_authors, "zip"),
    Kind("released, of an old torch", make_old, read_authors),
    Kind("released with code", make_old_hostile, read_authors, hostile=True),
    Kind("released with code in a zip", make_hostile, read_authors, "zip", hostile=True),
    Kind(
        "training state",
        make_state,
        read_training_state,
        "safetensors",
        (swap("optimizer.0.exp_avg_sq", "optimizer.0.exp_avg_sr"),),
    ),
    Kind("training log", make_log, read_log, "jsonl"),
    Kind("training configuration", make_config, read_config, "json"),
    Kind("variant", make_variant, read_variant, "json", (nested, swap('"base": "', '"base": 5, "x": "'))),
    Kind("weights, safetensors", make_weights(".safetensors"), read_weights, "safetensors"),
    Kind("weights, zip", make_weights(".pth"), read_weights, "zip"),
    Kind(
        "weights, of an old torch",
        make_weights(".bin"),
        read_weights,
        found=(lambda valid: valid[:-9], lambda _: call("torch", "[" * 200_000)),
    ),
    Kind(
        "entries of weights",
        make_weights(".safetensors"),
        read_entries,
        "safetensors",
        (swap('"shape":[2]', '"shape":[[]'), swap('"shape":[2]', '"shape":["]')),
    ),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
