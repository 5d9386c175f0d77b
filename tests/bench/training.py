"""A training step over the bare network's passes, and over the released way: `python tests/bench/training.py [ROUNDS]`.

One thread. `kept`: latents and captions are there already, as after `agsm-bench data encode` and from the second
meeting of a caption on; `fresh`: nothing is. The shapes world draws its pictures, so each is encoded in both.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from families import COUNT, NAMES, job, load
from measured import MB, Measured, peak_memory, ratio, seconds_in_turns
from training_ways import Released, floor

from agsm_bench.data.latents import Latents
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.training.job import TokenJob
from agsm_bench.training.loop import Training
from agsm_bench.training.token_task import TokenTask

ROUNDS = 15
FLOOR, RELEASED = 1.05, 1.3
"""Targets: at most, at least."""


def kept_latents(training: TokenJob, denoiser: Denoiser) -> TokenJob:
    """The job with the latents of all its pictures; as it is where pictures are drawn."""
    data = training.pairs(held_out=False)
    if data.picture_key(0) is None:
        return training
    known: dict[str | None, Any] = {data.picture_key(i): denoiser.encoder.mean(data.item(i)[0]) for i in range(COUNT)}
    return replace(training, latents=cast(Latents, known))


def ours(training: TokenJob, denoiser: Denoiser, held: ExitStack, *, fresh: bool) -> Callable[[], object]:
    """`Training.advance`: what `agsm-bench train` does between two points of the validation curve."""
    task = TokenTask(training if fresh else kept_latents(training, denoiser), denoiser)
    held.enter_context(task.active())
    advance = Training(task).advance
    if not fresh:
        data = training.pairs(held_out=False)
        task.text([data.caption(i) for i in range(4 * COUNT)])
        return advance

    def forgetful() -> None:
        task.text.forget()
        advance()

    return forgetful


def of(name: str, trainer: str, rounds: int) -> Iterator[Measured]:
    """One backbone, one trainer; each way has a network of its own."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        ways: dict[str, Callable[[], object]] = {}
        for way in ("floor", "kept", "fresh", "released"):
            backbone, denoiser = load(name)
            training = job(backbone, trainer, Path(folder))
            if way == "floor":
                ways[way] = floor(training, denoiser)
            elif way == "released":
                ways[way] = Released(training, denoiser, load(name)[1], held)
            else:
                ways[way] = ours(training, denoiser, held, fresh=way == "fresh")
        seconds = seconds_in_turns(ways, rounds)
        weights = sum(each.nbytes for each in denoiser.network.parameters())
        held_by = {way: weights * (2 if way == "released" and training.trainer.uses_ema else 1) for way in ways}
        memory = {way: (held_by[way] + peak_memory(ways[way])) / MB for way in ways if way != "fresh"}
    pairs = training.options.batch**2 / median(seconds["kept"])
    what = f"{trainer} on {name}"
    yield Measured("training", f"{what}, kept / floor", ratio(seconds, "kept", "floor"), "ratio", FLOOR)
    yield Measured("training", f"{what}, fresh / floor", ratio(seconds, "fresh", "floor"), "ratio")
    yield Measured("training", f"{what}, released / kept", ratio(seconds, "released", "kept"), "ratio", RELEASED, False)
    yield Measured("training", f"{what}, released / fresh", ratio(seconds, "released", "fresh"), "ratio")
    yield Measured("training", f"{what}, pairs a second, kept", pairs, "1/s", lower_is_better=False)
    for way, peak in memory.items():
        yield Measured("training", f"{what}, memory of weights and step, {way}", peak, "MB")


def measure(rounds: int = ROUNDS) -> list[Measured]:
    """All backbones, AGSM and SoftREPA."""
    torch.set_num_threads(1)
    return [line for name in NAMES for trainer in ("agsm", "softrepa") for line in of(name, trainer, rounds)]


if __name__ == "__main__":
    for found in measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
        print(found.line())
