"""UniGenBench++'s table of prompts: bad rows are named, and the rest goes on."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agsm_bench.errors import MissingError
from agsm_bench.types import Prompt
from agsm_bench.unigenbench.kinds import DIMENSIONS, KINDS, Point, dimension, slug
from agsm_bench.unigenbench.prompts import COLUMNS, points_of, read_prompts

REAL = Path(__file__).parents[2] / "shared/data/unigenbench/test_prompts_en_long.csv"
NAMES = ["Style", "Attribute - Color"]
WORDS = ["an ink painting", "a red fox"]


def details(names: Any = NAMES, words: Any = WORDS) -> str:
    return json.dumps({"Primary Categories": "Art", "Testpoints": names, "Testpoint Description": words})


def table(path: Path, *rows: tuple[str, ...], header: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.csv"


def test_a_row_becomes_a_prompt(file: Path) -> None:
    reading = read_prompts(table(file, ("7", "A fox,\nin ink.", details())))
    assert reading.problems == []
    testpoints = [{"name": n, "description": d} for n, d in zip(NAMES, WORDS, strict=True)]
    requirement = {"tag": "Art", "prompt": "A fox,\nin ink.", "index": 7, "testpoints": testpoints}
    assert reading.prompts == [Prompt("00007", "A fox,\nin ink.", "Art", requirement)]
    assert points_of(reading.prompts[0]) == (Point("Style", "an ink painting"), Point("Attribute - Color", "a red fox"))


def test_prompts_are_in_the_order_of_their_index_and_so_are_their_ids(file: Path) -> None:
    rows = [(str(index), f"Prompt {index}.", details()) for index in (10, 599, 2, 0)]
    ids = [prompt.id for prompt in read_prompts(table(file, *rows)).prompts]
    assert ids == ["00000", "00002", "00010", "00599"] == sorted(ids)


def test_more_columns_in_another_order_do_no_harm(file: Path) -> None:
    columns = ("note", "sub_dims_en", "prompt_en", "index")
    reading = read_prompts(table(file, ("", details(), "A fox.", "3"), header=columns))
    assert [prompt.text for prompt in reading.prompts] == ["A fox."]
    assert reading.problems == []


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (("1", "  ", details()), "no prompt"),
        (("", "A cat.", details()), "index"),
        (("-1", "A cat.", details()), "index"),
        (("1.5", "A cat.", details()), "index"),
        (("123456", "A cat.", details()), "index"),
        (("0", "A cat.", details()), "already"),
        (("1", "A cat."), "fields"),
        (("1", "A cat", " sitting.", details()), "fields"),
    ],
)
def test_a_row_without_prompt_or_index_is_left_out_and_named(file: Path, row: tuple[str, ...], word: str) -> None:
    reading = read_prompts(table(file, ("0", "A fox.", details()), row, ("2", "A dog.", details())))
    assert [prompt.text for prompt in reading.prompts] == ["A fox.", "A dog."]
    (problem,) = reading.problems
    assert "line 3" in problem
    assert word in problem
    assert "left out" in problem


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "Expecting value"),
        ("[]", "object"),
        ("{}", "Testpoints"),
        (details(names="Style"), "Testpoints"),
        (details(names=[]), "Testpoints"),
        (details(words=["an ink painting", 3]), "Description"),
        (details(words=["an ink painting", " "]), "Description"),
        (details(words=WORDS[:1]), "2 test points with 1 descriptions"),
    ],
)
def test_a_row_with_bad_test_points_keeps_its_prompt(file: Path, text: str, word: str) -> None:
    reading = read_prompts(table(file, ("0", "A fox.", text), ("1", "A dog.", details())))
    assert [len(points_of(prompt)) for prompt in reading.prompts] == [0, 2]
    assert reading.prompts[0].text == "A fox."
    (problem,) = reading.problems
    assert "index 0" in problem
    assert word in problem
    assert "kept without any" in problem


def test_one_comma_between_two_names_is_put_in_and_reported(file: Path) -> None:
    text = details().replace('"Style", ', '"Style" ')
    reading = read_prompts(table(file, ("0", "A fox.", text)))
    assert points_of(reading.prompts[0]) == (Point("Style", "an ink painting"), Point("Attribute - Color", "a red fox"))
    assert len(reading.problems) == 1
    assert "comma" in reading.problems[0]


@pytest.mark.parametrize(
    "text",
    [
        details().replace('"Style", ', '"Style" ').replace('"an ink painting", ', '"an ink painting" '),  # two commas
        details().replace("a red fox", 'a "red" fox'),  # quotes within a text
        details(words=["one", "two"]).replace('"one", "two"', '"one" "two" "three"'),
        details(words=["one", "two"]).replace('"one"', '"o" "ne"'),  # three descriptions then
        details()[:-1],
    ],
)
def test_nothing_else_is_repaired(file: Path, text: str) -> None:
    reading = read_prompts(table(file, ("0", "A fox.", text)))
    assert points_of(reading.prompts[0]) == ()
    assert len(reading.problems) == 1


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_an_error(file: Path, column: str) -> None:
    header = tuple(name for name in COLUMNS if name != column)
    with pytest.raises(MissingError, match=column):
        read_prompts(table(file, header=header))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'index,prompt_en,sub_dims_en\n0,"A fox, cut sho'])
def test_a_damaged_file_is_an_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(MissingError, match="data get unigenbench --again"):
        read_prompts(file)


def test_an_absent_file_is_an_error(file: Path) -> None:
    with pytest.raises(MissingError, match="data get unigenbench"):
        read_prompts(file)


def test_kinds_and_dimensions_have_names_of_their_own() -> None:
    assert len(KINDS) == 27
    assert len(DIMENSIONS) == 10
    assert len({slug(kind) for kind in KINDS}) == 27
    both = {slug(kind) for kind in KINDS} & {slug(name) for name in DIMENSIONS}
    assert both == {slug(kind) for kind in KINDS if dimension(kind) == kind}
    assert slug("Action - Hand (Character/Anthropomorphic)") == "action_hand"


@pytest.mark.skipif(not REAL.exists(), reason=f"upstream's file is not at {REAL}")
def test_upstreams_file_has_600_prompts_and_one_bad_row() -> None:
    reading = read_prompts(REAL)
    assert [prompt.id for prompt in reading.prompts] == [f"{index:05d}" for index in range(600)]
    (problem,) = reading.problems
    assert "index 509" in problem
    assert "comma" in problem
    kinds = Counter(point.name for prompt in reading.prompts for point in points_of(prompt))
    assert set(kinds) == set(KINDS)
    assert sum(count for kind, count in kinds.items() if dimension(kind) == "Grammar") == 197
    assert len({prompt.tag for prompt in reading.prompts}) == 5
    assert len(points_of(reading.prompts[509])) == 5
