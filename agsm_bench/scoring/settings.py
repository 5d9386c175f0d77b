"""How the pass runs; none of it changes a score beyond rounding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agsm_bench.scoring.selection import Chosen

SHARE = 0.7
"""Of the free memory that weights may take; the rest is for the batch."""


@dataclass(frozen=True)
class PassSettings:
    """Of one scoring pass."""

    device: str = "cpu"
    """Torch's name of it."""
    batch_size: int = 32
    """Images at once."""
    workers: int = min(16, 2 * (os.cpu_count() or 1))
    """Threads that read and prepare pictures."""

    def turns(self, chosen: Sequence[Chosen]) -> Iterator[list[Chosen]]:
        """The metrics in groups whose weights fit into the free memory together; one alone is always tried."""
        free, turn, size = SHARE * free_bytes(self.device), list[Chosen](), 0
        for each in chosen:
            if turn and size + each.bytes > free:
                yield turn
                turn, size = [], 0
            turn.append(each)
            size += each.bytes
        if turn:
            yield turn


def free_bytes(device: str) -> int:
    """Of a CUDA device, or of this machine's memory."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


def default_device() -> str:
    """CUDA where there is any, else the CPU. Imports torch."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
