"""Soft tokens that go through an MMDiT's frozen context_embedder, as its text does (SoftREPA's width 4096)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokens_tiny import WIDTH, by_hand, inputs_for, mmdit_by_hand, tiny_mmdit, tokens_for

from agsm_bench.errors import UserError
from agsm_bench.tokens import SoftTokens, TokensConfig, load_tokens, save_tokens, tokens_hash

TEXT = 64
"""Width of the tiny MMDiT's text before its context_embedder."""


def _embedded(tokens: SoftTokens, model: Any) -> SoftTokens:
    """The same tokens from behind the model's context_embedder, by its formula."""
    options = {**vars(tokens.config), "text_dim": 0}
    behind = SoftTokens(TokensConfig(**options))
    weight, bias = model.context_embedder.weight, model.context_embedder.bias
    with torch.no_grad():
        behind.base.copy_(tokens.base @ weight.T + bias)
        if tokens.time is not None and behind.time is not None:
            behind.time.copy_(tokens.time)
    return behind


@pytest.mark.parametrize("time_dependent", [True, False])
@pytest.mark.parametrize(("layers", "t"), [(1, 0), (2, 1000), (3, 999)])
def test_tokens_before_the_context_embedder(layers: int, t: int, time_dependent: bool) -> None:
    """SoftREPA's order: through the embedder, then the time embedding."""
    model = tiny_mmdit()
    tokens = tokens_for("mmdit", layers=layers, text_dim=TEXT, time_dependent=time_dependent)
    times = torch.tensor([t, 321])
    with tokens.attached(model, polarity=torch.tensor([0, 1])), torch.no_grad():
        ours = model(**inputs_for("mmdit"), timestep=times).sample
    extra = by_hand(_embedded(tokens, model), times.tolist(), [0, 1])
    with torch.no_grad():
        reference = mmdit_by_hand(model, extra, **inputs_for("mmdit"), timestep=times)
    assert torch.allclose(ours, reference, atol=1e-5)
    assert (ours - model(**inputs_for("mmdit"), timestep=times).sample).abs().max() > 1e-3


@pytest.mark.parametrize("checkpointing", [False, True])
def test_their_gradients_pass_the_frozen_embedder(checkpointing: bool) -> None:
    model, tokens, times = tiny_mmdit().train(), tokens_for("mmdit", text_dim=TEXT), torch.tensor([5, 5])
    behind = _embedded(tokens, model)
    mmdit_by_hand(
        model, by_hand(behind, [5, 5], [0, 0]), **inputs_for("mmdit"), timestep=times
    ).square().mean().backward()
    if checkpointing:
        model.enable_gradient_checkpointing()
    with tokens.attached(model):
        model(**inputs_for("mmdit"), timestep=times).sample.square().mean().backward()
    assert tokens.base.grad is not None and behind.base.grad is not None  # noqa: PT018
    expected = behind.base.grad @ model.context_embedder.weight
    assert torch.allclose(tokens.base.grad, expected, atol=1e-6)
    assert expected.abs().max() > 1e-6
    assert model.context_embedder.weight.grad is None


def test_they_serve_a_half_precision_model() -> None:
    model, tokens = tiny_mmdit().to(torch.bfloat16), tokens_for("mmdit", text_dim=TEXT)
    inputs = {name: value.to(torch.bfloat16) for name, value in inputs_for("mmdit").items()}
    with tokens.attached(model), torch.no_grad():
        assert model(**inputs, timestep=torch.tensor([5, 5])).sample.isfinite().all()


def test_where_tokens_before_the_embedder_do_not_fit() -> None:
    with pytest.raises(UserError, match="context_embedder"), tokens_for("mmdit", text_dim=48).attached(tiny_mmdit()):
        pass
    with pytest.raises(UserError, match="text_dim"):
        TokensConfig("tiny", "unet", WIDTH, text_dim=TEXT)
    with pytest.raises(ValueError, match="context_embedder"):
        tokens_for("mmdit", text_dim=TEXT)(torch.tensor([0]), torch.tensor([0]))


def test_our_own_file_keeps_them(tmp_path: Path) -> None:
    tokens = tokens_for("mmdit", text_dim=TEXT)
    read = load_tokens(save_tokens(tokens, tmp_path, {}))
    assert read.config == tokens.config
    assert torch.equal(read.base, tokens.base)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TokensConfig("sd3", "mmdit", 8, count=2, layers=3), "d2073480106c138e"),
        (TokensConfig("sd15", "unet", 8, count=2, polarities=1), "1eac186a66e120b7"),
        (TokensConfig("sd3", "mmdit", 8, count=2, layers=3, image_count=1), "023b8837bd998b91"),
    ],
)
def test_files_from_before_text_dim_keep_their_hash(config: TokensConfig, expected: str, tmp_path: Path) -> None:
    assert tokens_hash(save_tokens(SoftTokens(config), tmp_path, {})).startswith(expected)
