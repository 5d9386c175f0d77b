"""Sampling with soft tokens over the stock pipeline with as long a text: `python tests/bench/sampling.py [ROUNDS]`.

One thread. The stock pipeline gets its prompts encoded, with room for the tokens, and nothing else of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median

import torch
from families import NAMES, load
from measured import Measured, ratio, seconds_in_turns
from torch import Tensor

from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.tokens.soft_tokens import SoftTokens

ROUNDS, STEPS, IMAGES = 9, 8, 8
TARGET = 1.03
BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Of the curve, on the shapes world."""


def prompts(count: int) -> list[str]:
    """Different ones."""
    return [f"a photo of {number + 2} red circles" for number in range(count)]


def noises(count: int) -> list[torch.Generator]:
    """A generator an image."""
    return [torch.Generator().manual_seed(number) for number in range(count)]


def sample(backbone: Backbone, denoiser: Denoiser, count: int, steps: int = STEPS) -> object:
    """As `agsm-bench eval` does a batch."""
    of = {"guidance_scale": 4.0, "size": backbone.sampling.size, "steps": steps}
    return denoiser.sample(prompts(count), noises(count), **of)  # type: ignore[arg-type]


def stock(backbone: Backbone, denoiser: Denoiser) -> Callable[[], object]:
    """The pipeline as diffusers has it, under texts that are longer by the tokens."""
    count, size = backbone.tokens.count, backbone.sampling.size
    text, nothing = denoiser.encode_text(prompts(IMAGES)), denoiser.encode_text([""] * IMAGES)
    given = {"prompt_embeds": longer(text.context, count), "negative_prompt_embeds": longer(nothing.context, count)}
    if text.pooled is not None and nothing.pooled is not None:
        given |= {"pooled_prompt_embeds": text.pooled, "negative_pooled_prompt_embeds": nothing.pooled}
    options = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "height": size, "width": size}
    denoiser.pipe.set_progress_bar_config(disable=True)
    return lambda: denoiser.pipe(**given, **options, generator=noises(IMAGES))


def longer(context: Tensor, count: int) -> Tensor:
    """[rows, length + count, width]."""
    return torch.cat([context, context[:, :count]], dim=1)


def with_tokens(backbone: Backbone, denoiser: Denoiser, held: ExitStack) -> Callable[[], object]:
    """Ours, with random tokens."""
    tokens = SoftTokens.initialise(backbone.tokens, torch.Generator().manual_seed(0))
    held.enter_context(tokens.attached(denoiser.pipe))
    return partial(sample, backbone, denoiser, IMAGES)


def over_stock(name: str, rounds: int) -> Measured:
    """Ours over the stock pipeline."""
    with ExitStack() as held:
        ways = {"ours": with_tokens(*load(name), held), "stock": stock(*load(name))}
        seconds = seconds_in_turns(ways, rounds)
    return Measured("sampling", f"tokens / stock, {name}", ratio(seconds, "ours", "stock"), "ratio", TARGET)


def curve(name: str, rounds: int) -> list[Measured]:
    """Images a second with tokens, the paper's steps and as many of ours as the backbone has, by batch size."""
    backbone, denoiser = load(name)
    with ExitStack() as held:
        with_tokens(backbone, denoiser, held)
        ways = {f"{n}": partial(sample, backbone, denoiser, n, backbone.sampling.steps) for n in BATCHES}
        seconds = seconds_in_turns(ways, rounds)
    rates = {size: int(size) / median(found) for size, found in seconds.items()}
    return [
        Measured("sampling", f"{name}, images a second at batch {size}", rate, "1/s", lower_is_better=False)
        for size, rate in rates.items()
    ]


def measure(rounds: int = ROUNDS) -> list[Measured]:
    """Both."""
    torch.set_num_threads(1)
    curves = [line for name in NAMES if name.startswith("shapes") for line in curve(name, max(1, rounds // 3))]
    return [over_stock(name, rounds) for name in NAMES] + curves


if __name__ == "__main__":
    for found in measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
        print(found.line())
