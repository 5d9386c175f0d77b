"""The authors' token files: read, written, and refused when they hold anything else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokens_tiny import tokens_for
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

import agsm_bench
from agsm_bench.errors import ExitCode, MissingError, UserError
from agsm_bench.tokens import SoftTokens, TokensConfig

SOFTREPA, AGSM = ("dc_tokens.pth", "dc_t_tokens.pth"), ("soft_tokens.pth", "soft_t_tokens.pth")
EMBEDDING = "torch.nn.modules.sparse.Embedding"
SD3 = {"backbone": "sd3", "placement": "mmdit", "dim": 1536, "layers": 5}


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _store(folder: Path, names: tuple[str, str], base: tuple[int, ...], time: int = 0) -> tuple[Tensor, Tensor]:
    """Files as the authors' training saves them; a time embedding [100, time] unless 0."""
    table = nn.Embedding(100, time) if time else nn.Embedding(1, 1)
    parameter = nn.Parameter(_random(*base))
    folder.mkdir(exist_ok=True)
    torch.save(parameter, folder / names[0])
    if time:
        torch.save(table, folder / names[1])
    return parameter.detach(), table.weight.detach()


@pytest.mark.parametrize(
    ("names", "base", "time", "expected"),
    [
        (SOFTREPA, (4, 768), 768, {"backbone": "sd15", "placement": "unet", "dim": 768}),
        (SOFTREPA, (4, 2048), 0, {"backbone": "sdxl", "placement": "unet", "dim": 2048}),  # as released
        (SOFTREPA, (5, 4, 1536), 7680, SD3),
        (SOFTREPA, (2, 4, 1536), 3072, {**SD3, "layers": 2}),  # the name tells layers from polarities
        (SOFTREPA, (5, 4, 4096), 7680, {**SD3, "text_dim": 4096}),
        (SOFTREPA, (5, 4, 4096), 0, {**SD3, "text_dim": 4096}),
        (AGSM, (2, 4, 768), 768, {"backbone": "sd15", "placement": "unet", "dim": 768}),
        (AGSM, (2, 8, 2048), 2048, {"backbone": "sdxl", "placement": "unet", "dim": 2048, "count": 8}),
        (AGSM, (2, 5, 4, 1536), 7680, SD3),
        (AGSM, (2, 5, 4, 4096), 7680, {**SD3, "text_dim": 4096}),
    ],
)
def test_the_shapes_and_the_name_tell_the_backbone(
    names: tuple[str, str], base: tuple[int, ...], time: int, expected: dict[str, Any], tmp_path: Path
) -> None:
    values, table = _store(tmp_path, names, base, time)
    tokens = SoftTokens.from_released(tmp_path)
    polarities = 1 if names == SOFTREPA else 2
    assert tokens.config == TokensConfig(**expected, polarities=polarities, time_dependent=bool(time))
    assert torch.equal(tokens.base, values if polarities == 2 else values[None])
    assert tokens.time is None if not time else torch.equal(torch.as_tensor(tokens.time), table)
    assert all(parameter.requires_grad for parameter in tokens.parameters())


def test_the_caller_says_which_blocks_of_a_unet(tmp_path: Path) -> None:
    _store(tmp_path, SOFTREPA, (4, 768), 768)
    assert SoftTokens.from_released(tmp_path, (True, False, False)).config.apply == (True, False, False)
    assert SoftTokens.from_released(str(tmp_path)).config.apply == (True, True, False)


@pytest.mark.parametrize(
    ("base", "time", "expected"),
    [
        ((2, 4, 8), 8, TokensConfig("tiny", "unet", 8)),
        ((2, 3, 4, 8), 24, TokensConfig("tiny", "mmdit", 8, layers=3)),
        ((2, 3, 4, 8), 15, TokensConfig("tiny", "mmdit", 5, layers=3, text_dim=8)),
    ],
)
def test_other_widths_need_a_name(base: tuple[int, ...], time: int, expected: TokensConfig, tmp_path: Path) -> None:
    _store(tmp_path, AGSM, base, time)
    with pytest.raises(UserError, match="backbone=NAME") as caught:
        SoftTokens.from_released(tmp_path)
    assert caught.value.code == ExitCode.USAGE
    assert SoftTokens.from_released(tmp_path, backbone="tiny").config == expected


