"""What a faster training step could be made of, each over the plain floor: `python tests/bench/ideas.py [ROUNDS]`.

None of these is in the product: BENCH.md says what they bring and why they are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from families import NAMES, job, load
from measured import Measured, ratio, seconds_in_turns
from torch import Tensor, nn
from training_ways import floor

from agsm_bench.diffusion.denoiser import Denoiser

ROUNDS = 10
BATCH, TOKENS = 4, 4


def share_prefix(denoiser: Denoiser) -> None:
    """A UNet's layers before its first cross-attention see the picture alone: once a picture, not once a pair."""

    def once(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x[::BATCH] if isinstance(x, Tensor) and len(x) == BATCH**2 else x for x in args)

    def for_all(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output.repeat_interleave(BATCH, 0)

    first = denoiser.network.down_blocks[0]
    transformer = first.attentions[0].transformer_blocks[0]
    same = (denoiser.network.conv_in, first.resnets[0], first.attentions[0].norm, first.attentions[0].proj_in)
    for module in (*same, transformer.norm1, transformer.attn1, transformer.norm2):
        module.register_forward_pre_hook(once)
        module.register_forward_hook(for_all)


def share_text(denoiser: Denoiser) -> None:
    """A UNet's keys and values of the frozen text: once a caption and without gradient."""

    def projected(weight: Tensor, context: Tensor) -> Tensor:
        with torch.no_grad():
            text = torch.cat([context[:BATCH, :1], context[:BATCH, 1 + TOKENS :]], dim=1) @ weight.T
        text, tokens = text.repeat(BATCH, 1, 1), context[:, 1 : 1 + TOKENS] @ weight.T
        return torch.cat([text[:, :1], tokens, text[:, 1:]], dim=1)

    for name, module in denoiser.network.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            module.forward = lambda context, weight=module.weight: projected(weight, context)


def channels_last(denoiser: Denoiser) -> None:
    """Memory in the order that convolutions like."""
    denoiser.network.to(memory_format=torch.channels_last)


def bfloat16(denoiser: Denoiser) -> None:
    """Autocast: `--mixed-precision bf16`."""
    denoiser.autocast = torch.bfloat16


IDEAS: dict[str, tuple[Callable[[Denoiser], None], bool]] = {
    "prefix shared": (share_prefix, True),
    "text's keys and values shared": (share_text, True),
    "channels last": (channels_last, True),
    "bfloat16": (bfloat16, False),
}
"""By name: what changes a backbone, and whether it is for UNets alone."""


def measure(rounds: int = ROUNDS) -> list[Measured]:
    """AGSM's passes with each idea over those without, one thread."""
    torch.set_num_threads(1)
    found = []
    for name in NAMES:
        unet = load(name)[0].tokens.placement == "unet"
        ideas = {idea: change for idea, (change, only) in IDEAS.items() if unet or not only}
        ways = {"plain": _passes(name, None)} | {idea: _passes(name, change) for idea, change in ideas.items()}
        seconds = seconds_in_turns(ways, rounds)
        found += [Measured("ideas", f"{idea}, {name}", ratio(seconds, idea, "plain"), "ratio") for idea in ideas]
    return found


def _passes(name: str, change: Callable[[Denoiser], None] | None) -> Callable[[], object]:
    backbone, denoiser = load(name)
    if change:
        change(denoiser)
    return floor(job(backbone, "agsm", Path("unused"), batch=BATCH), denoiser)


if __name__ == "__main__":
    for line in measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
        print(line.line())
