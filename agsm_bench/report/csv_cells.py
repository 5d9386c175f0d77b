"""Cells of CSV files that people open in a spreadsheet, to which `=…` is a formula, whoever wrote it into a run."""

from __future__ import annotations

from typing import Any

STARTS = ("=", "+", "-", "@", "\t", "\n")
"""Of formulas, in one spreadsheet or another."""


def guarded(value: Any) -> Any:
    """The value; a text that would be a formula has an apostrophe before it, by which spreadsheets know a text.

    A carriage return, which the csv module does not quote and readers take for the end of a line, becomes a space.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    return f"'{text}" if _tempts(text) and not _is_number(text) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if text.startswith("'") and _tempts(text) else text


def _tempts(text: str) -> bool:
    """A sign alone, as papers print for what they lack, is no formula."""
    bare = text.lstrip("'")
    return len(bare) > 1 and bare.startswith(STARTS)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
