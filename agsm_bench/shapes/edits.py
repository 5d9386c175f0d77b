"""Edits of the shapes world: a scene and what one change makes of it, with captions and the exact mask.

The kinds are PIE-Bench's (Ju et al. 2023) as far as the world has them: objects changed, added and deleted, how many
there are (content), where they are (pose), their colours, and any of these at random. It has no materials, no other
background and no styles, so the 200 edits of those are spread over the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from scipy import ndimage

from agsm_bench.geneval_rules import relations
from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import dominant_relation
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, SceneObject, place, with_another
from agsm_bench.shapes.vocabulary import COLORS, IMAGE_SIZE, NUMBERS, SHAPES, article, plural

KINDS = {
    "random": 140,
    "change_object": 130,
    "add_object": 120,
    "delete_object": 120,
    "content": 60,
    "pose": 60,
    "color": 70,
}
"""Number of edits of each kind, 700 in all, in this order."""
MARGIN = 1
"""Pixels around what differs that the mask covers, too: no picture is edited to the exact edge."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

Item = tuple[str, str]


@dataclass(frozen=True)
class Edit:
    """One edit."""

    kind: str
    source: Scene
    target: Scene
    source_text: str
    target_text: str

    @property
    def kept(self) -> tuple[SceneObject, ...]:
        """The objects that the edit does not touch."""
        return tuple(each for each in self.source.objects if each in self.target.objects)

    @property
    def mask(self) -> np.ndarray:
        """bool [24, 24]: what differs between the two pictures, and a pixel around it."""
        differs = (render(self.source) != render(self.target)).any(axis=-1)
        return np.asarray(ndimage.binary_dilation(differs, np.ones((3, 3)), iterations=MARGIN))


@cache
def edits(stream: str = "shapes edit") -> tuple[Edit, ...]:
    """All 700 of PIE-Bench; of another stream others, to choose settings on."""
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    return tuple(_edit(kind, np.random.default_rng(seed_of(stream, i))) for i, kind in enumerate(kinds))


def _edit(kind: str, rng: np.random.Generator) -> Edit:
    """Draws until the change is possible; the kind stays `random` where it was drawn."""
    changes: dict[str, Callable[[np.random.Generator], Edit | None]] = {
        "change_object": partial(_change_one, name="shape", values=SHAPES),
        "add_object": _add_object,
        "delete_object": _delete_object,
        "content": _change_count,
        "pose": _swap,
        "color": partial(_change_one, name="color", values=COLORS),
    }
    while True:
        drawn = str(rng.choice(list(changes))) if kind == "random" else kind
        if found := changes[drawn](rng):
            return replace(found, kind=kind)


def _change_one(rng: np.random.Generator, name: str, values: Sequence[str]) -> Edit | None:
    """One object gets another shape, or another colour."""
    source = _scene(int(rng.integers(1, 4)), rng)
    index = int(rng.integers(len(source.objects)))
    old = source.objects[index]
    new = str(rng.choice([value for value in values if value != getattr(old, name)]))
    changed = replace(old, shape=new) if name == "shape" else replace(old, color=new)
    return _listed(source, _with(source, index, changed))


def _add_object(rng: np.random.Generator) -> Edit | None:
    source = _scene(int(rng.integers(1, 4)), rng)
    target = with_another(source, *_item(rng), rng)
    return _listed(source, target) if target else None


def _delete_object(rng: np.random.Generator) -> Edit | None:
    source = _scene(int(rng.integers(2, 5)), rng)
    gone = int(rng.integers(len(source.objects)))
    return _listed(source, Scene(tuple(each for i, each in enumerate(source.objects) if i != gone)))


def _change_count(rng: np.random.Generator) -> Edit | None:
    """One more or one less of a kind."""
    item, count = _item(rng), int(rng.integers(1, len(NUMBERS)))
    fewer = place([item] * count, rng)
    more = with_another(fewer, *item, rng)
    if more is None:
        return None
    scenes = (fewer, more) if rng.random() < 0.5 else (more, fewer)
    texts = [_counted(item, len(scene.objects)) for scene in scenes]
    return Edit("content", *scenes, *texts)


def _swap(rng: np.random.Generator) -> Edit | None:
    """Two objects change places, and so the relation between them."""
    source = _scene(2, rng)
    a, b = source.objects
    relation = dominant_relation(a, b)
    target = Scene((replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y)))
    if relation is None or relation not in relations(a.box, b.box) or not _inside(target):
        return None
    first, second = _noun(a), _noun(b)
    texts = [f"a photo of {first} {word} {second}" for word in (relation, OPPOSITE[relation])]
    return Edit("pose", source, target, *texts)


def _scene(count: int, rng: np.random.Generator) -> Scene:
    """Objects that all differ in shape or colour, so that a caption names each."""
    while True:
        items = [_item(rng) for _ in range(count)]
        if len(set(items)) == count:
            return place(items, rng)


def _item(rng: np.random.Generator) -> Item:
    return str(rng.choice(SHAPES)), str(rng.choice(COLORS))


def _with(scene: Scene, index: int, new: SceneObject) -> Scene:
    return Scene(tuple(new if i == index else each for i, each in enumerate(scene.objects)))


def _listed(source: Scene, target: Scene) -> Edit | None:
    """The edit with captions that list the objects; None where two of them are alike."""
    for scene in (source, target):
        if len({(each.shape, each.color) for each in scene.objects}) < len(scene.objects):
            return None
    return Edit("", source, target, _list(source), _list(target))


def _list(scene: Scene) -> str:
    """As training captions name so many: three or more without articles, for want of room."""
    if len(scene.objects) > 2:
        return " and ".join(f"{each.color} {each.shape}" for each in scene.objects)
    return "a photo of " + " and ".join(map(_noun, scene.objects))


def _noun(item: SceneObject) -> str:
    return f"{article(item.color)} {item.color} {item.shape}"


def _counted(item: Item, count: int) -> str:
    shape, color = item
    if count == 1:
        return f"a photo of {article(color)} {color} {shape}"
    return f"a photo of {NUMBERS[count - 1]} {color} {plural(shape)}"


def _inside(scene: Scene) -> bool:
    return all(low >= 0.5 and high <= IMAGE_SIZE - 0.5 for each in scene.objects for low, high in _sides(each))


def _sides(item: SceneObject) -> tuple[tuple[float, float], tuple[float, float]]:
    left, top, right, bottom = item.box
    return (left, right), (top, bottom)
