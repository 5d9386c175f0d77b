"""What modules of a network gave in one forward, put in place of what they give in another: attention control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class Exchange:
    """Outputs of some modules (queries, keys, values, features), by hooks that are gone after each `with`.

    Args:
        modules: whose output is a tensor [rows, ...].
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = tuple(modules)
        self._kept: dict[nn.Module, Tensor] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps the outputs of the forward inside."""

        def keep(module: nn.Module, _: Any, output: Tensor) -> None:
            self._kept[module] = output

        with self._hooked(keep):
            yield

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Gives the forward inside what was kept, once for each group of as many rows: both halves of CFG."""

        def replace(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            kept = self._kept[module]
            return kept.repeat(len(output) // len(kept), *[1] * (kept.ndim - 1))

        with self._hooked(replace):
            yield

    @contextmanager
    def _hooked(self, hook: Callable[[nn.Module, Any, Tensor], Tensor | None]) -> Iterator[None]:
        with ExitStack() as stack:
            for module in self._modules:
                stack.callback(module.register_forward_hook(hook).remove)
            yield


def self_attentions(unet: Any) -> list[Any]:
    """The self-attention modules of a UNet2DConditionModel in the order in which they run: down, mid, up."""
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    return [layer.attn1 for block in blocks for layer in _transformer_blocks(block)]


def decoder_self_attentions(unet: Any) -> list[Any]:
    """Those of the up blocks, a list for each of their transformers."""
    return [
        [layer.attn1 for layer in transformer.transformer_blocks]
        for block in unet.up_blocks
        for transformer in getattr(block, "attentions", ())
    ]


def _transformer_blocks(block: Any) -> Iterator[Any]:
    for transformer in getattr(block, "attentions", ()):
        yield from transformer.transformer_blocks
