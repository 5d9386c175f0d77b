"""The learnable soft text tokens psi+ and psi- (shapes and first values as in the authors' released code)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from agsm_bench.tokens.header import TIMESTEPS, TokensConfig

if TYPE_CHECKING:
    from agsm_bench.tokens.attach import Attachment

INITIAL_STD = 0.02
"""Standard deviation of a fresh token or time embedding, as released."""


class SoftTokens(nn.Module):
    """One set of tokens per polarity, plus a time embedding that the polarities share.

    Attributes:
        base: [polarities, count, dim] (unet) or [polarities, layers, count, dim] (mmdit); psi+ is index 0. With
            a `text_dim`, that wide.
        time: [time_bins, layers * dim], or None when the configuration is not time dependent.
        image, image_time: the same for the tokens on the image side, or None without them. The two streams
            of an MMDiT have spaces of their own, so they share no embedding.

    A new module is all zeros: use `initialise` to start training and `load_tokens` to read trained ones.
    """

    base: nn.Parameter
    time: nn.Parameter | None
    image: nn.Parameter | None
    image_time: nn.Parameter | None

    def __init__(self, config: TokensConfig) -> None:
        super().__init__()
        self.config = config
        shapes = config.shapes
        self.base = nn.Parameter(torch.zeros(shapes["base"]))
        for name in ("time", "image", "image_time"):
            self.register_parameter(name, nn.Parameter(torch.zeros(shapes[name])) if name in shapes else None)

    @classmethod
    def initialise(
        cls, config: TokensConfig, generator: torch.Generator, bos_embedding: Tensor | None = None
    ) -> SoftTokens:
        """Fresh tokens as the released code draws them, on the CPU in float32.

        Args:
            config: their shape.
            generator: CPU generator; `base` is drawn first, then `time`, then those of the image side.
            bos_embedding: [dim], the first (BOS) embedding of the empty prompt, which every token of an
                SD1.5-like UNet starts from. None (SDXL, SD3): N(0, 0.02), as the time embedding always.

        Raises:
            ValueError: `bos_embedding` has another shape, or the tokens are an MMDiT's.
        """
        tokens = cls(config)
        with torch.no_grad():
            if bos_embedding is None:
                tokens.base.normal_(0.0, INITIAL_STD, generator=generator)
            elif config.placement != "unet" or bos_embedding.shape != (config.dim,):
                raise ValueError(f"a BOS embedding {tuple(bos_embedding.shape)} does not fit {config}")
            else:
                tokens.base.copy_(bos_embedding)
            for parameter in (tokens.time, tokens.image, tokens.image_time):
                if parameter is not None:
                    parameter.normal_(0.0, INITIAL_STD, generator=generator)
        return tokens

    def forward(self, timestep: Tensor, polarity: Tensor, embedder: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """`base[polarity] + time[bin]`, the time embedding being common to the tokens of a layer.

        Args:
            timestep: [rows], 0 to 1000, integers or floats (flow schedulers pass sigma * 1000).
            polarity: [rows], integers below `polarities`. Tokens with one polarity use index 0 for all rows.
            embedder: from [..., text_dim] to [..., dim]; what tokens with a `text_dim` go through before the time
                embedding is added, and nobody else does.

        Returns:
            [rows, layers, count, dim]

        Raises:
            IndexError: a polarity out of range.
            ValueError: tokens with a `text_dim` got no embedder.
        """
        if not self.config.text_dim:
            embedder = None
        elif embedder is None:
            raise ValueError("tokens with a text_dim need the model's context_embedder")
        return self._look_up(self.base, self.time, timestep, polarity, embedder)

    def image_tokens(self, timestep: Tensor, polarity: Tensor) -> Tensor | None:
        """The tokens of the image side, [rows, layers, image_count, dim], as `forward` those of the text; or None."""
        return None if self.image is None else self._look_up(self.image, self.image_time, timestep, polarity)

    def _look_up(
        self,
        base: Tensor,
        time: Tensor | None,
        timestep: Tensor,
        polarity: Tensor,
        embedder: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        config = self.config
        if config.polarities == 1:
            polarity = torch.zeros_like(polarity)
        # `embedding` rather than indexing: it refuses negative rows, and its CUDA gradient is deterministic.
        rows = len(polarity)
        tokens = embedding(polarity, base.flatten(1)).view(rows, config.layers, *base.shape[-2:])
        if embedder is not None:
            tokens = embedder(tokens)
        if time is None:
            return tokens
        times = embedding(time_bin(timestep, config.time_bins), time)
        return tokens + times.view(rows, config.layers, 1, config.dim)

    def forget_time(self, generator: torch.Generator) -> None:
        """Replace the time embedding, if there is one, by a fresh one, as `initialise` draws it."""
        if self.time is not None:
            with torch.no_grad():
                self.time.normal_(0.0, INITIAL_STD, generator=generator)

    @classmethod
    def from_released(
        cls, folder: str | Path, apply: tuple[bool, bool, bool] = (True, True, False), backbone: str | None = None
    ) -> SoftTokens:
        """Read the authors' files, SoftREPA's or AGSM's: see `released.read_released`."""
        from agsm_bench.tokens.released import read_released

        return read_released(folder, apply, backbone)

    def to_released(self, folder: str | Path) -> None:
        """Write the authors' files: see `released.write_released`."""
        from agsm_bench.tokens.released import write_released

        write_released(self, folder)

    def attached(
        self, target: object, *, polarity: int | Tensor = 0, unconditional_polarity: int | None = None
    ) -> AbstractContextManager[Attachment]:
        """Attach to a diffusers pipeline or model for the length of a `with`: see `attach.attached`."""
        from agsm_bench.tokens.attach import attached

        return attached(self, target, polarity=polarity, unconditional_polarity=unconditional_polarity)


def time_bin(timestep: Tensor, bins: int) -> Tensor:
    """Row of the time embedding: `floor(t / (1000 / bins))`, so `t // 10` for the released 100 bins.

    Args:
        timestep: any shape, 0 to 1000; 1000 itself belongs to the last bin.
        bins: how many rows there are.

    Returns:
        Integers of the same shape in [0, bins).
    """
    bin_ = torch.div(timestep.float(), TIMESTEPS / bins, rounding_mode="floor")
    return bin_.long().clamp(0, bins - 1)
