"""The noise levels of flow matching: sigma 0 is the picture, sigma 1 noise; a timestep is 1000 sigma."""

from __future__ import annotations

from copy import deepcopy
from typing import Any


def sigmas_of(scheduler: Any, steps: int) -> list[float]:
    """Levels from 1 to 0, [steps + 1], of the backbone's FlowMatchEulerDiscreteScheduler, which is not changed."""
    own = deepcopy(scheduler)
    own.set_timesteps(steps)
    return [float(sigma) for sigma in own.sigmas]


def timestep_of(sigma: float) -> float:
    """What the network is told of a level."""
    return 1000 * sigma
