"""The 27 kinds of test points, their ten dimensions, and what each kind is about, in words of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MEANINGS: Mapping[str, str] = {
    "Style": "the manner, the medium or an artist's style",
    "World Knowledge": "a known person, place, work or fact looks as it does in the world",
    "Attribute - Quantity": "the exact number of things",
    "Attribute - Expression": "a face that clearly shows the emotion",
    "Attribute - Material": "what a thing is made of, and how its surface looks",
    "Attribute - Color": "the colour of what is named",
    "Attribute - Shape": "the form of what is named",
    "Attribute - Size": "how large, tall, long, thick or wide a thing is",
    "Action - Hand (Character/Anthropomorphic)": "what a figure's hands do, and that they are whole and well formed",
    "Action - Full-body (Character/Anthropomorphic)": "a figure's posture or movement with the whole body",
    "Action - Animal": "what an animal does",
    "Action - Contact Interaction": "things act on each other and touch",
    "Action - Non-contact Interaction": "things act on each other without touching, for example by a look",
    "Action - State": "a state that a thing is in for some time",
    "Relationship - Composition": "one thing is made up of others",
    "Relationship - Similarity": "things that are alike",
    "Relationship - Inclusion": "one thing is in another, or on a surface that bears it",
    "Relationship - Comparison": "how two things differ in a feature",
    "Compound - Imagination": "what cannot be in the real world is shown as described",
    "Compound - Feature Matching": "each of several things has its own features and not another's",
    "Grammar - Pronoun Reference": "what is said by a pronoun is true of the thing that the pronoun stands for",
    "Grammar - Consistency": "a feature that several things share is seen on each of them",
    "Grammar - Negation": "what the description rules out is not there",
    "Entity Layout - Two-Dimensional Space": "where things are in the plane of the picture",
    "Entity Layout - Three-Dimensional Space": "where things are in depth",
    "Logical Reasoning": "what follows from the description without being said",
    "Text Generation": "the writing in the picture, every letter of it, with nothing missing or added",
}
KINDS = tuple(MEANINGS)


class Point(NamedTuple):
    """A test point of a prompt."""

    name: str
    """Its kind, e.g. `Attribute - Color`."""
    description: str
    """The part of the prompt that is tested."""


def dimension(kind: str) -> str:
    """The part before the dash, the whole where there is none: upstream's primary dimension."""
    return kind.partition(" - ")[0]


DIMENSIONS = tuple(dict.fromkeys(map(dimension, KINDS)))


def slug(name: str) -> str:
    """A kind or a dimension as part of a metric's name, e.g. `action_hand`."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"\(.*?\)", "", name).lower()).strip("_")
