"""What the tests of editors share: tiny random backbones, pictures to edit, and what hangs on a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokens_tiny import tiny_sd3, tiny_sd15
from torch import Tensor, nn

from agsm_bench import plugins
from agsm_bench.diffusion.denoiser import Denoiser, MMDiTDenoiser, UNetDenoiser
from agsm_bench.editing.predictor import EditBatch, Predictor, TokensOn
from agsm_bench.editor import Editor
from agsm_bench.seeds import generator_for
from agsm_bench.tokens import SoftTokens

SOURCES = ("red cat", "a dog on the sea", "two hats", "night")
TARGETS = ("red dog", "a fox on the sea", "six hats", "day")
UNET, FLOW = ("masactrl", "pnp"), ("flowedit", "flowalign", "rf_inversion")


@dataclass(frozen=True)
class Soft:
    """Soft tokens and where they go, as a Predictor is told."""

    tokens: SoftTokens
    on: TokensOn = "both"
    away: int = 0


def tiny_denoiser(placement: str, folder: Path) -> Denoiser:
    """An untrained SD1.5 or SD3, without anything else at work on it."""
    if placement == "unet":
        return UNetDenoiser(tiny_sd15(folder))
    return MMDiTDenoiser(tiny_sd3(folder), t5_length=0)


def exact(denoiser: Denoiser) -> Denoiser:
    """In float64 throughout: random networks blow up what rounding does, and would blur a comparison.

    Prompts are encoded once, which takes longer than a tiny network's forward.
    """
    denoiser.pipe.to(torch.float64)
    denoiser.pipe.set_progress_bar_config(disable=True)
    denoiser.pipe.encode_prompt = remembering(denoiser.pipe.encode_prompt)
    denoiser.predict = denoiser._forward  # type: ignore[method-assign]
    return denoiser


def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for arguments that their words tell apart, worked out once for each."""
    kept: dict[str, Any] = {}

    def call(*args: Any, **named: Any) -> Any:
        key = repr((args, named))
        if key not in kept:
            kept[key] = function(*args, **named)
        return kept[key]

    return call


def batch_of(rows: int = 2, sources: tuple[str, ...] = SOURCES, targets: tuple[str, ...] = TARGETS) -> EditBatch:
    """Latents drawn at random; the same at every call, the generators fresh."""
    latents = torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    return EditBatch(latents, sources[:rows], targets[:rows], [generator_for("edit", row) for row in range(rows)])


def edited(
    name: str, denoiser: Denoiser, batch: EditBatch | None = None, soft: Soft | None = None, **options: Any
) -> Tensor:
    """The latents that an editor makes, of `batch_of()` by default."""
    editor: Editor = plugins.load("editors", name)
    predict = Predictor(denoiser, soft.tokens, soft.on, soft.away) if soft else Predictor(denoiser)
    chosen = batch or batch_of()
    chosen = replace(chosen, latents=chosen.latents.to(denoiser.dtype))
    with torch.no_grad():
        result: Tensor = editor.edit(predict, chosen, editor.options(**options))
    return result


def traces(network: Any) -> list[Any]:
    """Every hook of every module by its id, every forward that was put in place, and the attention processors."""
    stores = [name for name in vars(nn.Module()) if "hook" in name]
    found: list[Any] = [
        (name, store, list(getattr(module, store)))
        for name, module in network.named_modules()
        for store in stores
        if getattr(module, store)
    ]
    found += [name for name, module in network.named_modules() if "forward" in vars(module)]
    return found + list(getattr(network, "attn_processors", {}).items())


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward for the length of a `with`."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
