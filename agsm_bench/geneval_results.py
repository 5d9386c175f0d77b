"""GenEval's results file as upstream's evaluator, or ours, writes it: read, checked for completeness, and summed up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agsm_bench.benchmark import Scored
from agsm_bench.damage import DAMAGED
from agsm_bench.errors import MissingError, shown
from agsm_bench.geneval import CORRECT, GenEval
from agsm_bench.types import DOMAINS, Domain, Interval, Prompt

SHOWN = 5
"""Prompts named in a warning."""

Known = Mapping[str, list[tuple[Domain, Prompt]]]


@dataclass(frozen=True)
class Results:
    """What a results file says."""

    domain: Domain
    metrics: Mapping[str, Interval]
    warnings: tuple[str, ...]
    """Rows that are left out, prompts without their images, and what looks like a detector with the wrong weights."""
    images: int


def read_results(path: Path) -> Results:
    """A results file (JSONL) with upstream's fields: `filename`, `tag`, `correct`, `metadata`, `details`.

    Raises:
        MissingError: the file cannot be read, or has no row of GenEval's.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingError(f"{path} cannot be read ({type(error).__name__}).", "Name a results.jsonl.") from error
    known = _known()
    scored: list[Scored] = []
    rows: list[Mapping[str, Any]] = []
    problems: list[str] = []
    counts: Counter[tuple[Domain, str]] = Counter()
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _row(line)
            name = row["filename"]
            domain, prompt = _asked(known, row)
            if name in seen:
                raise ValueError(f"{name} is there twice")
        except KeyError as error:
            problems.append(f"{path.name} line {number}: it has no {error}; the row is left out.")
            continue
        except DAMAGED as error:
            problems.append(shown(f"{path.name} line {number}: {error}; the row is left out."))
            continue
        seen.add(name)
        scored.append((prompt, name, {CORRECT: float(row["correct"])}))
        rows.append(row)
        counts[domain, prompt.id] += 1
    if not scored:
        raise MissingError(f"{path} has no row of GenEval's ({len(lines)} lines).", "Name a results.jsonl.")
    domain = counts.most_common(1)[0][0][0]
    benchmark = GenEval()
    metrics = benchmark.summarise(scored)
    doubts = benchmark.doubts(domain, metrics, rows)
    return Results(domain, metrics, (*doubts, *_missing(domain, counts), *problems), len(scored))


def _row(line: str) -> dict[str, Any]:
    """A row with text where upstream has text; raises KeyError for a field that it lacks, ValueError for a bad one."""
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")
    if wrong := [name for name in ("filename", "metadata", "details") if not isinstance(row[name], str)]:
        raise ValueError(f"`{wrong[0]}` is no text")
    if not isinstance(row["correct"], bool):
        raise ValueError("`correct` is neither true nor false")
    return row


def _asked(known: Known, row: Mapping[str, Any]) -> tuple[Domain, Prompt]:
    """The prompt of a row; raises ValueError for one that is not as upstream writes them.

    Where several have its requirement, as in the shapes world, that in whose folder its image lies.
    """
    metadata, details = json.loads(row["metadata"]), json.loads(row["details"])
    if not isinstance(details, dict) or not all(isinstance(boxes, list) for boxes in details.values()):
        raise ValueError("`details` has no boxes by class")
    if not (found := known.get(_key(metadata))):
        raise ValueError("its `metadata` is no prompt of GenEval's")
    folders = Path(row["filename"]).parts
    return next((each for each in found if each[1].id in folders), found[0])


@cache
def _known() -> Known:
    """Every prompt of both domains by its requirement."""
    found: dict[str, list[tuple[Domain, Prompt]]] = {}
    for domain in DOMAINS:
        for prompt in GenEval().prompts(domain):
            found.setdefault(_key(prompt.requirement), []).append((domain, prompt))
    return found


def _key(metadata: Any) -> str:
    return json.dumps(metadata, sort_keys=True)


def _missing(domain: Domain, counts: Counter[tuple[Domain, str]]) -> list[str]:
    """Prompts with fewer images than the others have."""
    most = max(max(counts.values()), GenEval.images_per_prompt)
    prompts = [prompt.id for prompt in GenEval().prompts(domain)]
    lacking = {each: most - counts[domain, each] for each in prompts if counts[domain, each] < most}
    if not lacking:
        return []
    gone, some = f"{sum(lacking.values())} of {most * len(prompts)}", ", ".join(list(lacking)[:SHOWN])
    return [f"{gone} images are missing, of {len(lacking)} prompts (first {some})."]