@pytest.mark.parametrize("convert", [torch.Tensor.half, torch.Tensor.double])
def test_other_precisions_and_bare_tensors(convert: Any, tmp_path: Path) -> None:
    values, table = _store(tmp_path, AGSM, (2, 4, 768), 768)
    torch.save(convert(values), tmp_path / AGSM[0])
    torch.save(convert(table), tmp_path / AGSM[1])
    tokens = SoftTokens.from_released(tmp_path)
    assert torch.equal(tokens.base, convert(values).float())
    assert tokens.time is not None
    assert tokens.time.dtype == torch.float32


@pytest.mark.parametrize("polarities", [1, 2])
@pytest.mark.parametrize("more", [{}, {"time_dependent": False}, {"text_dim": 4096}])
def test_round_trip(polarities: int, more: dict[str, Any], tmp_path: Path) -> None:
    config = TokensConfig(**SD3, **more, polarities=polarities)
    tokens = SoftTokens.initialise(config, torch.Generator().manual_seed(0))
    for _ in range(2):  # and over its own files
        tokens.to_released(tmp_path / "new" / "folder")
    read = SoftTokens.from_released(tmp_path / "new" / "folder")
    assert read.config == config
    assert read.state_dict().keys() == tokens.state_dict().keys()
    assert all(torch.equal(read.state_dict()[name], value) for name, value in tokens.state_dict().items())


