"""Training steps to compare ours with: the bare network's passes alone, and as the predecessor's released code does it.

The released way is written from facts on SoftREPA's `train.py` and `sampler.py`, and on AGSM's step (method.md): each
step encodes its pictures and captions, gathers the text of every pair, runs all pairs through the network; AGSM has a
second network for its EMA and averages all of its weights, frozen or not. The objectives are ours: they cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from agsm_bench.contracts import PairInfo
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.image_encoder import pixels_of
from agsm_bench.diffusion.text import TextCondition
from agsm_bench.training.job import TokenJob
from agsm_bench.training.token_task import initial_tokens


def floor(job: TokenJob, denoiser: Denoiser) -> Callable[[], object]:
    """The network's passes: all pairs, with gradient to tokens that are part of the text; without, too, for an EMA."""
    count, tokens = job.options.batch, job.options.tokens
    item, caption = job.pairs(held_out=False).item(0)
    latents = denoiser.encode_images(pixels_of(item[None])).repeat(count**2, 1, 1, 1)
    text = denoiser.encode_text([caption]).rows(torch.zeros(count**2, dtype=torch.long))
    timestep = torch.full((count**2,), 500)
    extra = torch.zeros(tokens, text.context.shape[-1], requires_grad=True)

    def forward() -> Tensor:
        context = torch.cat([text.context[:, :1], extra.expand(count**2, -1, -1), text.context[:, 1:]], dim=1)
        return denoiser.predict(latents, timestep, TextCondition(context, text.pooled))

    def step() -> None:
        if job.trainer.uses_ema:
            with torch.no_grad():
                forward()
        extra.grad = None
        forward().square().mean().backward()

    return step


class Released:
    """One step after another the released way.

    Args:
        job: what to train.
        denoiser: the student.
        ema: a second one for the averages, where the objective has them.
        held: what keeps the tokens attached.
    """

    def __init__(self, job: TokenJob, denoiser: Denoiser, ema: Denoiser, held: ExitStack) -> None:
        self.job, self.step, self.data = job, 0, job.pairs(held_out=False)
        self.student, self.ema = denoiser, ema
        self.tokens, self.ema_tokens = (initial_tokens(job, denoiser) for _ in range(2))
        self.attached = {
            side: held.enter_context(tokens.attached(side.network))
            for side, tokens in ((denoiser, self.tokens), (ema, self.ema_tokens))
        }
        self.optimizer = torch.optim.AdamW(self.tokens.parameters(), lr=1e-3, weight_decay=1e-4)

    def __call__(self) -> None:
        job, count = self.job, self.job.options.batch
        latents, text = self._encoded()
        images = torch.cat([latents] * count)
        timestep = torch.randint(1000, (1,)).expand(count**2)
        noise = torch.randn(1, *latents.shape[1:])[torch.zeros(count**2, dtype=torch.long)]
        noised = self.student.process.add_noise(images, noise, timestep)
        target = self.student.process.target(images, noise)
        averaged = None
        if job.trainer.uses_ema:
            with torch.no_grad():
                averaged = self._predict(self.ema, noised, timestep, text)
        predictions = self._predict(self.student, noised, timestep, text)
        loss, _ = job.trainer.objective(predictions, averaged, target[:count], job.objective_options, PairInfo())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()
        if job.trainer.uses_ema:
            average(self.ema_tokens, self.tokens)
            average(self.ema.network, self.student.network)

    @torch.no_grad()
    def _encoded(self) -> tuple[Tensor, TextCondition]:
        count = self.job.options.batch
        items = [self.data.item(index) for index in range(self.step * count, (self.step + 1) * count)]
        self.step += 1
        pixels = torch.cat([pixels_of(picture[None]) for picture, _ in items])
        return self.student.encode_images(pixels), self.student.encode_text([caption for _, caption in items])

    def _predict(self, side: Denoiser, noised: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Caption by caption, as upstream has its rows; turned round for the objective."""
        count = self.job.options.batch
        captions = torch.arange(count).repeat(count, 1).T.reshape(-1)
        mismatched = (captions != torch.arange(count).repeat(count)).long()
        self.attached[side].polarity = mismatched if self.job.trainer.polarities == 2 else 0 * mismatched
        found = side.predict(noised, timestep, text.rows(captions))
        return found.unflatten(0, (count, count)).transpose(0, 1)


@torch.no_grad()
def average(averages: nn.Module, values: nn.Module) -> None:
    """Every parameter."""
    for old, new in zip(averages.parameters(), values.parameters(), strict=True):
        old.mul_(0.9999).add_(new, alpha=1e-4)
