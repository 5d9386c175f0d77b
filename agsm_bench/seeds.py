"""Seeds: one per sample id, never per batch or process."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any identity, e.g. `seed_of(run_seed, sample_id)`; stable across versions and machines."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(*parts: object) -> torch.Generator:
    """A CPU generator for an identity: noise is drawn on the CPU so that it does not depend on the device."""
    import torch

    return torch.Generator("cpu").manual_seed(seed_of(*parts))


@lru_cache(maxsize=4)
def epoch_order(stream: str, count: int, seed: int, epoch: int) -> np.ndarray:
    """int [count]: a permutation, another one for every epoch of an endless stream."""
    import numpy as np

    return np.random.default_rng(seed_of(stream, seed, epoch)).permutation(count)
