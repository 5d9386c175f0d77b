"""The one training loop of all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator

from agsm_bench.contracts import Trainer
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.errors import UserError
from agsm_bench.training import log
from agsm_bench.training.config import LoopOptions
from agsm_bench.training.job import PreferenceJob, Task, TokenJob, positive
from agsm_bench.training.preference_task import PreferenceTask
from agsm_bench.training.state import STATE_FILE, load_state, save_state
from agsm_bench.training.token_task import TokenTask


class Training:
    """The state of a run: a task, the optimiser of what it trains, and the step."""

    def __init__(self, task: Task) -> None:
        self.task, self.options = task, task.job.options
        precision = autocast_name(self.options.mixed_precision, task.denoiser.device.type)
        self.accelerator = Accelerator(mixed_precision=precision, cpu=task.denoiser.device.type == "cpu")
        optimizer = torch.optim.AdamW(
            task.trained.values(),
            lr=positive(self.options.learning_rate),
            weight_decay=self.options.weight_decay,
            betas=(0.9, 0.999),
            eps=1e-8,
        )
        self.optimizer = self.accelerator.prepare(optimizer)
        self.state = task.job.out / STATE_FILE
        self.step = load_state(self.state, task.trained, task.averaged, optimizer)

    def run(self, progress: Callable[[int, dict[str, float]], None]) -> Path:
        """Trains up to the last step, logging and saving on the way; `progress` hears of every step."""
        path, steps = self.task.job.out / log.LOG_FILE, int(positive(self.options.steps))
        self.task.resumed(self.step)
        log.rewind(path, self.step)
        with self.task.active():
            while self.step < steps:
                record = self.advance()
                log.append(path, record)
                self.task.keep(self.step)
                progress(self.step, record)
                if self.step % self.options.save_every == 0 or self.step == steps:
                    save_state(self.state, self.step, self.task.trained, self.task.averaged, self.optimizer)
            return self.task.save()

    def advance(self) -> dict[str, float]:
        """One optimiser step; returns the line of the log, with a validation point where one is due."""
        rate = learning_rate(self.options, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, diagnostics = self.task.loss(self.step)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        record = {"step": self.step, "loss": loss.item(), "lr": rate, **diagnostics, **self.task.after_step()}
        if self.step % positive(self.options.validate_every) == 0 or self.step == self.options.steps:
            record |= {f"val_{k}": v for k, v in self.task.validate().items()}
        if not math.isfinite(record["loss"]):
            raise UserError(
                f"The loss became {record['loss']} at step {self.step}.",
                f"Lower --learning-rate or the guidance scales, and delete {self.task.job.out} or use another --out.",
            )
        return record


def train(job: TokenJob | PreferenceJob, denoiser: Denoiser, progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Runs a job to its end, resuming what is in its folder, and saves the result there."""
    make = TokenTask if isinstance(job.trainer, Trainer) else PreferenceTask
    task = cast(Callable[[Any, Denoiser], Task], make)(job, denoiser)
    with memory_and_precision(denoiser, job.options):
        return Training(task).run(progress)


@contextmanager
def memory_and_precision(denoiser: Denoiser, options: LoopOptions) -> Iterator[None]:
    """The options' autocast and gradient checkpointing, for the length of a training."""
    name = autocast_name(options.mixed_precision, denoiser.device.type)
    denoiser.autocast = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
    if options.gradient_checkpointing:
        denoiser.network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        denoiser.autocast = None
        if options.gradient_checkpointing:
            denoiser.network.disable_gradient_checkpointing()


def autocast_name(asked: str, device: str) -> str:
    """`no`, `fp16` or `bf16`; as released, half precision is the default on CUDA.

    Raises:
        UserError: fp16 on another device, where it has no gradient scaler.
    """
    if asked == "auto":
        return "fp16" if device == "cuda" else "no"
    if asked == "fp16" and device != "cuda":
        raise UserError(f"--mixed-precision fp16 needs a CUDA GPU, this is {device}.", "Use bf16, or no.")
    return asked


def learning_rate(options: LoopOptions, step: int) -> float:
    """CosineAnnealingWarmRestarts, stepped once per validation interval (method.md, step 7)."""
    interval = step // int(positive(options.validate_every))
    phase = (interval % options.restart_every) / options.restart_every
    low, high = options.min_learning_rate, positive(options.learning_rate)
    return low + (high - low) * (1 + math.cos(math.pi * phase)) / 2
