"""The soft tokens file: round trip, header, hashes, and files that are damaged or something else."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from agsm_bench import __version__
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.tokens import (
    TOKENS_FILE,
    SoftTokens,
    TokensConfig,
    load_tokens,
    read_header,
    save_tokens,
    tokens_hash,
)
from agsm_bench.tokens.header import tokens_file

TRAINING = {"trainer": "agsm", "seed": 3, "steps": 10, "gamma_minus": 0.1, "note": "größer"}
CONFIGS = [
    TokensConfig("sd3", "mmdit", 8, count=2, layers=3),
    TokensConfig("sd15", "unet", 8, count=2, apply=(True, False, False), time_dependent=False, polarities=1),
    TokensConfig("sd15", "unet", 8, count=0, time_bins=10),
]


def _tokens(config: TokensConfig = CONFIGS[0], seed: int = 0) -> SoftTokens:
    return SoftTokens.initialise(config, torch.Generator().manual_seed(seed))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_tokens(_tokens(), tmp_path, TRAINING)


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip(config: TokensConfig, tmp_path: Path) -> None:
    tokens = _tokens(config)
    file = save_tokens(tokens, tmp_path / "run", TRAINING)
    assert file == tmp_path / "run" / TOKENS_FILE
    for path in (file, file.parent, str(file)):
        loaded = load_tokens(path, config.backbone)
        assert loaded.config == config
        assert loaded.state_dict().keys() == tokens.state_dict().keys()
        assert all(torch.equal(loaded.state_dict()[name], value) for name, value in tokens.state_dict().items())
        assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_header_describes_the_file(saved: Path) -> None:
    header = read_header(saved.parent)
    assert header.config == CONFIGS[0]
    assert header.training == TRAINING
    assert header.package_version == __version__
    assert header.tokens_hash == tokens_hash(saved)
    assert len(header.config_hash) == 64


def test_the_safetensors_library_reads_it(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        assert set(file.keys()) == {"base", "time"}
        assert torch.equal(file.get_tensor("base"), _tokens().base)
        assert json.loads(file.metadata()["training_config"]) == TRAINING


def test_equal_tokens_are_equal_files(tmp_path: Path) -> None:
    first, second = (save_tokens(_tokens(), tmp_path / name, TRAINING) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_hash_follows_tokens_and_configuration_only(tmp_path: Path) -> None:
    def hashed(tokens: SoftTokens, training: dict[str, Any] = TRAINING) -> str:
        return tokens_hash(save_tokens(tokens, tmp_path, training))

    original = hashed(_tokens())
    assert hashed(_tokens(), {"trainer": "softrepa"}) == original
    assert hashed(_tokens(seed=1)) != original
    assert hashed(_tokens(TokensConfig("sd35", "mmdit", 8, count=2, layers=3))) != original


def test_half_precision_tokens_are_stored_as_float32(tmp_path: Path) -> None:
    tokens = _tokens().to(torch.bfloat16)
    loaded = load_tokens(save_tokens(tokens, tmp_path, {}))
    assert loaded.base.dtype == torch.float32
    assert torch.equal(loaded.base, tokens.base.float())


def test_another_backbone_is_a_usage_error(saved: Path) -> None:
    with pytest.raises(UserError, match="sd3, not sd15") as caught:
        load_tokens(saved, "sd15")
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    tokens = _tokens()
    with torch.no_grad():
        tokens.base[0, 0, 0, 0] = value
    save_tokens(tokens, tmp_path, TRAINING)
    with pytest.raises(MissingError, match="NaN"):
        load_tokens(tmp_path)


def test_absent(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no", tmp_path / "no.safetensors"):
        for read in (read_header, load_tokens, tokens_hash):
            with pytest.raises(MissingError, match="no soft tokens") as caught:
                read(path)
            assert caught.value.code == ExitCode.MISSING


def test_every_truncation_is_found(saved: Path) -> None:
    data = saved.read_bytes()
    for length in {*range(0, 80), *range(80, len(data), 97), len(data) - 1}:
        saved.write_bytes(data[:length])
        for read in (read_header, load_tokens):
            with pytest.raises(MissingError):
                read(saved)
    saved.write_bytes(data + b"\0")
    with pytest.raises(MissingError, match="damaged"):
        read_header(saved)


def test_every_flipped_byte_is_found_or_harmless(saved: Path) -> None:
    """Tensors, configuration and training are hashed; only the package version may change unseen."""
    data, expected = saved.read_bytes(), load_tokens(saved)
    header = 8 + int.from_bytes(data[:8], "little")
    for position in {*range(header), *range(header, len(data), 101)}:
        for mask in (0x01, 0x80):
            flipped = bytearray(data)
            flipped[position] ^= mask
            saved.write_bytes(flipped)
            try:
                loaded = load_tokens(saved)
            except MissingError:
                continue
            assert position < header
            assert loaded.config == expected.config
            assert torch.equal(loaded.base, expected.base)
            assert read_header(saved).training == TRAINING


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps({"base": 1}),
        b"PK\x03\x04" + bytes(500),
        (100).to_bytes(8, "little") + b"[" * 100,
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (1 << 62).to_bytes(8, "little") + b"{}",
    ],
)
def test_garbage(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / TOKENS_FILE
    file.write_bytes(content)
    for read in (read_header, load_tokens, tokens_hash):
        with pytest.raises(MissingError):
            read(tmp_path)


def test_another_safetensors_file(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"base": torch.zeros(2, 4, 8)}, file)
    with pytest.raises(MissingError, match="not a soft tokens file"):
        load_tokens(file)


def _with_metadata(file: Path, **changes: Any) -> None:
    """Rewrite a file's metadata; None removes an entry."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = {**header["__metadata__"], **changes}
    header["__metadata__"] = {name: value for name, value in metadata.items() if value is not None}
    raw = json.dumps(header).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :])


