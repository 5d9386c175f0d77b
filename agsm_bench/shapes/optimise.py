"""The training loop of the miniature models: Muon and AdamW, EMA weights, exact resume, a JSONL log."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agsm_bench.shapes.muon import Muon
from agsm_bench.training import log

LOG_FILE = "log.jsonl"
LOG_EVERY = 50
"""Steps that a line of the log averages over."""

Model = TypeVar("Model", bound=nn.Module)
LossFunction = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the rate is constant, then falls linearly to zero over the last part."""

    steps: int
    learning_rate: float
    warmup: int = 100
    decay: float = 0.4
    """Share of the steps over which the rate falls."""
    ema_decay: float = 0.999
    weight_decay: float = 0.01
    save_every: int = 250

    def factor(self, step: int) -> float:
        """Learning rate relative to its peak at a step."""
        falling = (self.steps - step) / max(1, round(self.decay * self.steps))
        return max(0.0, min(1.0, (step + 1) / self.warmup, falling))


def optimisers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the networks, AdamW for everything else."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not _outer(n)]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    options: dict[str, Any] = {"lr": schedule.learning_rate, "weight_decay": schedule.weight_decay}
    adam = torch.optim.AdamW(rest, betas=(0.9, 0.99), **options)
    if not matrices:
        return [adam]
    return [Muon(matrices, **options), adam]


def _outer(name: str) -> bool:
    """Embeddings, modulations, inputs and outputs stay with AdamW, as Muon's authors advise."""
    return any(part in name for part in ("embed", "norm", "proj_out", "time_emb"))


def train(model: Model, loss_of: LossFunction, schedule: Schedule, folder: Path, seed: int = 0) -> Model:
    """Trains `model` in place, resuming from `folder` if it holds a checkpoint; returns the EMA model.

    Each step draws from its own generator, so a resumed run equals an unbroken one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ema = copy.deepcopy(model)
    optims = optimisers(model, schedule)
    step = _restore(folder, model, ema, optims)
    log.rewind(folder / LOG_FILE, step, LOG_EVERY)
    started, losses = time.perf_counter(), list[float]()
    for now in range(step, schedule.steps):
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(now)
        loss = loss_of(torch.Generator().manual_seed(seed * 1_000_003 + now))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        _update_ema(ema, model, min(schedule.ema_decay, (1 + now) / (10 + now)))
        losses.append(loss.item())
        if (now + 1) % LOG_EVERY == 0 or now + 1 == schedule.steps:
            seconds = (time.perf_counter() - started) / (now + 1 - step)
            mean = sum(losses) / len(losses)
            log.append(
                folder / LOG_FILE, {"step": now + 1, "loss": round(mean, 5), "seconds_per_step": round(seconds, 3)}
            )
            losses.clear()
        if (now + 1) % schedule.save_every == 0 or now + 1 == schedule.steps:
            _save(folder, now + 1, model, ema, optims)
    return ema


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)


def _save(folder: Path, step: int, model: nn.Module, ema: nn.Module, optims: list[torch.optim.Optimizer]) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optims": [optim.state_dict() for optim in optims],
    }
    partial = folder / "checkpoint.partial"
    torch.save(state, partial)
    partial.replace(folder / "checkpoint.pt")


def _restore(folder: Path, model: nn.Module, ema: nn.Module, optims: list[torch.optim.Optimizer]) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    for optim, saved in zip(optims, state["optims"], strict=True):
        optim.load_state_dict(saved)
    return int(state["step"])
