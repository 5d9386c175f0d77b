"""The training state on disk: safetensors only, written atomically, enough for an exact resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError
from agsm_bench.faults import as_os_error
from agsm_bench.folders import saved_whole

STATE_FILE = "training_state.safetensors"
MOMENTS = frozenset(("step", "exp_avg", "exp_avg_sq"))
"""What AdamW keeps of every parameter."""


def save_state(
    path: Path,
    step: int,
    trained: Mapping[str, Tensor],
    averaged: Mapping[str, Tensor],
    optimizer: Any,
    scaler: Any = None,
) -> None:
    """Writes the trained parameters, their averages, AdamW's moments and float16's loss scale after `step` steps."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"student.{k}": v.detach().contiguous() for k, v in trained.items()}
    tensors |= {f"ema.{k}": v.detach().contiguous() for k, v in averaged.items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v).contiguous() for k, v in entries.items()}
    if scaler is not None:
        tensors |= {f"scaler.{k}": torch.as_tensor(v) for k, v in scaler.state_dict().items()}
    try:
        with saved_whole(path.parent) as folder:
            save_file(tensors, folder / path.name, metadata={"step": json.dumps(step)})
    except (SafetensorError, OSError) as error:
        raise as_os_error(error) from error


def load_state(
    path: Path, trained: Mapping[str, Tensor], averaged: Mapping[str, Tensor], optimizer: Any, scaler: Any = None
) -> int:
    """Restores in place what `save_state` wrote and returns the step, 0 where there is nothing.

    Raises:
        MissingError: the file is damaged or of another configuration.
    """
    if not path.exists():
        return 0
    with _readable(path) as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        step = _step(stored)
        _restore(trained, _part(tensors, "student."))
        _restore(averaged, _part(tensors, "ema."))
        _restore_moments(optimizer, _optimizer_state(tensors))
        if scaler is not None and (scale := _part(tensors, "scaler.")):
            scaler.load_state_dict({name: value.item() for name, value in scale.items()})
    return step


def stored_step(path: Path) -> int:
    """The step of a state, 0 where there is none; raises as `load_state`."""
    if not path.exists():
        return 0
    with _readable(path) as stored:
        return _step(stored)


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    """The open file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except (*DAMAGED, SafetensorError) as error:
        raise MissingError(
            f"The training state {path} is damaged or of another configuration ({why(error)}).",
            "Train into another --out folder, or delete this file to start again.",
        ) from error


def _step(stored: Any) -> int:
    return int(json.loads((stored.metadata() or {})["step"]))


@torch.no_grad()
def _restore(tensors: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    if tensors.keys() != stored.keys():
        raise ValueError("it holds other tensors")
    for name, tensor in tensors.items():
        if tensor.shape != stored[name].shape:
            raise ValueError(f"{name} has another shape")
        tensor.copy_(stored[name])


def _restore_moments(optimizer: Any, state: dict[int, dict[str, Tensor]]) -> None:
    """Raises ValueError for another optimiser's, or what no step can leave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        if not (entries := state.get(index)):
            continue  # it has had no gradient yet
        if entries.keys() != MOMENTS or any(entries[name].shape != parameter.shape for name in MOMENTS - {"step"}):
            raise ValueError("it holds another optimiser's moments")
        if not entries["step"].numel() == 1 or not entries["step"].item() > 0:
            raise ValueError("its optimiser has made no step")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    return state
