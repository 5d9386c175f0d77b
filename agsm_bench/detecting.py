"""A detector with its weights at hand: which one a domain has, and what it finds in the images of a benchmark."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.detector import Detector, LoadedDetector
from agsm_bench.errors import MissingError, UserError
from agsm_bench.metric import Files
from agsm_bench.types import Domain
from agsm_bench.weight_files import find

DEFAULTS: Mapping[Domain, str] = {"shapes": "shapes", "photo": "mask2former"}


@dataclass(frozen=True)
class Detecting:
    """A detector that can be loaded."""

    name: str
    detector: Detector
    files: Files
    device: str = "cpu"

    @property
    def version(self) -> str:
        """Of what it finds."""
        return self.detector.version(self.files)

    def loaded(self) -> LoadedDetector:
        """The detector; raises MissingError for files of another model."""
        return self.detector.load(self.files, self.device)


def detecting(
    domain: Domain, name: str | None = None, weights: Mapping[str, Path] | None = None, device: str = "cpu"
) -> Detecting:
    """The detector of a domain, or the one named.

    Raises:
        UserError: there is none of that name, or it is another domain's.
        MissingError: its weights or packages are not there, with the command that gets them.
    """
    asked = name or DEFAULTS[domain]
    detector: Detector = plugins.load("detectors", asked)
    if detector.domain != domain:
        raise UserError(f"The detector {asked} is for {detector.domain}, not for {domain}.", "Leave out --detector.")
    if absent := [package for package in detector.packages if importlib.util.find_spec(package) is None]:
        fix = f'pip install "agsm-bench[{detector.extra}]"' if detector.extra else f"pip install {absent[0]}"
        raise MissingError(f"The detector {asked} needs the package {absent[0]}.", fix)
    return Detecting(asked, detector, find(asked, detector.weights, (weights or {}).get(asked)), device)
