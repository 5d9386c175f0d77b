"""Image and caption pairs of the shapes world, for training tokens: clean captions, drawn by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import caption
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, sample_scene
from agsm_bench.shapes.truth import claim_arrays, parse, scene_arrays, truth


@dataclass(frozen=True)
class ShapesPairs:
    """An endless set of pairs; disjoint streams by seed, and one apart that is held out."""

    seed: int
    held_out: bool

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """uint8 picture [24, 24, 3] and one of its true captions."""
        scene, text = self._draw(index)
        return render(scene), text

    def caption(self, index: int) -> str:
        """The item's caption."""
        return self._draw(index)[1]

    def version(self) -> None:
        """Drawn."""

    def picture_key(self, index: int) -> None:
        """None: drawn anew each time."""

    def false_negatives(self, indices: Sequence[int]) -> np.ndarray:
        """bool [n, n]: "a circle" is true of the picture of "a red circle", though it is not its caption."""
        scenes, texts = zip(*map(self._draw, indices), strict=True)
        true = truth(scene_arrays(scenes), claim_arrays([parse(text) for text in texts]))
        return true & ~np.eye(len(true), dtype=bool)

    def _draw(self, index: int) -> tuple[Scene, str]:
        return _drawn("held out" if self.held_out else "train", self.seed, index)


@lru_cache(maxsize=256)  # a step asks for the picture, the caption and what else is true, in turns
def _drawn(stream: str, seed: int, index: int) -> tuple[Scene, str]:
    rng = np.random.default_rng(seed_of("shapes", stream, seed, index))
    scene = sample_scene(rng)
    return scene, caption(scene, rng)
