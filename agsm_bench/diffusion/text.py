"""Encoded text, and keeping it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextCondition:
    """Encoded prompts."""

    context: Tensor
    """[rows, text tokens, width]: what the network attends to."""
    pooled: Tensor | None = None
    """[rows, width], SDXL and SD3 only."""

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.context.nbytes + (0 if self.pooled is None else self.pooled.nbytes)

    def to(self, dtype: torch.dtype) -> TextCondition:
        """The same in another type."""
        return TextCondition(self.context.to(dtype), None if self.pooled is None else self.pooled.to(dtype))

    @staticmethod
    def joined(parts: Sequence[TextCondition]) -> TextCondition:
        """The rows of several conditions, in their order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return TextCondition(torch.cat([part.context for part in parts]), torch.cat(pooled) if pooled else None)

    def rows(self, index: Tensor) -> TextCondition:
        """The condition of some rows, in the order of `index`."""
        return TextCondition(self.context[index], None if self.pooled is None else self.pooled[index])


class CachedText:
    """Text conditions, each caption encoded once, and alone: in a batch its rounding would depend on the others,
    which after a resume are not the same. Beyond `limit` bytes (a caption takes SD3 4.8 MB in half precision) it
    forgets them all."""

    def __init__(self, encode: Callable[[Sequence[str]], TextCondition], limit: int = 2**29) -> None:
        self._encode, self._limit = encode, limit
        self.nbytes = 0
        """Held."""
        self._known: dict[str, TextCondition] = {}

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        """The conditions of the captions, as rows in their order."""
        if self.nbytes > self._limit:
            self.forget()
        for caption in dict.fromkeys(captions):
            if caption not in self._known:
                self._known[caption] = self._encode([caption])
                self.nbytes += self._known[caption].nbytes
        return TextCondition.joined([self._known[caption] for caption in captions])

    def forget(self) -> None:
        """All that is held."""
        self._known.clear()
        self.nbytes = 0