def _config(**changes: Any) -> str:
    fields = {"backbone": "sd3", "placement": "mmdit", "dim": 8, "count": 2, "layers": 3}
    more = {"apply": [True, True, False], "polarities": 2, "time_bins": 100, "time_dependent": True}
    return json.dumps({**fields, **more, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": "2"},
        {"tokens_config": None},
        {"tokens_config": "{}"},
        {"tokens_config": "[]"},
        {"tokens_config": "null"},
        {"tokens_config": 7},
        {"tokens_config": _config(dim=9)},
        {"tokens_config": _config(dim=10**400)},
        {"tokens_config": _config(count="2")},
        {"tokens_config": _config(apply=None)},
        {"tokens_config": _config(placement=["mmdit"])},
        {"tokens_config": _config(backbone=3)},
        {"tokens_config": _config(backbone="sd15")},
        {"tokens_config": _config(time_dependent=1)},
        {"tokens_config": _config(more=1)},
        {"training_config": "[]"},
        {"training_config": "{"},
        {"training_config": "{}"},
        {"training_config": None},
        {"config_hash": None},
        {"tokens_hash": "0" * 64},
    ],
)
def test_wrong_metadata(changes: dict[str, Any], saved: Path) -> None:
    _with_metadata(saved)
    load_tokens(saved)  # rewriting alone does no harm
    _with_metadata(saved, **changes)
    with pytest.raises(MissingError):
        load_tokens(saved)


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="No space left"):
        save_tokens(_tokens(seed=1), saved, TRAINING)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_tokens(_tokens(), tmp_path / "file" / "run", TRAINING)


def test_training_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_tokens(_tokens(), tmp_path, {"path": tmp_path})
    with pytest.raises(ValueError, match="JSON"):
        save_tokens(_tokens(), tmp_path, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_path_spellings(tmp_path: Path) -> None:
    (tmp_path / "run.safetensors").mkdir()
    assert tokens_file(tmp_path / "run.safetensors") == tmp_path / "run.safetensors" / TOKENS_FILE
    assert tokens_file(tmp_path / "v1.5") == tmp_path / "v1.5" / TOKENS_FILE
    assert tokens_file("a/b.safetensors") == Path("a/b.safetensors")
