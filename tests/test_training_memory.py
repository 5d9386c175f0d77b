"""The memory estimate against what a real forward keeps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_photo_sizes import CLASSES, inputs
from tokens_tiny import inputs_for, tiny_mmdit, tiny_unet, tokens_for

from agsm_bench import plugins
from agsm_bench.training.memory import kept_for_backward, training_memory

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
    # the meta device has no fused attention
    assert real <= found.activations <= 1.25 * real
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
