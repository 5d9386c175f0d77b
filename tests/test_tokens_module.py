"""The SoftTokens module: shapes, counts, time bins, polarities, initial values."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from agsm_bench.errors import UserError
from agsm_bench.tokens import SoftTokens, TokensConfig
from agsm_bench.tokens.soft_tokens import time_bin

SD3 = TokensConfig("sd3", "mmdit", 1536, layers=5)
SD15 = TokensConfig("sd15", "unet", 768)


def _count(config: TokensConfig) -> int:
    return sum(parameter.numel() for parameter in SoftTokens(config).parameters())


def test_parameter_counts_are_the_papers() -> None:
    assert _count(SD3) == 829_440
    assert _count(SD15) == 2 * 4 * 768 + 100 * 768
    assert _count(TokensConfig("sd15", "unet", 768, time_dependent=False)) == 2 * 4 * 768


@pytest.mark.parametrize("config", [SD3, SD15, TokensConfig("sd3", "mmdit", 8, count=0, layers=2)])
def test_forward_shape(config: TokensConfig) -> None:
    out = SoftTokens(config)(torch.tensor([0.0, 999.0, 1000.0]), torch.tensor([0, 1, 0]))
    assert out.shape == (3, config.layers, config.count, config.dim)


def test_forward_values_per_row() -> None:
    tokens = SoftTokens.initialise(TokensConfig("x", "mmdit", 6, layers=3), torch.Generator().manual_seed(0))
    assert tokens.time is not None
    out = tokens(torch.tensor([0, 457, 1000]), torch.tensor([1, 0, 1]))
    for row, (bin_, polarity) in enumerate([(0, 1), (45, 0), (99, 1)]):
        for layer in range(3):
            time = tokens.time[bin_, 6 * layer : 6 * layer + 6]
            assert torch.equal(out[row, layer], tokens.base[polarity, layer] + time)


def test_time_bins() -> None:
    steps = torch.arange(1000)
    assert torch.equal(time_bin(steps, 100), steps // 10)
    assert time_bin(torch.tensor([9.99, 10.0, 999.99, 1000.0, 0.0]), 100).tolist() == [0, 1, 99, 99, 0]
    assert time_bin(torch.tensor([1000]), 1).tolist() == [0]
    assert torch.equal(time_bin(steps, 1000), steps)


def test_polarities_share_the_time_embedding() -> None:
    tokens = SoftTokens.initialise(SD15, torch.Generator().manual_seed(0))
    both = tokens(torch.tensor([123, 123]), torch.tensor([0, 1]))
    assert torch.allclose(both[0] - both[1], (tokens.base[0] - tokens.base[1])[None], atol=1e-7)


def test_one_polarity_serves_every_row() -> None:
    config = TokensConfig("x", "unet", 4, polarities=1)
    tokens = SoftTokens.initialise(config, torch.Generator().manual_seed(0))
    out = tokens(torch.tensor([5, 5]), torch.tensor([0, 1]))
    assert torch.equal(out[0], out[1])


@pytest.mark.parametrize("polarity", [-1, 2])
def test_unknown_polarity_is_refused(polarity: int) -> None:
    with pytest.raises(IndexError):
        SoftTokens(SD15)(torch.tensor([0]), torch.tensor([polarity]))


def test_gradient_reaches_only_what_was_used() -> None:
    tokens = SoftTokens.initialise(SD15, torch.Generator().manual_seed(0))
    tokens(torch.tensor([55]), torch.tensor([1])).sum().backward()
    assert tokens.base.grad is not None
    assert tokens.time is not None
    assert tokens.time.grad is not None
    assert tokens.base.grad[0].abs().sum() == 0
    assert torch.equal(tokens.base.grad[1], torch.ones(4, 768))
    assert tokens.time.grad.abs().sum(1).nonzero().flatten().tolist() == [5]


def test_initial_values() -> None:
    tokens = SoftTokens.initialise(SD3, torch.Generator().manual_seed(0))
    assert tokens.time is not None
    for parameter in (tokens.base, tokens.time):
        assert parameter.std().item() == pytest.approx(0.02, rel=0.02)
        assert abs(parameter.mean().item()) < 1e-3
    again = SoftTokens.initialise(SD3, torch.Generator().manual_seed(0))
    assert torch.equal(tokens.base, again.base)


def test_initial_values_from_the_bos_embedding() -> None:
    bos = torch.randn(768)
    tokens = SoftTokens.initialise(SD15, torch.Generator().manual_seed(0), bos)
    assert tokens.time is not None
    assert torch.equal(tokens.base, bos.expand(2, 4, 768))
    assert tokens.time.std().item() == pytest.approx(0.02, rel=0.02)
    with pytest.raises(ValueError, match="BOS"):
        SoftTokens.initialise(SD15, torch.Generator(), torch.randn(5))
    with pytest.raises(ValueError, match="BOS"):
        SoftTokens.initialise(SD3, torch.Generator(), torch.randn(1536))


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": -1},
        {"dim": 0},
        {"dim": True},
        {"layers": 2},
        {"time_bins": 1001},
        {"placement": "dit"},
        {"apply": (True, True)},
        {"apply": (1, 0, 0)},
        {"apply": (False, False, False)},
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        TokensConfig(**{"backbone": "x", "placement": "unet", "dim": 8, **wrong})


def test_header_imports_no_torch() -> None:
    code = "import sys; from agsm_bench.tokens import read_header, TokensConfig; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"
