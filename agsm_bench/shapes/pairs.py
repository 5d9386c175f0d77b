"""Image and caption pairs of the shapes world, for training tokens: clean captions, drawn by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import caption
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import sample_scene


@dataclass(frozen=True)
class ShapesPairs:
    """An endless set of pairs; disjoint streams by seed, and one apart that is held out."""

    seed: int
    held_out: bool

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """uint8 picture [24, 24, 3] and one of its true captions."""
        rng = np.random.default_rng(seed_of("shapes", "held out" if self.held_out else "train", self.seed, index))
        scene = sample_scene(rng)
        return render(scene), caption(scene, rng)
