"""Training soft tokens on a frozen backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from agsm_bench.contracts import PairInfo
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import CachedText
from agsm_bench.errors import UserError
from agsm_bench.seeds import generator_for, seed_of
from agsm_bench.tokens.checkpoint import save_tokens
from agsm_bench.tokens.soft_tokens import SoftTokens
from agsm_bench.training.config import kept_folder, tokens_config
from agsm_bench.training.job import TokenJob
from agsm_bench.training.pairs import Batch, load_batch, predict_pairs
from agsm_bench.training.validation import ValidationSet, validate

if TYPE_CHECKING:
    from agsm_bench.tokens.attach import Attachment


class TokenTask:
    """Tokens, their EMA, and the image and caption pairs they see."""

    _attachment: Attachment

    def __init__(self, job: TokenJob, denoiser: Denoiser) -> None:
        self.job, self.denoiser = job, denoiser
        self.text = CachedText(denoiser.encode_text)
        self.data = job.pairs(held_out=False)
        self.validation = ValidationSet.load(denoiser, job.pairs(held_out=True), self.text)
        self.student = initial_tokens(job, denoiser).to(denoiser.device)
        self.ema = copy.deepcopy(self.student).requires_grad_(False)

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        return dict(self.student.named_parameters())

    @property
    def averaged(self) -> Mapping[str, Tensor]:
        return dict(self.ema.named_parameters())

    @contextmanager
    def active(self) -> Iterator[None]:
        with self.student.attached(self.denoiser.network) as self._attachment:
            yield

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """One timestep and one noise for all pairs (paper Algorithm 1, lines 4 to 7)."""
        options, trainer, process = self.job.options, self.job.trainer, self.denoiser.process
        first = step * options.batch
        batch = load_batch(self.data, range(first, first + options.batch), self.denoiser, self.text, self.job.latents)
        generator = generator_for("train", options.seed, step)
        timestep = torch.randint(1000, (1,), generator=generator).to(batch.latents.device).expand(len(batch.latents))
        noise = torch.randn(batch.latents.shape[1:], generator=generator).to(batch.latents).expand_as(batch.latents)
        noised = process.add_noise(batch.latents, noise, timestep)
        target = process.target(batch.latents, noise)
        ema = None
        if trainer.uses_ema:
            with torch.no_grad():
                ema = self._predict(self.ema, noised, timestep, batch)
        predictions = self._predict(self.student, noised, timestep, batch)
        info = PairInfo(
            batch.false_negatives if options.exclude_false_negatives else None,
            process.guidance_coefficient(int(timestep[0])),
        )
        loss, diagnostics = trainer.objective(predictions, ema, target, self.job.objective_options, info)
        return loss, {
            "timestep": int(timestep[0]),
            **diagnostics,
            **pair_diagnostics(predictions.detach(), target, batch),
        }

    @torch.no_grad()
    def after_step(self) -> dict[str, float]:
        decay = float(self.job.options.ema_decay or 0.0)
        for average, value in zip(self.ema.parameters(), self.student.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
        return {"tokens_norm": self.student.base.detach().norm().item()}

    def validate(self) -> dict[str, float]:
        self._attachment.tokens = self.student
        return validate(self.denoiser, self._attachment, self.validation)

    def save(self) -> Path:
        return save_tokens(self.student, self.job.out, self.job.describe())

    def resumed(self, step: int) -> None:
        every = self.job.options.keep_every
        passed = range(every, step + 1, every) if every else ()
        if lost := [s for s in passed if not kept_folder(self.job.out, s).is_dir()]:
            raise UserError(
                f"{self.job.out} has gone on to step {step} without keeping the tokens of step {lost[0]}.",
                "Delete it to train again, or leave --keep-every out.",
            )

    def keep(self, step: int) -> None:
        """In a folder of its own, described as a run of `step` steps: neither data nor rates depend on the total."""
        if self.job.options.keep_every and step % self.job.options.keep_every == 0:
            save_tokens(self.student, kept_folder(self.job.out, step), self.job.describe() | {"steps": step})

    def _predict(self, tokens: SoftTokens, noised: Tensor, timestep: Tensor, batch: Batch) -> Tensor:
        self._attachment.tokens = tokens
        polarities = self.job.trainer.polarities
        rows = self.job.options.rows_per_backward
        return predict_pairs(self.denoiser, self._attachment, noised, timestep, batch.text, polarities, rows)


def initial_tokens(job: TokenJob, denoiser: Denoiser) -> SoftTokens:
    """Fresh tokens as method.md says: the empty prompt's BOS embedding for SD1.5's family, N(0, 0.02) else."""
    options = job.options
    config = tokens_config(options, job.backbone, job.trainer.polarities)
    bos = denoiser.encode_text([""]).context[0, 0].cpu() if options.init == "empty" else None
    return SoftTokens.initialise(config, torch.Generator().manual_seed(seed_of("tokens", options.seed)), bos)


def pair_diagnostics(predictions: Tensor, target: Tensor, batch: Batch) -> dict[str, float]:
    """Errors of matched and mismatched pairs, and how often the matched one wins; false negatives only counted."""
    errors = (predictions - target.unsqueeze(1)).square().flatten(2).mean(-1)
    positive = errors.diagonal()
    record = {
        "err_positive": positive.mean().item(),
        "false_negatives": batch.false_negatives.sum().item(),
    }
    own = torch.eye(len(errors), dtype=torch.bool, device=errors.device)
    mismatched = ~own & ~batch.false_negatives
    if mismatched.any():
        record["err_negative"] = errors[mismatched].mean().item()
        record["win_rate"] = (positive < errors.masked_fill(~mismatched, float("inf")).amin(1)).float().mean().item()
        record["margin"] = record["err_negative"] - record["err_positive"]
    return record
