"""Captions in GenEval's grammar, several wordings a scene, and the noise of web alt-text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from agsm_bench.shapes.scene import Scene, SceneObject
from agsm_bench.shapes.vocabulary import COLORS, NUMBERS, RELATIONS, article, plural

OPENINGS = {"a photo of ": 0.6, "": 0.2, "a picture of ": 0.1, "an image of ": 0.1}
NOISES = ("drop color", "change color", "change count", "change relation", "another scene")
"""What goes wrong in a noisy caption, in equal shares."""
PAIR_STYLES = {"plain": 0.2, "colored": 0.35, "relation": 0.3, "colored relation": 0.15}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One true caption of the scene, of a random wording."""
    opening = str(rng.choice(list(OPENINGS), p=list(OPENINGS.values())))
    objects = [scene.objects[i] for i in rng.permutation(len(scene.objects))]
    if len({o.shape for o in objects}) == 1:
        return opening + _describe_group(objects, rng)
    if len(objects) == 2:
        return opening + _describe_pair(objects, rng)
    return long_caption(scene, rng)


def long_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Every object with its colour, and at times a relation; 16 tokens at most, so no articles."""
    objects = [scene.objects[i] for i in rng.permutation(len(scene.objects))]
    words = [f"{o.color} {o.shape}" for o in objects]
    relation = dominant_relation(objects[0], objects[1])
    if relation is not None and rng.random() < 0.5:
        words = [f"{words[0]} {relation} {words[1]}", *words[2:]]
    return " and ".join(words)


def noisy_caption(scene: Scene, other: Scene, rng: np.random.Generator) -> str:
    """A caption of which one thing is wrong; `other` is a scene of the same data."""
    noise = NOISES[rng.integers(len(NOISES))]
    if noise == "another scene":
        return caption(other, rng)
    if noise == "change count":
        return caption(_with_another_count(scene, rng), rng)
    words = caption(scene, rng)
    if noise == "drop color":
        return " ".join(w for w in words.split(" ") if w not in COLORS)
    if noise == "change relation":
        return _change_relation(words, rng)
    return " ".join(str(rng.choice(COLORS)) if w in COLORS else w for w in words.split(" "))


def dominant_relation(a: SceneObject, b: SceneObject) -> str | None:
    """Where a lies from b, None when it is not plain (closer to a diagonal than to an axis)."""
    dx, dy = a.x - b.x, a.y - b.y
    if max(abs(dx), abs(dy)) <= 1.5 * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _describe_group(objects: list[SceneObject], rng: np.random.Generator) -> str:
    shape, colors = objects[0].shape, Counter(o.color for o in objects)
    name = shape
    if len(colors) == 1 and rng.random() < 0.7:
        name = f"{objects[0].color} {shape}"
    elif len(colors) == len(objects) == 2 and rng.random() < 0.5:
        return " and ".join(_noun(o, colored=True) for o in objects)
    if len(objects) == 1:
        return f"{article(name)} {name}"
    return f"{NUMBERS[len(objects) - 1]} {plural(name)}"


def _describe_pair(objects: list[SceneObject], rng: np.random.Generator) -> str:
    style = str(rng.choice(list(PAIR_STYLES), p=list(PAIR_STYLES.values())))
    relation = dominant_relation(*objects) if "relation" in style else None
    first, second = (_noun(o, colored="colored" in style) for o in objects)
    return f"{first} {relation or 'and'} {second}"


def _noun(item: SceneObject, colored: bool) -> str:
    name = f"{item.color} {item.shape}" if colored else item.shape
    return f"{article(name)} {name}"


def _with_another_count(scene: Scene, rng: np.random.Generator) -> Scene:
    objects = scene.objects
    if len(objects) > 1 and (len(objects) == 4 or rng.random() < 0.5):
        return Scene(objects[:-1])
    return Scene((*objects, replace(objects[0])))


def _change_relation(words: str, rng: np.random.Generator) -> str:
    present = [r for r in RELATIONS if f" {r} " in words]
    if not present:
        return words
    return words.replace(present[0], str(rng.choice([r for r in RELATIONS if r != present[0]])), 1)
