"""The memory estimate against what a real forward keeps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_photo_sizes import CLASSES, inputs
from tokens_tiny import inputs_for, tiny_mmdit, tiny_unet, tokens_for

from agsm_bench import plugins
from agsm_bench.training.memory import AsOnCuda, kept_for_backward, training_memory

MODELS = {"unet": tiny_unet, "mmdit": tiny_mmdit}


@pytest.mark.parametrize("placement", MODELS)
@pytest.mark.parametrize("rows", [1, 3])
def test_meta_device_counts_what_the_cpu_keeps(placement: str, rows: int) -> None:
    model, tokens = MODELS[placement](), tokens_for(placement)

    def arguments(count: int) -> dict[str, Any]:
        return {**inputs_for(placement, count), "timestep": torch.full((count,), 500.0)}

    def on_meta(count: int) -> dict[str, Any]:
        return {name: value.to("meta") for name, value in arguments(count).items()}

    found = training_memory(lambda: copy.deepcopy(model).to("meta"), on_meta, tokens.config, rows, torch.float32)
    with tokens.attached(model):
        real = kept_for_backward(lambda: model(**arguments(rows)).sample, model)
    # attention on the CPU is fused, too
    assert found.activations == pytest.approx(real, rel=0.02)
    assert found.network == sum(4 * p.numel() for p in model.parameters())


def test_it_grows_with_rows_and_shrinks_with_checkpointing() -> None:
    kind, config = CLASSES["sd15"]
    tokens = plugins.load("backbones", "sd15").tokens

    def asked(rows: int, on: bool = False) -> int:
        def arguments(count: int) -> dict[str, Any]:
            return {**inputs("sd15", count), "timestep": torch.full((count,), 500)}

        found = training_memory(
            lambda: kind(**config), arguments, tokens, rows, torch.float16, gradient_checkpointing=on
        )
        assert found.network == 2 * 859_520_964
        return found.activations

    one, two = asked(1), asked(2)
    assert two == pytest.approx(2 * one, rel=0.05)
    assert asked(2, on=True) < two / 4


class _Attention(torch.nn.Module):
    """Normalised queries attend to themselves; one head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(self.norm(x), x, x)


@pytest.mark.parametrize("autocast", [None, torch.float16])
def test_attention_and_normalisation_by_hand(autocast: torch.dtype | None) -> None:
    rows, length, width = 2, 64, 8
    with torch.device("meta"):
        model = _Attention().half().requires_grad_(False)
        x = torch.empty(rows, length, width, dtype=torch.float16, requires_grad=True)
        with AsOnCuda(autocast):
            kept = kept_for_backward(lambda: model(x), model)
    numbers = rows * length * width
    # x, which is key and value, too; the query; the output; their normaliser, of each query
    expected = 2 * 3 * numbers + 4 * rows * length
    # mean and deviation of each row of the normalisation, in float32 as always
    expected += 2 * 4 * rows * length
    # autocast has its input and its weights once more in float32
    assert kept == expected + (4 * (numbers + 2 * width) if autocast else 0)
