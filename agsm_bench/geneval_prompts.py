"""GenEval's 553 prompts and their counterparts in the shapes world: the same tags, counts, keys and grammar.

After prompts/create_prompts.py of github djghosh13/geneval (MIT). Only the class names and the colours are
constants; the photo prompts follow from them and from NumPy's generator at seed 43.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from agsm_bench.shapes import vocabulary
from agsm_bench.shapes.vocabulary import NUMBERS, RELATIONS, SHAPES, article, plural

if TYPE_CHECKING:
    import numpy as np

Entry = dict[str, Any]
"""One line of GenEval's metadata: tag, include, exclude (counting only) and prompt."""

TAG_COUNTS = {
    "single_object": 80,
    "two_object": 99,
    "counting": 80,
    "colors": 94,
    "position": 100,
    "color_attr": 100,
}
"""Prompts of each tag, in the benchmark's order."""
TAGS = tuple(TAG_COUNTS)

SEED = 43
"""Upstream's default; the shapes prompts use the same."""
DRAWS = 100
"""Prompts that upstream draws of every tag but the first, before it drops duplicates."""

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
COCO_CLASSES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog"),
    *("horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella"),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
    *("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange"),
    *("broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant"),
    *("bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote"),
    *("computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator"),
    *("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""COCO's 80 classes in its order, with GenEval's names for mouse, remote and keyboard."""


@dataclass(frozen=True)
class Thing:
    """What a prompt asks for: some objects of a class, perhaps of a colour."""

    label: str
    color: str | None = None
    count: int = 1

    @property
    def phrase(self) -> str:
        noun = f"{self.color} {self.label}" if self.color else self.label
        if self.count == 1:
            return f"{article(noun)} {noun}"
        return f"{NUMBERS[self.count - 1]} {plural(noun)}"

    @property
    def clause(self) -> Entry:
        color = {"color": self.color} if self.color else {}
        return {"class": self.label, "count": self.count, **color}


def photo_metadata() -> list[Entry]:
    """GenEval's own 553 entries, in its order."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    entries = [_scene("single_object", one) for one in _pick(rng, COCO_CLASSES, len(COCO_CLASSES))]
    entries += [_scene("two_object", *_pick(rng, COCO_CLASSES, 2)) for _ in range(DRAWS)]
    entries += [_draw_counting(rng) for _ in range(DRAWS)]
    entries += [_draw_color(rng) for _ in range(DRAWS)]
    entries += [_draw_position(rng) for _ in range(DRAWS)]
    entries += [_draw_color_attribution(rng) for _ in range(DRAWS)]
    return list({json.dumps(entry): entry for entry in entries}.values())


def shapes_metadata() -> list[Entry]:
    """The shapes world's 553 entries: a tag cycles through its distinct prompts, shuffled anew each round.

    The world knows only 4 single, 12 two-object, 84 counting, 24 colour, 48 position and 360 colour
    attribution prompts. So in four tags texts repeat, equally often to within one, as different prompts
    with different seeds; 80 of the 84 and 100 of the 360 are drawn without repeats. Prompt ids are the
    clusters of the statistics all the same: where a text repeats, the whole population of texts is in the
    benchmark and there is no sampling of texts to account for; where texts are sampled, each occurs once
    and the id is the text.
    """
    import numpy as np

    rng = np.random.default_rng(SEED)
    population = shapes_population()
    return [entry for tag, count in TAG_COUNTS.items() for entry in _cycle(rng, population[tag], count)]


def metadata_jsonl(entries: Iterable[Mapping[str, Any]]) -> str:
    """The entries as upstream's evaluation_metadata.jsonl, one object a line."""
    return "".join(json.dumps(dict(entry)) + "\n" for entry in entries)


def _scene(tag: str, *things: Thing | str) -> Entry:
    asked = [Thing(thing) if isinstance(thing, str) else thing for thing in things]
    prompt = "a photo of " + " and ".join(thing.phrase for thing in asked)
    return {"tag": tag, "include": [thing.clause for thing in asked], "prompt": prompt}


def counting_entry(thing: Thing) -> Entry:
    """A prompt of the counting tag: exactly `count`: one more is excluded, of whatever colour."""
    scene = _scene("counting", thing)
    prompt = scene.pop("prompt")  # upstream's key order has it last
    return {**scene, "exclude": [{"class": thing.label, "count": thing.count + 1}], "prompt": prompt}


def _position(subject: str, relation: str, target: str) -> Entry:
    """The target comes first, so that the subject's clause can point at it by its index."""
    a, b = Thing(subject), Thing(target)
    include = [b.clause, {**a.clause, "position": [relation, 0]}]
    return {"tag": "position", "include": include, "prompt": f"a photo of {a.phrase} {relation} {b.phrase}"}


def _pick(rng: np.random.Generator, names: Sequence[str], size: int) -> list[str]:
    """Different names in random order."""
    return [names[i] for i in rng.choice(len(names), size=size, replace=False)]


def _draw_counting(rng: np.random.Generator) -> Entry:
    label = COCO_CLASSES[rng.choice(len(COCO_CLASSES))]
    return counting_entry(Thing(label, count=int(rng.integers(2, 4, endpoint=True))))


def _draw_color(rng: np.random.Generator) -> Entry:
    label = COCO_CLASSES[1:][rng.choice(len(COCO_CLASSES) - 1)]  # never a coloured person
    return _scene("colors", Thing(label, COLORS[rng.choice(len(COLORS))]))


def _draw_position(rng: np.random.Generator) -> Entry:
    subject, target = _pick(rng, COCO_CLASSES, 2)
    return _position(subject, RELATIONS[rng.choice(len(RELATIONS))], target)


def _draw_color_attribution(rng: np.random.Generator) -> Entry:
    labels = _pick(rng, COCO_CLASSES[1:], 2)
    return _scene("color_attr", *map(Thing, labels, _pick(rng, COLORS, 2)))


def shapes_population() -> dict[str, list[Entry]]:
    """Every distinct prompt of each tag in the shapes world."""
    colors, pairs = vocabulary.COLORS, list(permutations(SHAPES, 2))
    counted = [Thing(s, c, n) for n, s, c in product((2, 3, 4), SHAPES, (None, *colors))]
    attributed = [map(Thing, pair, hues) for pair, hues in product(pairs, permutations(colors, 2))]
    return {
        "single_object": [_scene("single_object", shape) for shape in SHAPES],
        "two_object": [_scene("two_object", *pair) for pair in pairs],
        "counting": [counting_entry(thing) for thing in counted],
        "colors": [_scene("colors", Thing(s, c)) for s, c in product(SHAPES, colors)],
        "position": [_position(a, relation, b) for (a, b), relation in product(pairs, RELATIONS)],
        "color_attr": [_scene("color_attr", *things) for things in attributed],
    }


def _cycle(rng: np.random.Generator, entries: Sequence[Entry], count: int) -> list[Entry]:
    import numpy as np

    rounds = -(-count // len(entries))
    order = np.concatenate([rng.permutation(len(entries)) for _ in range(rounds)])
    return [entries[i] for i in order[:count]]
