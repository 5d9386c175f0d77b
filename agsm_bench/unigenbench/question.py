"""What the judge is asked about an image, and how its answer is read. The words are our own.

So accuracies under this question are not those of upstream's leaderboard, whose question is another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agsm_bench.unigenbench.kinds import MEANINGS, Point

VERSION = "1"
"""Of the question's words and of the reading of answers: another one asks for new judgements."""

_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder(strict=False)  # models break lines within strings
_NUMBER = re.compile(r"#?([0-9]+)\.?")
_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Verdict:
    """The answer to one test point."""

    name: str
    """The kind of test point."""
    yes: bool
    reason: str


def question(prompt: str, points: Sequence[Point]) -> str:
    """The text that is sent with the image."""
    return f"""The picture was made from a description. Check it against the description, point by point.

Description:
<<<
{prompt}
>>>

Points, each with its topic, the words of the description that it is about, and what the topic means:
{chr(10).join(_line(number, point) for number, point in enumerate(points, 1))}

Judge each point by itself, by what can be seen in the picture and nothing else. The answer is "yes" if the picture
clearly shows what the description asks for in this point, and "no" if that is missing, wrong or not to be made out.

Reply with this JSON object and no other text, with {len(points)} verdicts, one for every point in the order above:
{{"verdicts": [{{"point": 1, "answer": "yes" or "no", "reason": "one short sentence"}}, ...]}}"""


def question_id(text: str) -> str:
    """What judgements of a question are kept under: the version of its words, and the hash of all of it."""
    return f"{VERSION}-{sha256(text.encode()).hexdigest()[:16]}"


def read_answer(text: str, points: Sequence[Point]) -> tuple[Verdict, ...]:
    """The verdicts in the order of the points, out of a reply that may hold other text as well.

    Raises:
        ValueError: there is not exactly one verdict for every point, with the reason.
    """
    final = text.rpartition("</think>")[2]
    found = [_verdicts(entries, points) for value in _json_values(final) if (entries := _entries(value))]
    if not found:
        raise ValueError("the answer holds no JSON with verdicts")
    if len({tuple(verdict.yes for verdict in verdicts) for verdicts in found}) > 1:
        raise ValueError("the answer holds several sets of verdicts that differ")
    return found[-1]


def _line(number: int, point: Point) -> str:
    meaning = MEANINGS.get(point.name)
    return f"{number}. [{point.name}] {json.dumps(point.description, ensure_ascii=False)}" + (
        f" ({meaning})" if meaning else ""
    )


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON object or list in a text that is not within an earlier one."""
    at = 0
    while start := _OPENING.search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            at = start.end()


def _entries(value: Any) -> list[Mapping[str, Any]] | None:
    entries = value.get("verdicts") if isinstance(value, dict) else value
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return entries
    return None


def _verdicts(entries: Sequence[Mapping[str, Any]], points: Sequence[Point]) -> tuple[Verdict, ...]:
    if not any("point" in entry for entry in entries):  # then their order tells
        entries = [{**entry, "point": number} for number, entry in enumerate(entries, 1)]
    numbers = [_number(entry.get("point")) for entry in entries]
    if sorted(numbers) != list(range(1, len(points) + 1)):
        given = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"the answer has verdicts for the points {given}, not for 1 to {len(points)}, each once")
    by_number = dict(zip(numbers, entries, strict=True))
    return tuple(_verdict(number, by_number[number], point) for number, point in enumerate(points, 1))


def _verdict(number: int, entry: Mapping[str, Any], point: Point) -> Verdict:
    word = str(entry.get("answer")).strip(" \n\t.!*\"'").lower()
    if word not in _ANSWERS:
        raise ValueError(f"the answer to point {number} is neither yes nor no")
    reason = entry.get("reason")
    return Verdict(point.name, _ANSWERS[word], " ".join(reason.split()) if isinstance(reason, str) else "")


def _number(value: Any) -> int:
    """The number of a point; 0, which no point has, for anything else."""
    text = value.strip() if isinstance(value, str) else str(value)
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match and len(text) < 10 else 0
