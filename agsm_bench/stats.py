"""Means with honest intervals. NumPy only, so that reports stay fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    """Number of values."""
    clusters: int
    """Number of independent groups that were resampled (prompts, for GenEval)."""
