"""GenEval's results file as upstream's evaluator, or ours, writes it: read, checked for completeness, and summed up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsm_bench.benchmark import Scored
from agsm_bench.errors import MissingError
from agsm_bench.geneval import CORRECT, GenEval
from agsm_bench.geneval_prompts import photo_metadata, shapes_metadata
from agsm_bench.types import Domain, Interval, Prompt

SHOWN = 5
"""Prompts named in a warning."""


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
            row = json.loads(line)
            name, correct = str(row["filename"]), row["correct"]
            domain, prompt = _asked(known, row)
            if not isinstance(correct, bool):
                raise ValueError("`correct` is neither true nor false")
            if name in seen:
                raise ValueError(f"{name} is there twice")
        except KeyError as error:
            problems.append(f"{path.name} line {number}: it has no {error}; the row is left out.")
            continue
        except (ValueError, TypeError) as error:
            problems.append(f"{path.name} line {number}: {error}; the row is left out.")
            continue
        seen.add(name)
        scored.append((prompt, name, {CORRECT: float(correct)}))
        rows.append(row)
        counts[domain, prompt.id] += 1
    if not scored:
        raise MissingError(f"{path} has no row of GenEval's ({len(lines)} lines).", "Name a results.jsonl.")
    domain = counts.most_common(1)[0][0][0]
    benchmark = GenEval()
    metrics = benchmark.summarise(scored)
    doubts = benchmark.doubts(domain, metrics, rows)
    return Results(domain, metrics, (*doubts, *_missing(domain, counts), *problems), len(scored))


def _asked(known: Mapping[str, tuple[Domain, Prompt]], row: Mapping[str, Any]) -> tuple[Domain, Prompt]:
    """The prompt of a row; raises ValueError, KeyError or TypeError for one that is not as upstream writes them."""
    metadata, details = json.loads(row["metadata"]), json.loads(row["details"])
    if not isinstance(details, dict) or not all(isinstance(boxes, list) for boxes in details.values()):
        raise ValueError("`details` has no boxes by class")
    if _key(metadata) not in known:
        raise ValueError("its `metadata` is no prompt of GenEval's")
    return known[_key(metadata)]


def _known() -> dict[str, tuple[Domain, Prompt]]:
    """Every prompt of both domains by its requirement."""
    found: dict[str, tuple[Domain, Prompt]] = {}
    for domain, entries in (("shapes", shapes_metadata()), ("photo", photo_metadata())):
        for i, entry in enumerate(entries):
            found[_key(entry)] = (domain, Prompt(f"{i:05d}", entry["prompt"], entry["tag"], entry))  # type: ignore[assignment]
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
