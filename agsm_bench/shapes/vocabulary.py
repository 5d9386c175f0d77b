"""The words of the shapes world. No torch here: prompts and reports read them."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "cross")
COLORS = ("red", "yellow", "green", "cyan", "blue", "purple")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = ("one", "two", "three", "four")

RGB = {
    "red": (214, 40, 40),
    "yellow": (235, 195, 20),
    "green": (40, 150, 60),
    "cyan": (10, 180, 215),
    "blue": (40, 70, 200),
    "purple": (160, 50, 180),
}
"""sRGB values, chosen far apart so that a colour survives sampling noise."""

BACKGROUND = (205, 205, 205)
IMAGE_SIZE = 24
"""Side of a picture in pixels."""


def plural(noun: str) -> str:
    """GenEval's plural: +es after s, else +s."""
    return noun + ("es" if noun.endswith("s") else "s")


def article(word: str) -> str:
    """GenEval's indefinite article."""
    return "an" if word[0] in "aeiou" else "a"
