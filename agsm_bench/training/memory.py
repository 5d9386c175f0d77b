"""How much memory a training of soft tokens takes, counted on the meta device: nothing is loaded or computed.

Counted are the frozen network's weights and what the student's forward keeps for its backward, as CUDA keeps it:
attention is fused (queries, keys, values, output and a number per query, never the scores), and under autocast
normalisations work in float32. All rows are kept at once, batch x batch pairs or `rows_per_backward` of them.

Not counted are the other models of the pipeline (text encoders, VAE), the EMA tokens' forward and the VAE's (they keep
nothing and come before), the largest single temporary of forward and backward, with gradient checkpointing the one
block that is being made again, the tokens with their Adam state (some 10 MB), and the CUDA context (about half a GB).
The caching allocator's fragmentation comes on top, too.

At the paper's batch of 4 images, 16 pairs (Table 11), with the released code's 512 pixels, float16 and autocast, the
network and the activations take 4.1 and 22.8 GB for SD3, 1.7 and 15.7 GB for SD1.5, 5.1 and 25.7 GB for SDXL. So SD3
with its text encoders and VAE (11.3 GB) and the context comes to about 39 GB: one A100 of 80 GB has room, one of 40 GB
hardly. The paper trained on two A100 (Appendix G), and says neither of which memory nor how it split the batch; none of
this was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from agsm_bench.tokens.header import TokensConfig
from agsm_bench.tokens.soft_tokens import SoftTokens

IN_FLOAT32 = {functional.layer_norm, functional.group_norm}
IN_HALF = {functional.linear, functional.conv2d, functional.scaled_dot_product_attention, torch.matmul, torch.bmm}
"""What autocast on CUDA does in one type or the other, of what these networks do."""


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
    autocast: torch.dtype | None = None,
    gradient_checkpointing: bool = False,
) -> Memory:
    """Counts a step's memory.

    Args:
        make: builds the network; called on the meta device.
        inputs: arguments of a forward of so many rows, with `timestep`; called on the meta device.
        tokens: the soft tokens in training.
        rows: pairs at once, batch x batch or `rows_per_backward`.
        dtype: of weights, and of activations without autocast.
        autocast: type of the matrix products; None: no autocast.
    """
    with torch.device("meta"):
        model = make()
        # not model.to(): diffusers' warns of types that do not matter here
        nn.Module.to(model, dtype=dtype).requires_grad_(False).eval()
        if gradient_checkpointing:
            model.enable_gradient_checkpointing()  # type: ignore[operator]
        with SoftTokens(tokens).attached(model):
            arguments = _cast(inputs(rows), dtype)
            with AsOnCuda(autocast):
                kept = kept_for_backward(lambda: model(**arguments).sample, model)
    return Memory(sum(p.numel() * p.element_size() for p in model.parameters()), kept)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors, also those inside lists and dictionaries, in a type."""
    return tree_map(lambda v: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v, value)


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


class AsOnCuda(TorchFunctionMode):
    """Fused attention, and autocast, neither of which the meta device has."""

    def __init__(self, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.autocast = autocast

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.autocast is not None and function in IN_FLOAT32:
            args, kwargs = _cast((args, kwargs), torch.float32)
        elif self.autocast is not None and function in IN_HALF:
            args, kwargs = _cast((args, kwargs), self.autocast)
        if function is functional.scaled_dot_product_attention:
            return _FusedAttention.apply(*args[:3])  # type: ignore[no-untyped-call]
        return function(*args, **kwargs)


class _FusedAttention(torch.autograd.Function):
    """Keeps what FlashAttention keeps, and computes nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        log_sum = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, log_sum)
        return output
