"""`--compile`: torch.compile of a network, in a way that soft tokens can be attached before and after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

import torch
from torch._dynamo.exc import TorchDynamoException

from agsm_bench.errors import MissingError

COMPILERS = ("g++", "clang++", "cl")


def compile_blocks(network: Any, backend: str = "inductor") -> None:
    """Compiles the forward of every block of a UNet or an MMDiT, at its first call.

    Not the network as a whole: dynamo does not look whether hooks have come or gone since it compiled a module, and
    the soft tokens are hooks around the blocks. Here they run outside what is compiled.
    """
    # one entry a kind of block, shape and mode (with gradient or without); beyond the limit torch gives up silently
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for block in blocks(network):
        block.forward = _explained(torch.compile(block.forward, backend=backend))


def _explained(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Compiling happens at the first call; a compiler that is there may not work, e.g. lack Python's headers."""

    @wraps(forward)  # hooks look at the arguments' names
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except TorchDynamoException as error:
            reason = " ".join([line for line in str(error).splitlines() if line][:2]) or type(error).__name__
            raise MissingError(f"--compile failed ({reason}).", "Mend the compiler, or leave --compile out.") from error

    return call


def blocks(network: Any) -> list[Any]:
    """Those that do nearly all of the work."""
    if hasattr(network, "transformer_blocks"):
        return list(network.transformer_blocks)
    return [*network.down_blocks, network.mid_block, *network.up_blocks]


def check_compiler(device: str) -> None:
    """Raises MissingError where torch.compile has nothing to compile with."""
    if device.startswith("cuda"):
        there, what, get = find_spec("triton") is not None, "triton", "pip install triton"
    else:
        there = any(map(shutil.which, filter(None, (os.environ.get("CXX"), *COMPILERS))))
        what, get = "a C++ compiler", "Install one, e.g. g++"
    if not there:
        raise MissingError(f"--compile needs {what}.", f"{get}, or leave --compile out.")
