"""Sending a training's log to a tracker, through accelerate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.errors import MissingError
from agsm_bench.seeds import seed_of

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "agsm-bench"


def check_tracker(name: str) -> None:
    """Raises MissingError where a tracker's package is not installed; it has the tracker's name."""
    if name != "none" and find_spec(name) is None:
        raise MissingError(f"--tracker {name} needs a package that is not installed.", f"Type: pip install {name}")


@contextmanager
def tracked(accelerator: Accelerator, out: Path, config: Mapping[str, Any], step: int) -> Iterator[None]:
    """Between the two `accelerator.log` reaches the trackers that the accelerator was made with, if any.

    Args:
        out: the run's folder. TensorBoard writes to `out`/tensorboard; the others get one run a folder.
        config: the run's record, told when it begins.
        step: where the training goes on; a tracker that heard of later steps goes back, or hears the same again.

    Raises:
        MissingError: a tracker does not start.
    """
    folder = out.resolve()
    lasting = json.dumps({**config, "steps": None})  # a run may go on to more steps
    name = f"{folder.name}-{seed_of('tracker', folder, lasting) % 16**8:08x}"
    settings = {
        "tensorboard": {"purge_step": step + 1},
        "trackio": {"name": name, "resume": "allow"},
        "wandb": {"name": folder.name, "id": name, "resume": "allow", "dir": str(out)},
    }
    inside = any(str(tracker) == "tensorboard" for tracker in accelerator.log_with)
    try:
        accelerator.init_trackers("tensorboard" if inside else PROJECT, None if step else _flat(config), settings)
    except Exception as error:  # each tracker has its own, e.g. for a login that is missing
        reason = str(error).partition("\n")[0]
        fix = "Log in to it, or leave --tracker out. wandb: `wandb login`, or WANDB_MODE=offline."
        raise MissingError(f"The tracker cannot start ({reason}).", fix) from error
    try:
        yield
    finally:
        # not accelerator.end_training: it would also part the processes
        for tracker in accelerator.trackers:
            tracker.finish()


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """TensorBoard takes single values only."""
    simple = (str, int, float, bool, type(None))
    return {key: value if isinstance(value, simple) else json.dumps(value) for key, value in config.items()}
