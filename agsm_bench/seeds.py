"""Seeds: one per sample id, never per batch or process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any identity, e.g. `seed_of(run_seed, sample_id)`; stable across versions and machines."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator_for(*parts: object) -> torch.Generator:
    """A CPU generator for an identity: noise is drawn on the CPU so that it does not depend on the device."""
    import torch

    return torch.Generator("cpu").manual_seed(seed_of(*parts))
