"""What a file in `agsm_bench/detectors/` says of a detector of objects. No torch: `list` and `--help` read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agsm_bench.metric import Files
from agsm_bench.types import Detection, Domain

if TYPE_CHECKING:
    import numpy as np

    from agsm_bench.weight_files import WeightFile


class LoadedDetector(Protocol):
    """A detector with its network in memory."""

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The objects of each picture, best first, with GenEval's class names.

        What is found in a picture does not depend on the others, up to rounding.

        Args:
            images: uint8 [height, width, 3], RGB; sizes may differ.
        """
        ...


@dataclass(frozen=True)
class Detector:
    """DETECTOR of a file in `agsm_bench/detectors/`."""

    domain: Domain
    """Of the pictures that it is meant for."""
    weights: tuple[WeightFile, ...]
    load: Callable[[Files, str], LoadedDetector]
    """(the weight files, torch device) -> the detector.

    Raises MissingError for files of another model, and for a package that is not there."""
    version: Callable[[Files], str]
    """For stored detections: changes with the weights, and with whatever else changes what is found."""
    names_colors: bool
    """Whether detections come with their colours; otherwise they are classified afterwards."""
    extra: str | None = None
    """Of pyproject.toml; None: the core has all packages, or no extra can bring them."""
    packages: tuple[str, ...] = ()
    """That the detector imports and the core does not bring, by the name of the import."""
