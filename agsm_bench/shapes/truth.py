"""Whether a caption is true of a scene: a parser of the captions' closed grammar and an exact check.

A caption is true if the scene is exactly what it says, nothing more: "a circle" holds for one circle of any
colour and nothing else. A relation holds if GenEval's rule finds it between the two boxes. Every relation our
captions state (`dominant_relation`) holds by it; near a diagonal two do, of which captions state neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from agsm_bench.geneval_rules import relations
from agsm_bench.shapes.captions import OPENINGS
from agsm_bench.shapes.scene import Scene
from agsm_bench.shapes.vocabulary import COLORS, NUMBERS, RELATIONS, SHAPES, plural

MOST = len(NUMBERS)
"""Objects in a scene, at most."""
_ANY = -1
_JOIN = re.compile(rf" ({'|'.join((*RELATIONS, 'and'))}) ")
_SINGULAR = re.compile(rf"(?:(?:an?|one) )?(?:({'|'.join(COLORS)}) )?({'|'.join(SHAPES)})")
_PLURAL = re.compile(rf"({'|'.join(NUMBERS[1:])}) (?:({'|'.join(COLORS)}) )?({'|'.join(map(plural, SHAPES))})")


@dataclass(frozen=True)
class Claim:
    """What a caption says there is."""

    items: tuple[tuple[str, str | None], ...]
    """Shape and colour of every object; None: any colour."""
    relation: str | None
    """Where the first object lies from the second."""


@dataclass(frozen=True)
class Scenes:
    """Scenes as arrays, padded to four objects with shape and colour -1."""

    shapes: np.ndarray
    """int8 [n, 4]."""
    colors: np.ndarray
    """int8 [n, 4]."""
    relations: np.ndarray
    """uint8 [n, 4, 4]: the relations of object a from object b, one bit each."""


@dataclass(frozen=True)
class Claims:
    """Claims as arrays, padded like scenes."""

    shapes: np.ndarray
    """int8 [n, 4]."""
    colors: np.ndarray
    """int8 [n, 4]; -1: any colour."""
    relations: np.ndarray
    """uint8 [n]: the bit of the relation, 0 without one."""


def parse(caption: str) -> Claim:
    """Reads a caption, noisy ones included.

    Raises:
        ValueError: the caption is outside the grammar, or asks for more than four objects.
    """
    opening = max((o for o in OPENINGS if caption.startswith(o)), key=len)
    phrases = _JOIN.split(caption.removeprefix(opening))
    joins = phrases[1::2]
    groups = [_parse_phrase(phrase) for phrase in phrases[::2]]
    items = tuple(item for group in groups for item in group)
    related = bool(joins) and joins[0] != "and"
    if None in items or any(join != "and" for join in joins[1:]) or len(items) > MOST:
        raise ValueError(f"not a caption of the shapes world: {caption!r}")
    if related and len(groups[0]) + len(groups[1]) != 2:
        raise ValueError(f"a relation is between two single objects: {caption!r}")
    return Claim(items, joins[0] if related else None)  # type: ignore[arg-type]


def is_true(caption: str, scene: Scene) -> bool:
    """Whether the scene is exactly what the caption says."""
    return bool(truth(scene_arrays([scene]), claim_arrays([parse(caption)]))[0, 0])


def truth(scenes: Scenes, claims: Claims) -> np.ndarray:
    """Which claims are true of which scenes, bool [scenes, claims].

    A claim is true if some order of the scene's objects fits it item by item; all orders are tried.
    """
    shape, color = claims.shapes.T[:, None, None], claims.colors.T[:, None, None]
    fits = shape == scenes.shapes.T[None, :, :, None]
    fits &= (color == _ANY) | (color == scenes.colors.T[None, :, :, None])
    found = np.zeros(fits.shape[2:], dtype=bool)
    for order in permutations(range(MOST)):
        related = (scenes.relations[:, order[0], order[1], None] & claims.relations) == claims.relations
        found |= np.logical_and.reduce([related, *(fits[slot, item] for slot, item in enumerate(order))])
    return found


def scene_arrays(scenes: Sequence[Scene]) -> Scenes:
    """Scenes in the form that `truth` takes."""
    shapes = np.full((len(scenes), MOST), _ANY, dtype=np.int8)
    colors = shapes.copy()
    holds = np.zeros((len(scenes), MOST, MOST), dtype=np.uint8)
    for row, scene in enumerate(scenes):
        for i, a in enumerate(scene.objects):
            shapes[row, i], colors[row, i] = SHAPES.index(a.shape), COLORS.index(a.color)
            for j, b in enumerate(scene.objects):
                holds[row, i, j] = 0 if i == j else sum(map(_bit, relations(a.box, b.box)))
    return Scenes(shapes, colors, holds)


def claim_arrays(claims: Sequence[Claim]) -> Claims:
    """Claims in the form that `truth` takes."""
    shapes = np.full((len(claims), MOST), _ANY, dtype=np.int8)
    colors = shapes.copy()
    for row, claim in enumerate(claims):
        for i, (shape, color) in enumerate(claim.items):
            shapes[row, i] = SHAPES.index(shape)
            colors[row, i] = _ANY if color is None else COLORS.index(color)
    asked = [0 if claim.relation is None else _bit(claim.relation) for claim in claims]
    return Claims(shapes, colors, np.asarray(asked, dtype=np.uint8))


def _bit(relation: str) -> int:
    return 1 << RELATIONS.index(relation)


def _parse_phrase(phrase: str) -> list[tuple[str, str | None] | None]:
    """The items of "two red circles" and the like; [None] for anything else."""
    if match := _SINGULAR.fullmatch(phrase):
        return [(match[2], match[1])]
    if match := _PLURAL.fullmatch(phrase):
        shape = next(s for s in SHAPES if plural(s) == match[3])
        return [(shape, match[2])] * (NUMBERS.index(match[1]) + 1)
    return [None]
