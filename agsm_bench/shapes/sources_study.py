"""Does a backbone know which captions to trust? Held-out denoising errors by how the captions begin.

Run `python -m agsm_bench.shapes.sources_study shapes-mmdit --out results/shapes/shapes-mmdit/sources.json`. The same
pictures, noises and captions, all of them true, only in the wording of each source of `corpus.SOURCES`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, TrainingData
from agsm_bench.folders import write_json
from agsm_bench.metrics.denoising import errors_of, summarise
from agsm_bench.shapes.corpus import SOURCES, reworded


@dataclass(frozen=True)
class Reworded:
    """Training data with every caption in the wording of one source."""

    data: TrainingData
    opening: str

    def item(self, index: int) -> tuple[np.ndarray, str]:
        picture, caption = self.data.item(index)
        return picture, reworded(caption, self.opening)

    def caption(self, index: int) -> str:
        return reworded(self.data.caption(index), self.opening)

    def version(self) -> str | None:
        return self.data.version()

    def picture_key(self, index: int) -> str | None:
        return self.data.picture_key(index)

    def false_negatives(self, indices: Sequence[int]) -> np.ndarray:
        return self.data.false_negatives(indices)


def study(name: str) -> dict[str, Any]:
    """Opening -> its source and the four denoising metrics with intervals."""
    backbone: Backbone = plugins.load("backbones", name)
    denoiser, data = backbone.load(), backbone.training_data(0, True)
    found = {}
    for opening, source in SOURCES.items():
        errors = errors_of(denoiser, None, Reworded(data, opening), lambda what, done, total: None)
        metrics = {metric: asdict(interval) for metric, interval in summarise(errors).items()}
        found[opening.strip() or "(none)"] = {"noise": source.noise, "share": source.share, "metrics": metrics}
    return found


def main() -> None:
    """Writes the JSON and prints the gaps."""
    parser = argparse.ArgumentParser(prog="python -m agsm_bench.shapes.sources_study", description=__doc__)
    parser.add_argument("backbone")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = study(given.backbone)
    write_json(given.out, found)
    for opening, entry in found.items():
        gap = entry["metrics"]["denoising/gap"]
        print(
            f"{opening:<14} noise {entry['noise']:.1f}  gap {gap['value']:.4f} ({gap['low']:.4f} to {gap['high']:.4f})"
        )


if __name__ == "__main__":
    main()
