"""The processes of one command under `accelerate launch` or torchrun. No torch at the top: every command asks.

They talk over gloo, on GPUs too: what they exchange is small (the tokens' gradient), one path serves every machine,
and a process that ends is noticed by the others at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from agsm_bench.errors import ExitCode, UserError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for one that works: a shard or a validation may take hours."""


@dataclass(frozen=True)
class Processes:
    """This process (`rank`, from 0) and how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The value of every process, in their order; raises UserError where one of them has ended."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[T | None] = [None] * self.count
        with _listening():
            dist.all_gather_object(values, value)
        return cast(list[T], values)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """[n, ...] of every process to [count x n, ...] in their order, on the same device; raises as `gather`."""
        if self.count == 1:
            return rows
        import torch
        import torch.distributed as dist

        own = rows.cpu().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.count)]
        with _listening():
            dist.all_gather(parts, own)
        return torch.cat(parts).to(rows.device)

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on the first process, while the others wait: all get it, or raise its UserError."""
        result: T | None = None
        failure: tuple[str, str, ExitCode] | None = None
        if self.first:
            try:
                result = action()
            except UserError as error:
                if self.count == 1:
                    raise
                failure = (error.message, error.fix, error.code)
        result, failure = self.gather((result, failure))[0]
        if failure:
            raise UserError(*failure)
        return cast(T, result)


ALONE = Processes()


def launched() -> Processes:
    """What the launcher says in the environment; without one a process is alone."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def join() -> Processes:
    """`launched`, each with a GPU of its own where there are any, and able to talk."""
    processes = launched()
    if processes.count > 1:
        if absent := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            fix = "Start with `accelerate launch` or torchrun, or unset WORLD_SIZE."
            raise UserError(f"WORLD_SIZE is {processes.count}, and {absent[0]} is not set.", fix)
        import torch
        import torch.distributed as dist

        if torch.cuda.is_available():
            torch.cuda.set_device(own_gpu())
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=PATIENCE)
    return processes


def leave(code: int) -> None:
    """Ends a process that has joined others, at once; returns in one that has not.

    The interpreter's own end takes the GIL from threads of torch that still run, and one in about twenty such
    processes was aborted there ("terminate called without an active exception", pytorch/pytorch#190489).
    """
    if launched().count == 1 or "torch.distributed" not in sys.modules:
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def own_gpu() -> int:
    """Index of the GPU of this process; those of a machine with too few share them."""
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()


@contextmanager
def _listening() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            "Another process of this command has ended.",
            "See what it says; then run the same command to go on.",
            ExitCode.INTERRUPTED,
        ) from error
