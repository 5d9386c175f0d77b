"""Scenes that are exactly what a prompt asks: the asked objects and no other, the asked relation.

Colours that the prompt leaves open are drawn at random, for each object by itself.
"""

from __future__ import annotations

import numpy as np

from agsm_bench.geneval_rules import relations
from agsm_bench.seeds import seed_of
from agsm_bench.shapes.scene import Scene, place
from agsm_bench.shapes.truth import parse
from agsm_bench.shapes.vocabulary import COLORS


def reference_scene(text: str, *seed: object) -> Scene:
    """A scene of which `text` is true; a pure function of its arguments, e.g. the prompt's id and a counter.

    Raises:
        ValueError: the text is outside the captions' grammar.
    """
    claim = parse(text)
    rng = np.random.default_rng(seed_of("shapes reference", text, *seed))
    items = [(shape, color or str(rng.choice(COLORS))) for shape, color in claim.items]
    while True:  # a relation is left to chance: one place in four or so has it
        scene = place(items, rng)
        if claim.relation is None or claim.relation in relations(*(item.box for item in scene.objects[:2])):
            return scene