@pytest.mark.parametrize(("polarities", "names"), [(1, SOFTREPA), (2, AGSM)])
def test_the_authors_code_can_load_what_is_written(polarities: int, names: tuple[str, str], tmp_path: Path) -> None:
    tokens = tokens_for("unet", polarities=polarities, dim=768).to(torch.bfloat16)
    tokens.to_released(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    base, table = (torch.load(tmp_path / name, weights_only=False) for name in names)
    assert type(base) is nn.Parameter
    assert type(table) is nn.Embedding
    assert base.dtype == table.weight.dtype == torch.float32
    assert base.requires_grad and table.weight.requires_grad  # noqa: PT018
    assert base.shape == ((4, 768) if polarities == 1 else (2, 4, 768))
    assert tokens.time is not None
    assert torch.equal(table(torch.tensor([99]))[0], tokens.time[99].float())
    # and nothing but what the authors' own files name, whatever wrote them
    assert get_unsafe_globals_in_checkpoint(tmp_path / names[0]) == []
    assert get_unsafe_globals_in_checkpoint(tmp_path / names[1]) == [EMBEDDING]


@pytest.mark.parametrize("options", [{"image_count": 1}, {"polarities": 3}, {"time_bins": 10}, {"count": 0}])
def test_what_the_files_cannot_hold(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot hold"):
        tokens_for("mmdit", **options).to_released(tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_other_tokens_are_left_alone(tmp_path: Path) -> None:
    tokens_for("unet").to_released(tmp_path)
    for others in ({"polarities": 1}, {"time_dependent": False}):
        with pytest.raises(UserError, match="of other tokens"):
            tokens_for("unet", **others).to_released(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(AGSM)
    with pytest.raises(UserError, match="cannot be written"):
        tokens_for("unet").to_released(tmp_path / AGSM[0])


class Hostile:
    """Pickled, a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(("function", "found"), [(os.system, "system"), (eval, "eval"), (print, "print")])
def test_code_in_a_file_is_not_run(function: Any, found: str, position: int, inside: bool, tmp_path: Path) -> None:
    _store(tmp_path, AGSM, (2, 4, 768), 768)
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w')" if function is eval else f"touch {marker}"
    value: Any = Hostile(function, code)
    if inside:
        table = nn.Embedding(100, 768)
        table.extra, value = value, table
    torch.save(value, tmp_path / AGSM[position])
    with pytest.raises(MissingError, match=found) as caught:
        SoftTokens.from_released(tmp_path)
    assert caught.value.code == ExitCode.MISSING
    assert "\n" not in str(caught.value)
    assert not marker.exists()


class Made:
    """Pickled as the call that makes it: function, arguments, maybe a state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def _embedding_of(weight: Any) -> nn.Embedding:
    table = nn.Embedding(2, 2)
    table._parameters["weight"] = weight
    return table


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    "value",
    [
        Made(nn.Embedding, (100, 768)),
        Made(nn.Embedding, (10**7, 10**4)),
        Made(nn.Embedding, ()),
        Made(nn.Embedding, (100, 768), {"_parameters": {"weight": torch.zeros(100, 768)}}),
        _embedding_of(Made(torch.Tensor, (100, 768))),
        Made(torch.Tensor, (100, 768)),
        Made(torch.FloatTensor, (100, 768)),
        Made(nn.Parameter, (Made(torch.Tensor, (100, 768)),)),
    ],
)
def test_values_that_are_not_in_the_file_are_refused(value: Any, position: int, tmp_path: Path) -> None:
    _store(tmp_path, AGSM, (2, 4, 768), 768)
    torch.save(value, tmp_path / AGSM[position])
    with pytest.raises(MissingError, match=AGSM[position]):
        SoftTokens.from_released(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_files_of_torch_save_are_read(zipped: bool, tmp_path: Path) -> None:
    """A whole nn.Embedding beside tokens as torch saves them since 1.6, and as it did: the numbers after the pickle."""
    values, table = _store(tmp_path, SOFTREPA, (4, 768), 768)
    torch.save(nn.Parameter(values), tmp_path / SOFTREPA[0], _use_new_zipfile_serialization=zipped)
    tokens = SoftTokens.from_released(tmp_path)
    assert torch.equal(tokens.base[0], values)
    assert torch.equal(torch.as_tensor(tokens.time), table)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_not_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / AGSM[0]).write_bytes(pickle.dumps(Hostile(os.system, f"touch {marker}"), protocol))
    with pytest.raises(MissingError):
        SoftTokens.from_released(tmp_path)
    assert not marker.exists()


def _embedding_without_weight() -> nn.Embedding:
    table = nn.Embedding(2, 2)
    del table._parameters["weight"]
    return table


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    "value",
    [
        {"weight": torch.zeros(100, 768)},
        [torch.zeros(2, 4, 768)],
        None,
        3.0,
        nn.Linear(2, 2),
        _embedding_without_weight(),
        torch.zeros(2, 4, 768, dtype=torch.int64),
        torch.zeros(2, 4, 768, dtype=torch.complex64),
        torch.zeros(2, 4, 768, device="meta"),
        torch.zeros(2, 4, 768).to_sparse(),
        torch.zeros(1).expand(2, 10**12, 768),  # more numbers than the file has
        torch.full((2, 4, 768), float("nan")),
        torch.full((2, 4, 768), float("-inf")),
        torch.full((2, 4, 768), 1e300, dtype=torch.float64),
        torch.zeros(()),
        torch.zeros(768),
        torch.zeros(3, 4, 768),
        torch.zeros(4, 768),
        torch.zeros(2, 0, 768),
        torch.zeros(2, 4, 5, 1, 768),
        torch.zeros(99, 768),
        torch.zeros(100, 767),
    ],
    ids=lambda value: f"{type(value).__name__}{tuple(getattr(value, 'shape', ()))}",
)
def test_anything_else_is_refused(value: Any, position: int, tmp_path: Path) -> None:
    _store(tmp_path, AGSM, (2, 4, 768), 768)
    torch.save(value, tmp_path / AGSM[position])
    with pytest.raises(MissingError, match=AGSM[position]) as caught:
        SoftTokens.from_released(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_time_embedding_of_other_layers(tmp_path: Path) -> None:
    for width in (1536, 7679, 5 * 4096):
        _store(tmp_path, AGSM, (2, 5, 4, 1536), width)
        with pytest.raises(MissingError, match="beside tokens"):
            SoftTokens.from_released(tmp_path)


@pytest.mark.parametrize("position", [0, 1])
def test_damaged_files(position: int, tmp_path: Path) -> None:
    _store(tmp_path, SOFTREPA, (4, 768), 768)
    file = tmp_path / SOFTREPA[position]
    data = file.read_bytes()
    for length in (0, 1, 10, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(MissingError, match="damaged"):
            SoftTokens.from_released(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(MissingError, match=SOFTREPA[position]):
        SoftTokens.from_released(tmp_path)


def test_absent_files_and_both_kinds(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(MissingError, match=r"no dc_tokens.pth or soft_tokens.pth"):
            SoftTokens.from_released(folder)
    _store(tmp_path, AGSM, (2, 4, 768), 768)
    (tmp_path / AGSM[0]).rename(tmp_path / "soft_tokens_12.pth")
    with pytest.raises(MissingError, match=r"no soft_tokens.pth"):
        SoftTokens.from_released(tmp_path)
    _store(tmp_path, SOFTREPA, (4, 768))
    with pytest.raises(UserError, match="SoftREPA and of AGSM") as caught:
        SoftTokens.from_released(tmp_path)
    assert caught.value.code == ExitCode.USAGE


def test_the_package_offers_the_class_without_importing_torch() -> None:
    assert agsm_bench.SoftTokens is SoftTokens
    assert not hasattr(agsm_bench, "HardTokens")
    code = "import agsm_bench, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"
