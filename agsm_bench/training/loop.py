"""The one training loop of all trainers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from agsm_bench.contracts import Trainer
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.errors import UserError
from agsm_bench.folders import check_there
from agsm_bench.jsonl import writing
from agsm_bench.parallel import ALONE, Processes
from agsm_bench.stopping import asked_to_stop, finishing_steps
from agsm_bench.training import log
from agsm_bench.training.accumulation import accumulate
from agsm_bench.training.config import LoopOptions, autocast_name
from agsm_bench.training.job import PreferenceJob, Task, TokenJob, positive
from agsm_bench.training.preference_task import PreferenceTask
from agsm_bench.training.state import STATE_FILE, load_state, save_state
from agsm_bench.training.token_task import TokenTask
from agsm_bench.training.tracking import tracked


class Training:
    """The state of a run: a task, the optimiser of what it trains, and the step. Every process has its own, alike."""

    def __init__(self, task: Task, processes: Processes = ALONE) -> None:
        self.task, self.options, self.processes = task, task.job.options, processes
        precision = autocast_name(self.options.mixed_precision, task.denoiser.device.type)
        self.accelerator = Accelerator(
            mixed_precision=precision,
            cpu=task.denoiser.device.type == "cpu",
            log_with=None if self.options.tracker == "none" else self.options.tracker,
            project_dir=task.job.out,
            # accumulation is ours; accelerate's would come from the environment and divide the gradient
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
        optimizer = torch.optim.AdamW(
            task.trained.values(),
            lr=positive(self.options.learning_rate),
            weight_decay=self.options.weight_decay,
            betas=(0.9, 0.999),
            eps=1e-8,
        )
        self.optimizer = self.accelerator.prepare(optimizer)
        self.state, self.log = task.job.out / STATE_FILE, task.job.out / log.LOG_FILE
        self.step = load_state(self.state, task.trained, task.averaged, optimizer, self.accelerator.scaler)
        if len(steps := set(processes.gather(self.step))) > 1:
            raise UserError(
                f"The processes find checkpoints of different steps {sorted(steps)} in {task.job.out}.",
                "Use an --out folder that all machines see.",
            )

    def run(self, progress: Callable[[int, dict[str, float]], None]) -> Path:
        """Trains up to the last step; the first process logs and saves on the way. `progress` hears of every step.

        Asked to stop (`agsm_bench.stopping`) it finishes the step, saves, and raises KeyboardInterrupt.
        """
        steps, first = int(positive(self.options.steps)), self.processes.first
        self.processes.on_first(self._prepare)
        with (
            self.task.active(),
            tracked(self.accelerator, self.task.job.out, self.task.job.describe(), self.step),
            finishing_steps(),
        ):
            while self.step < steps:
                record = self.advance()
                stopping = any(self.processes.gather(asked_to_stop()))
                if first:
                    with writing(self.task.job.out):
                        self._keep(record, stopping or self.step == steps)
                progress(self.step, record)
                if stopping and self.step < steps:
                    self.processes.gather(None)  # a launcher ends the others as soon as one has ended
                    raise KeyboardInterrupt
            return self.processes.on_first(self._save)

    def advance(self) -> dict[str, float]:
        """One optimiser step; returns the line of the log, on the first process with a validation point where due."""
        rate = learning_rate(self.options, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        found = accumulate(self.task, self.accelerator.backward, self.processes, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        record = {"step": self.step, "loss": found.pop("loss"), "lr": rate, **found, **self.task.after_step()}
        due = self.step % positive(self.options.validate_every) == 0 or self.step == self.options.steps
        if due and self.processes.first:
            record |= {f"val_{k}": v for k, v in self.task.validate().items()}
        if not math.isfinite(record["loss"]):
            raise UserError(
                f"The loss became {record['loss']} at step {self.step}.",
                f"Lower --learning-rate or the guidance scales, and delete {self.task.job.out} or use another --out.",
            )
        return record

    def _prepare(self) -> None:
        self.task.resumed(self.step)
        with writing(self.task.job.out):
            log.rewind(self.log, self.step)

    def _save(self) -> Path:
        check_there(self.log)
        with writing(self.task.job.out):
            return self.task.save()

    def _keep(self, record: dict[str, float], last: bool) -> None:
        check_there(self.log)
        log.append(self.log, record)
        self.accelerator.log({key: value for key, value in record.items() if key != "step"}, step=self.step)
        self.task.keep(self.step)
        if last or self.step % self.options.save_every == 0:
            log.sync(self.log)
            trained, averaged = self.task.trained, self.task.averaged
            save_state(self.state, self.step, trained, averaged, self.optimizer, self.accelerator.scaler)


def train(
    job: TokenJob | PreferenceJob,
    denoiser: Denoiser,
    progress: Callable[[int, dict[str, float]], None],
    processes: Processes = ALONE,
) -> Path:
    """Runs a job to its end, resuming what is in its folder, and saves the result there."""
    make = TokenTask if isinstance(job.trainer, Trainer) else PreferenceTask
    task = cast(Callable[[Any, Denoiser], Task], make)(job, denoiser)
    with memory_and_precision(denoiser, job.options):
        return Training(task, processes).run(progress)


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


def learning_rate(options: LoopOptions, step: int) -> float:
    """CosineAnnealingWarmRestarts, stepped once per validation interval (method.md, step 7)."""
    interval = step // int(positive(options.validate_every))
    phase = (interval % options.restart_every) / options.restart_every
    low, high = options.min_learning_rate, positive(options.learning_rate)
    return low + (high - low) * (1 + math.cos(math.pi * phase)) / 2
