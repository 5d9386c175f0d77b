"""Pictures of the shapes world read back: the scene that a detector found, and what is true of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agsm_bench.geneval_rules import THRESHOLD
from agsm_bench.shapes.scene import Scene, SceneObject
from agsm_bench.shapes.truth import MOST, is_true
from agsm_bench.types import Detection


def scene_of(detections: Iterable[Detection]) -> Scene:
    """The objects found with GenEval's confidence (0.3)."""
    return Scene(tuple(_object(found) for found in detections if found.score > THRESHOLD))


def shows(text: str, scene: Scene) -> bool:
    """Whether the scene is exactly what the caption says; more objects than captions speak of are never."""
    return len(scene.objects) <= MOST and is_true(text, scene)


def has(scene: Scene, wanted: SceneObject, reach: float) -> bool:
    """Whether an object of this shape and colour has its centre within `reach` pixels of the wanted one's."""
    return any(
        (found.shape, found.color) == (wanted.shape, wanted.color) and _near(found, wanted, reach)
        for found in scene.objects
    )


def count(objects: Sequence[SceneObject], shape: str, color: str | None = None) -> int:
    """How many are of this shape, and of the colour where one is given."""
    return sum(each.shape == shape and color in (None, each.color) for each in objects)


def _near(a: SceneObject, b: SceneObject, reach: float) -> bool:
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 <= reach**2


def _object(found: Detection) -> SceneObject:
    left, top, right, bottom = found.box
    size = max(right - left, bottom - top)
    return SceneObject(found.label, str(found.color), (left + right) / 2, (top + bottom) / 2, size)
