"""Reads UniGenBench++'s table of prompts; a bad row is named, and the rest goes on.

The file is `test_prompts_en_long.csv` of github CodeGoat24/UniGenBench (CC BY 4.0). In its row 509 a comma is missing
between two names of test points, so `json.loads`, and with it upstream's own evaluation, fails there. One comma is put
where the JSON parser misses it, if two strings stand side by side there and there are then as many names as
descriptions; the row is reported all the same. Upstream's leaderboard counts the row, too: most of its Grammar
percentages (43 of 56) are multiples of 1 / (4 x 197), and without the row there are 196 such points.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsm_bench.errors import MissingError
from agsm_bench.types import Prompt
from agsm_bench.unigenbench.kinds import Point

COLUMNS = ("index", "prompt_en", "sub_dims_en")
GET_AGAIN = "Get it again: agsm-bench data get unigenbench --again"

_TWO_STRINGS = re.compile(r'"\s*$')


@dataclass(frozen=True)
class Reading:
    """What a file gives."""

    prompts: list[Prompt]
    """In the order of their index. `requirement` has tag, prompt, index and testpoints, each with name, description."""
    problems: list[str]
    """Rows that are left out, repaired, or without test points, and why."""


def points_of(prompt: Prompt) -> tuple[Point, ...]:
    """The test points of a prompt, none where its row has no readable ones."""
    return tuple(Point(**point) for point in prompt.requirement["testpoints"])


def read_prompts(path: Path) -> Reading:
    """The prompts of a file and the problems with its rows.

    A row without a usable index or prompt, or with an index that was there already, is left out. One whose test
    points cannot be read keeps its prompt, as metrics without a judge need no more.

    Raises:
        MissingError: the file is absent, cut short or no CSV, or lacks a column.
    """
    prompts: dict[int, Prompt] = {}
    problems = []
    for line, row in _rows(path):
        where = f"{path.name} line {line} (index {row.get('index', '?')})"
        index, wrong = row.get("index", ""), _wrong(row)
        if not wrong and int(index) in prompts:
            wrong = "this index was there already"
        if wrong:
            problems.append(f"{where}: {wrong}; the row is left out.")
            continue
        prompt, problem = _prompt(int(index), row["prompt_en"].strip(), row["sub_dims_en"])
        prompts[prompt.requirement["index"]] = prompt
        if problem:
            problems.append(f"{where}: {problem}")
    return Reading([prompts[index] for index in sorted(prompts)], problems)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Every row with the line that it ends in; an empty one where its fields are not as many as the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if lacking := [name for name in COLUMNS if name not in header]:
                raise MissingError(f"{path} has no column {', '.join(lacking)}.", GET_AGAIN)
            for fields in filter(None, reader):
                row = dict(zip(header, fields, strict=True)) if len(fields) == len(header) else {}
                yield reader.line_num, row
    except FileNotFoundError as error:
        raise MissingError(f"There is no {path}.", "Get it: agsm-bench data get unigenbench") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MissingError(f"{path} is damaged ({error}).", GET_AGAIN) from error


def _wrong(row: Mapping[str, str]) -> str | None:
    """Why the row gives no prompt."""
    if not row:
        return "it has not as many fields as there are columns"
    if not re.fullmatch("[0-9]{1,5}", row["index"]):  # five digits: ids sort as numbers do
        return "its index is not a number of up to five digits"
    return None if row["prompt_en"].strip() else "it has no prompt"


def _prompt(index: int, text: str, details: str) -> tuple[Prompt, str | None]:
    """The prompt, and what is wrong with its test points."""
    problem, tag = None, ""
    points: Sequence[Point] = ()
    try:
        content, repaired = _parsed(details)
        tag = str(content.get("Primary Categories", ""))
        points = _points(content)
        if repaired:
            problem = "its JSON lacks a comma; read with one, as names and descriptions are then equally many."
    except ValueError as error:
        problem = f"its test points cannot be read ({error}); the prompt is kept without any."
    testpoints = [point._asdict() for point in points]
    requirement = {"tag": tag, "prompt": text, "index": index, "testpoints": testpoints}
    return Prompt(f"{index:05d}", text, tag, requirement), problem


def _parsed(details: str) -> tuple[Mapping[str, Any], bool]:
    """The object of the JSON text, and whether a comma was put in; raises ValueError."""
    try:
        content, repaired = json.loads(details), False
    except json.JSONDecodeError as error:
        before, after = details[: error.pos], details[error.pos :]
        if not (error.msg.startswith("Expecting ','") and _TWO_STRINGS.search(before) and after.startswith('"')):
            raise
        content, repaired = json.loads(f"{before},{after}"), True
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content, repaired


def _points(content: Mapping[str, Any]) -> Sequence[Point]:
    names, descriptions = (_texts(content, key) for key in ("Testpoints", "Testpoint Description"))
    if len(names) != len(descriptions):
        raise ValueError(f"{len(names)} test points with {len(descriptions)} descriptions")
    return [Point(*both) for both in zip(names, descriptions, strict=True)]


def _texts(content: Mapping[str, Any], key: str) -> list[str]:
    texts = content.get(key)
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"no list '{key}'")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"'{key}' holds something else than texts")
    return [text.strip() for text in texts]
