"""The processor, the GPU, and what models can do on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agsm_bench.contracts import Backbone
from agsm_bench.doctor.check import Check, gigabytes
from agsm_bench.errors import MissingError
from agsm_bench.model_options import check_device_name

DRIVER = Path("/proc/driver/nvidia/version")
"""There where Linux drives an NVIDIA GPU, whatever torch can do with it."""


@dataclass(frozen=True)
class Device:
    """What a run works on."""

    name: str
    """As torch calls it, e.g. `cuda:0`."""
    total: int
    """Bytes of its memory."""
    free: int


def find_device(asked: str | None, shapes: bool) -> tuple[Device, list[Check]]:
    """The device of the chosen run, and what there is to say of it.

    Args:
        asked: `--device`.
        shapes: whether the run is of the shapes domain, which works on the CPU.

    Raises:
        UserError: torch knows no device of that name.
    """
    import torch

    if asked:
        check_device_name(asked)
    cpu, checks = _cpu()
    if torch.cuda.is_available():
        checks += [_gpu(index) for index in range(torch.cuda.device_count())]
    else:
        checks.append(_no_gpu(needed=not shapes and (asked or "").startswith("cuda")))
    name = "cpu" if shapes else asked or _best()
    if name.startswith("cuda") and torch.cuda.is_available():
        index = int(name.partition(":")[2] or 0)
        if index < torch.cuda.device_count():
            free, total = torch.cuda.mem_get_info(index)
            return Device(name, total, free), checks
        last = torch.cuda.device_count() - 1
        checks.append(
            Check("machine", name, "missing", "There is no such GPU.", f"Use --device cuda:0 to cuda:{last}.")
        )
    return Device(name, cpu.total, cpu.free), checks


def _best() -> str:
    from agsm_bench.model_options import ModelOptions, device_name

    return device_name(ModelOptions())


def _cpu() -> tuple[Device, list[Check]]:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    says = f"{cores} cores, {gigabytes(memory.total)} of memory, {gigabytes(memory.available)} free"
    return Device("cpu", memory.total, memory.available), [Check("machine", "CPU", "ok", says)]


def _gpu(index: int) -> Check:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    half = "fp16 and bf16" if properties.major >= 8 else "fp16, no bf16"
    says = (
        f"{properties.name}, {gigabytes(total)} of memory, {gigabytes(free)} free, CUDA {torch.version.cuda}, "
        f"compute capability {properties.major}.{properties.minor}: {half}"
    )
    return Check("machine", f"cuda:{index}", "ok", says)


def _no_gpu(needed: bool) -> Check:
    """Without CUDA: because there is none, or because torch was built without."""
    import torch

    if DRIVER.exists() and torch.version.cuda is None:
        fix = "Install torch as https://pytorch.org/get-started/locally/ says for your CUDA version."
        says = f"There is an NVIDIA GPU, but torch {torch.__version__} was built without CUDA."
        return Check("machine", "GPU", "missing" if needed else "warning", says, fix, needed)
    if DRIVER.exists():
        says = f"There is an NVIDIA GPU, but torch cannot use it (built for CUDA {torch.version.cuda})."
        return Check("machine", "GPU", "missing" if needed else "warning", says, "See what nvidia-smi says.", needed)
    if torch.backends.mps.is_available():
        return Check("machine", "GPU", "ok", "Apple's, by mps: float32 or fp16", needed=False)
    fix = "Leave --device out, or use a machine that has one." if needed else ""
    says = "none that torch knows" if needed else "none: the CPU does the work"
    return Check("machine", "GPU", "missing" if needed else "ok", says, fix, needed)


def slow_on_cpu(backbone: Backbone, device: Device) -> Iterator[Check]:
    """A warning where a photo backbone would run without a GPU."""
    if backbone.domain == "photo" and device.name == "cpu":
        says = f"{backbone.name} would run on the CPU: seconds for one pass of its network over one image."
        fix = "Use a machine with a GPU; here, --backbone shapes-mmdit."
        yield Check("machine", "speed", "warning", says, fix)


def compiler(device: Device) -> Check:
    """Whether torch.compile has what it needs on the device; nothing is compiled."""
    from agsm_bench.diffusion.compiling import check_compiler

    try:
        check_compiler(device.name)
    except MissingError as error:
        return Check("machine", "compiler", "missing", error.message, error.fix)
    return Check("machine", "compiler", "ok", "there for --compile; not tried")
