"""Scenes of one to four coloured shapes on a plain background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agsm_bench.shapes.vocabulary import COLORS, IMAGE_SIZE, SHAPES

GAP = 1.5
"""Least distance in pixels between the boxes of two objects: they never touch, even antialiased."""
SIZES = {1: (6.5, 10.0), 2: (6.5, 9.0), 3: (6.5, 8.0), 4: (6.5, 7.5)}
"""Smallest and largest side in pixels, by number of objects."""
KINDS = {"single": 0.12, "pair": 0.53, "count": 0.2, "many": 0.15}
"""Share of each kind of scene in the training data; GenEval's six tasks need the first three."""


@dataclass(frozen=True)
class SceneObject:
    """One shape; the position is its centre in pixels (x right, y down), the size its side."""

    shape: str
    color: str
    x: float
    y: float
    size: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Scene:
    """What a picture shows; objects never overlap."""

    objects: tuple[SceneObject, ...]


def sample_scene(rng: np.random.Generator) -> Scene:
    """A scene of a random kind: one object, two different ones, several of a shape, or three to four."""
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    return place(_sample_items(str(kind), rng), rng)


def place(items: Sequence[tuple[str, str]], rng: np.random.Generator) -> Scene:
    """Places (shape, colour) items at random, without overlap, by rejection."""
    while True:
        objects: list[SceneObject] = []
        for shape, color in items:
            candidate = _sample_place(shape, color, len(items), objects, rng)
            if candidate is None:
                break
            objects.append(candidate)
        if len(objects) == len(items):
            return Scene(tuple(objects))


def with_another(scene: Scene, shape: str, color: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one object more, the others where they are; None where no place was found for it."""
    added = _sample_place(shape, color, len(scene.objects) + 1, scene.objects, rng)
    return Scene((*scene.objects, added)) if added else None


def _sample_items(kind: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    if kind == "count":
        count = int(rng.integers(2, 5))
        shape = str(rng.choice(SHAPES))
        colors = [str(rng.choice(COLORS))] * count
        if rng.random() < 0.4:
            colors = [str(c) for c in rng.choice(COLORS, count)]
        return [(shape, color) for color in colors]
    if kind == "pair":
        shapes = rng.choice(SHAPES, 2, replace=False)
        return [(str(s), str(rng.choice(COLORS))) for s in shapes]
    count = 1 if kind == "single" else int(rng.integers(3, 5))
    return [(str(rng.choice(SHAPES)), str(rng.choice(COLORS))) for _ in range(count)]


def _sample_place(
    shape: str, color: str, count: int, others: Sequence[SceneObject], rng: np.random.Generator
) -> SceneObject | None:
    low, high = SIZES[count]
    for _ in range(20):
        size = rng.uniform(low, high)
        margin = size / 2 + 0.5
        x, y = rng.uniform(margin, IMAGE_SIZE - margin, 2).tolist()
        if all(_apart(x, y, size, other) for other in others):
            return SceneObject(shape, color, x, y, size)
    return None


def _apart(x: float, y: float, size: float, other: SceneObject) -> bool:
    reach = (size + other.size) / 2 + GAP
    return abs(x - other.x) >= reach or abs(y - other.y) >= reach
