"""The judge's question, and the reading of what models make of the form that it asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agsm_bench.unigenbench.kinds import MEANINGS, Point
from agsm_bench.unigenbench.question import Verdict, question, question_id, read_answer

POINTS = (Point("Style", "an ink painting"), Point("Attribute - Color", 'a "red" fox'))
EXPECTED = (Verdict("Style", True, "It is ink."), Verdict("Attribute - Color", False, "It is blue."))


def entry(point: Any, answer: Any, reason: Any) -> dict[str, Any]:
    return {"point": point, "answer": answer, "reason": reason}


ENTRIES = [entry(1, "yes", "It is ink."), entry(2, "no", "It is blue.")]
PLAIN = json.dumps({"verdicts": ENTRIES})


def test_the_question_has_the_prompt_and_every_point_with_its_number_and_meaning() -> None:
    text = question("A {red} fox in ink.", POINTS)
    assert "A {red} fox in ink." in text
    assert f'1. [Style] "an ink painting" ({MEANINGS["Style"]})' in text
    assert r"2. [Attribute - Color]" in text
    assert "2 verdicts" in text


def test_an_unknown_kind_is_asked_without_a_meaning() -> None:
    assert '1. [Smell] "of rain"\n' in question("Rain.", [Point("Smell", "of rain")])


def test_another_question_is_another_judgement() -> None:
    texts = [question("A.", POINTS), question("B.", POINTS), question("A.", POINTS[:1]), question("A.", POINTS[::-1])]
    assert len({question_id(text) for text in texts}) == 4
    assert question_id(texts[0]) == question_id(question("A.", list(POINTS)))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"Here you are [as asked]: {PLAIN} I hope {{that}} helps.",
        f"<think>Perhaps {PLAIN.replace('no', 'yes')}? Well, [1].</think>\n{PLAIN}",
        f"{PLAIN}\n{PLAIN}",
        json.dumps({"verdicts": ENTRIES[::-1]}),
        json.dumps(ENTRIES),
        json.dumps({"verdicts": [{k: v for k, v in each.items() if k != "point"} for each in ENTRIES]}),
        json.dumps([entry("1", "Yes.", "It is ink."), entry("#2", " **NO**", "It is blue.")]),
        json.dumps([entry("1.", True, "It is ink."), entry(2, False, "It is\n blue. ")]),
        json.dumps([entry(1, 1, "It is ink."), entry(2, 0, "It is blue.")]),
        json.dumps([entry(1, "true", "It is ink."), entry(2, "0", "It is blue.")]),
        PLAIN.replace("is ink", "is\nink"),
    ],
)
def test_verdicts_are_found_in_what_models_write(text: str) -> None:
    assert read_answer(text, POINTS) == EXPECTED


def test_a_reason_may_lack() -> None:
    text = json.dumps([{"point": 1, "answer": "no"}, entry(2, "yes", None)])
    assert [(verdict.yes, verdict.reason) for verdict in read_answer(text, POINTS)] == [(False, ""), (True, "")]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no JSON"),
        ("Yes, and no.", "no JSON"),
        (PLAIN[:-20], "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"answers": 2}', "no JSON"),
        ('{"verdicts": ["yes", "no"]}', "no JSON"),
        (json.dumps(ENTRIES[:1]), "points 1, not for 1 to 2"),
        (json.dumps([*ENTRIES, entry(3, "yes", "")]), "1, 2, 3"),
        (json.dumps([*ENTRIES, ENTRIES[0]]), "1, 1, 2"),
        (json.dumps([ENTRIES[0], entry("second", "no", "")]), "0, 1"),
        (json.dumps([ENTRIES[0], entry(True, "no", "")]), "0, 1"),
        (json.dumps([ENTRIES[0], {"answer": "no"}]), "0, 1"),
        (json.dumps([{"answer": "no"}]), "points 1, not"),
        (json.dumps([ENTRIES[0], entry(2, "perhaps", "")]), "point 2 is neither"),
        (json.dumps([ENTRIES[0], entry(2, None, "")]), "point 2 is neither"),
        (json.dumps([ENTRIES[0], entry(2, 2, "")]), "point 2 is neither"),
        (json.dumps([ENTRIES[0], {"point": 2}]), "point 2 is neither"),
        (f"{PLAIN} {PLAIN.replace('no', 'yes')}", "differ"),
    ],
)
def test_anything_but_one_verdict_a_point_is_refused_with_the_reason(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        read_answer(text, POINTS)
