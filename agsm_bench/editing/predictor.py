"""The backbone's predictions for the branches of an edit, with soft tokens on those that are to have them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import TextCondition
from agsm_bench.tokens.attach import Attachment
from agsm_bench.tokens.soft_tokens import SoftTokens

Branch = Literal["source", "target"]
TokensOn = Literal["both", "target", "source"]


@dataclass(frozen=True)
class EditBatch:
    """Pictures to edit."""

    latents: Tensor
    """[rows, c, h, w] of the source pictures, float32, on the denoiser's device."""
    source: Sequence[str]
    """What each picture shows."""
    target: Sequence[str]
    """What it is to show."""
    generators: Sequence[torch.Generator]
    """Of each edit's noise, on the CPU."""

    def noise(self) -> Tensor:
        """Fresh N(0, 1) like the latents, each row from its own generator."""
        rows = [torch.randn(self.latents.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(rows).to(self.latents)


@dataclass(frozen=True)
class Condition:
    """Encoded prompts of a branch."""

    text: TextCondition
    soft: bool
    """Whether the soft tokens are attached."""
    polarity: int = 0
    """Of the soft tokens: 0 is psi+, 1 psi-."""


class Predictor:
    """Predictions of a backbone.

    Args:
        denoiser: the loaded backbone.
        tokens: soft tokens, None without any.
        tokens_on: the branches whose predictions have them.
        unconditional: the tokens' polarity with unconditional prompts, empty or negative. What FlowAlign leads away
            from is the source's own prompt, which has psi+.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        tokens: SoftTokens | None = None,
        tokens_on: TokensOn = "both",
        unconditional: int = 0,
    ) -> None:
        self.denoiser = denoiser
        self._tokens, self._on, self._unconditional = tokens, tokens_on, unconditional
        self._kept: dict[tuple[str, bool], TextCondition] = {}

    def condition(self, prompts: Sequence[str], branch: Branch, *, unconditional: bool = False) -> Condition:
        """Prompts of a branch, one a row.

        Args:
            prompts: what to encode; an empty unconditional one is what the stock pipeline takes for it.
            branch: whose prediction it is for.
            unconditional: whether CFG leads away from it, as from an empty or a negative prompt.
        """
        soft = self._tokens is not None and self._on in ("both", branch)
        texts = {prompt: self._text(prompt, unconditional) for prompt in dict.fromkeys(prompts)}
        text = TextCondition.joined([texts[prompt] for prompt in prompts])
        return Condition(text, soft, self._unconditional if unconditional else 0)

    def _text(self, prompt: str, unconditional: bool) -> TextCondition:
        """A prompt encoded alone, as it can depend on its batch in its last bits; kept if every batch has it."""
        if (prompt, unconditional) in self._kept:
            return self._kept[prompt, unconditional]
        if prompt or not unconditional:
            text = self.denoiser.encode_text([prompt])
        else:
            text = self.denoiser.encode_unconditional()
        if unconditional or not prompt:
            self._kept[prompt, unconditional] = text
        return text

    def __call__(self, latents: Tensor, timestep: float, condition: Condition) -> Tensor:
        """The prediction [rows, c, h, w] for noised latents at a timestep (0 to 1000)."""
        return self.each([latents], timestep, [condition])[0]

    def guided(
        self, latents: Tensor, timestep: float, toward: Condition, away: Condition, guidance_scale: float
    ) -> Tensor:
        """CFG: away + scale (toward - away); with a scale of 1 that is `toward` alone."""
        if guidance_scale == 1:
            return self(latents, timestep, toward)
        other, own = self.each([latents, latents], timestep, [away, toward])
        return other + guidance_scale * (own - other)

    @torch.no_grad()
    def each(self, latents: Sequence[Tensor], timestep: float, conditions: Sequence[Condition]) -> list[Tensor]:
        """Several predictions at one timestep, in one forward each for those with soft tokens and those without."""
        found: dict[int, Tensor] = {}
        for soft in (False, True):
            own = [i for i, condition in enumerate(conditions) if condition.soft is soft]
            if own:
                rows = torch.cat([latents[i] for i in own])
                predictions = self._forward(rows, timestep, [conditions[i] for i in own], soft)
                found |= dict(zip(own, predictions.split([len(latents[i]) for i in own]), strict=True))
        return [found[i] for i in range(len(conditions))]

    def _forward(self, latents: Tensor, timestep: float, conditions: Sequence[Condition], soft: bool) -> Tensor:
        text = TextCondition.joined([condition.text for condition in conditions])
        times = torch.full((len(latents),), timestep, device=latents.device)
        with self._attached(conditions) if soft else nullcontext():
            return self.denoiser.predict(latents, times, text)

    def _attached(self, conditions: Sequence[Condition]) -> AbstractContextManager[Attachment]:
        assert self._tokens is not None
        polarities = [condition.polarity for condition in conditions for _ in condition.text.context]
        return self._tokens.attached(self.denoiser.network, polarity=torch.tensor(polarities))
