"""`agsm-bench` for the tests of several processes: commands separated by `--then`, little held-out data.

$FAILING is `RANK BATCH HOW`: that process ends before that batch, by an `error` of the user's or a `kill`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import agsm_bench.metrics.denoising
import agsm_bench.training.validation
from agsm_bench.cli.main import app, main
from agsm_bench.errors import MissingError
from agsm_bench.training.token_task import TokenTask


def commands(arguments: Sequence[str]) -> Iterator[list[str]]:
    while "--then" in arguments:
        cut = arguments.index("--then")
        yield list(arguments[:cut])
        arguments = arguments[cut + 1 :]
    yield list(arguments)


def fail_at(batch: int, how: str) -> None:
    loss = TokenTask.loss

    def failing(task: TokenTask, step: int) -> Any:
        if step < batch:
            return loss(task, step)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise MissingError("A picture is absent.", "Get it.")

    TokenTask.loss = failing  # type: ignore[method-assign]


def abort() -> None:
    """What the end of the interpreter does now and then to a process with threads of torch."""
    print("The interpreter has ended by itself.", file=sys.stderr, flush=True)
    os._exit(99)


if __name__ == "__main__":
    atexit.register(abort)
    agsm_bench.metrics.denoising.GROUPS = 2
    agsm_bench.training.validation.TIMESTEPS = (500,)
    rank, batch, how = os.environ.get("FAILING", "- 0 -").split()
    if rank == os.environ["RANK"]:
        fail_at(int(batch), how)
    *earlier, last = commands(sys.argv[1:])
    for command in earlier:
        app(command, standalone_mode=False)
    sys.argv[1:] = last
    main()
