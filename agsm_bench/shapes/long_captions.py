"""Long captions of the shapes world with what they say, point by point: UniGenBench++'s miniature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np

from agsm_bench.geneval_rules import relations
from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import dominant_relation
from agsm_bench.shapes.reading import count
from agsm_bench.shapes.scene import Scene, place
from agsm_bench.shapes.vocabulary import COLORS, SHAPES

COUNT = 600
POINTS = ("object", "attribute", "relation", "count")
"""Kinds of test points: a shape is there, in its colour, where the caption says, and so many objects in all."""

Item = tuple[str, str]
"""Shape and colour."""


@dataclass(frozen=True)
class LongCaption:
    """Three or four objects that all differ, the first two with a relation."""

    text: str
    items: tuple[Item, ...]
    relation: str

    def judge(self, scene: Scene) -> dict[str, float]:
        """The share of each kind's points that a scene fulfils, 0 to 1."""
        found = scene.objects
        shapes = [shape for shape, _ in self.items]
        there = [count(found, shape) >= shapes[: i + 1].count(shape) for i, shape in enumerate(shapes)]
        colored = [count(found, shape, color) > 0 for shape, color in self.items]
        firsts, seconds = ([o for o in found if (o.shape, o.color) == item] for item in self.items[:2])
        related = any(self.relation in relations(a.box, b.box) for a in firsts for b in seconds)
        exact = len(found) == len(self.items)
        values = [float(np.mean(there)), float(np.mean(colored)), float(related), float(exact)]
        return dict(zip(POINTS, values, strict=True))


@cache
def long_captions() -> tuple[LongCaption, ...]:
    """All 600; a pure function of nothing."""
    return tuple(_draw(np.random.default_rng(seed_of("shapes unigenbench", index))) for index in range(COUNT))


def _draw(rng: np.random.Generator) -> LongCaption:
    """Draws until two of the objects are plainly left of, right of, above or below each other."""
    while True:
        size = int(rng.integers(3, 5))
        items = [(str(rng.choice(SHAPES)), str(rng.choice(COLORS))) for _ in range(size)]
        if len(set(items)) < size:
            continue
        objects = place(items, rng).objects
        for first, second in permutations(range(size), 2):
            relation = dominant_relation(objects[first], objects[second])
            if relation and relation in relations(objects[first].box, objects[second].box):
                rest = [i for i in range(size) if i not in (first, second)]
                ordered = tuple(items[i] for i in (first, second, *rest))
                return LongCaption(_text(ordered, relation), ordered, relation)


def _text(items: tuple[Item, ...], relation: str) -> str:
    """As the longest captions of the training data: no articles, for want of room."""
    words = [f"{color} {shape}" for shape, color in items]
    return " and ".join([f"{words[0]} {relation} {words[1]}", *words[2:]])
