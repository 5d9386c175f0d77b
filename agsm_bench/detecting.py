"""A detector with its weights at hand: which one a domain has, and what it finds in the images of a benchmark."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agsm_bench import geneval_colors, plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.detector import Detector, LoadedDetector
from agsm_bench.errors import MissingError, UserError, all_missing
from agsm_bench.metric import Files
from agsm_bench.types import Detection, Domain, Prompt
from agsm_bench.weight_files import find

if TYPE_CHECKING:
    import numpy as np

    from agsm_bench.geneval_colors import ColorNamer

DEFAULTS: Mapping[Domain, str] = {"shapes": "shapes", "photo": "mask2former"}


@dataclass(frozen=True)
class Detecting:
    """A detector that can be loaded."""

    name: str
    detector: Detector
    files: Files
    color_files: Files | None
    """Of the classifier of colours; None where the detector names them."""
    device: str = "cpu"

    @property
    def version(self) -> str:
        """Of what it finds."""
        own = self.detector.version(self.files)
        return own if self.color_files is None else f"{own}, colors {geneval_colors.version(self.color_files)}"

    def loaded(self) -> Finder:
        """Raises MissingError for files of another model."""
        detector = self.detector.load(self.files, self.device)
        return Finder(detector, geneval_colors.load(self.color_files, self.device) if self.color_files else None)


@dataclass(frozen=True)
class Finder:
    """A detector at work, and what names the colours that it leaves open."""

    detector: LoadedDetector
    namer: ColorNamer | None

    def find(
        self, benchmark: Benchmark, prompts: Sequence[Prompt], images: Sequence[np.ndarray]
    ) -> list[list[Detection]]:
        """The objects of each image, best first, with the colours that its prompt asks about.

        Args:
            benchmark: says which boxes need a colour.
            prompts: of the images.
            images: uint8 [height, width, 3].
        """
        found = [list(detections) for detections in self.detector.detect(images)]
        if self.namer is None:
            return found
        asked = [(row, i) for row, prompt in enumerate(prompts) for i in benchmark.uncolored(prompt, found[row])]
        crops = [_crop(images[row], found[row][i]) for row, i in asked]
        for (row, i), color in zip(asked, self.namer.names(crops), strict=True):
            found[row][i] = replace(found[row][i], color=color)
        return found


def _crop(image: np.ndarray, found: Detection) -> geneval_colors.Crop:
    return geneval_colors.Crop(image, found.box, found.mask, found.label)


def detecting(
    domain: Domain, name: str | None = None, weights: Mapping[str, Path] | None = None, device: str = "cpu"
) -> Detecting:
    """The detector of a domain, or the one named.

    Raises:
        UserError: there is none of that name, or it is another domain's.
        MissingError: weights or packages are not there, with the commands that get them.
    """
    asked, given = name or DEFAULTS[domain], weights or {}
    detector: Detector = plugins.load("detectors", asked)
    if detector.domain != domain:
        raise UserError(f"The detector {asked} is for {detector.domain}, not for {domain}.", "Leave out --detector.")
    if absent := [package for package in detector.packages if importlib.util.find_spec(package) is None]:
        fix = f'pip install "agsm-bench[{detector.extra}]"' if detector.extra else f"pip install {absent[0]}"
        raise MissingError(f"The detector {asked} needs the package {absent[0]}.", fix)
    with all_missing() as checking:
        with checking():
            files = find(asked, detector.weights, given.get(asked))
        with checking():
            colors = None if detector.names_colors else geneval_colors.found_files(given.get(geneval_colors.METRIC))
    return Detecting(asked, detector, files, colors, device)
