"""How much memory a training of soft tokens takes, counted on the meta device: nothing is loaded or computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agsm_bench.tokens.header import TokensConfig
from agsm_bench.tokens.soft_tokens import SoftTokens


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    network: int
    """Of the frozen network's weights."""
    activations: int
    """What the student's forward keeps for its backward, of all rows at once."""


def training_memory(
    make: Callable[[], nn.Module],
    inputs: Callable[[int], dict[str, Any]],
    tokens: TokensConfig,
    rows: int,
    dtype: torch.dtype,
    *,
    gradient_checkpointing: bool = False,
) -> Memory:
    """Counts a step's memory.

    Args:
        make: builds the network; called on the meta device.
        inputs: arguments of a forward of so many rows, with `timestep`; called on the meta device.
        tokens: the soft tokens in training.
        rows: pairs at once, batch x batch or `rows_per_backward`.
        dtype: of weights and activations.
    """
    with torch.device("meta"):
        model = make().to(dtype=dtype).requires_grad_(False).eval()
        if gradient_checkpointing:
            model.enable_gradient_checkpointing()  # type: ignore[operator]
        with SoftTokens(tokens).attached(model):
            arguments = _cast(inputs(rows), dtype)
            kept = kept_for_backward(lambda: model(**arguments).sample, model)
    return Memory(sum(p.numel() * p.element_size() for p in model.parameters()), kept)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors, also those inside dictionaries, in the type of the weights."""
    if isinstance(value, dict):
        return {name: _cast(item, dtype) for name, item in value.items()}
    return value.to(dtype) if value.is_floating_point() else value


def kept_for_backward(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Bytes of the tensors that a forward saves for its backward, each storage once, weights aside."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept.setdefault(storage, tensor)  # held, so that no other storage gets its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    assert output.requires_grad, "the tokens reach the output"
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
