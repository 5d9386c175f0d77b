"""results/BENCH.md: what bench.json holds as tables, each below what `findings.md` says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measured import Measured

FINDINGS = Path(__file__).with_name("findings.md")
"""Sections `## SCRIPT`, in the page's order."""


def page(kept: Mapping[str, Any]) -> str:
    """The page of what all scripts measured."""
    head, *sections = FINDINGS.read_text(encoding="utf-8").split("\n## ")
    parts = [head.rstrip()]
    for section in sections:
        script, _, text = section.partition("\n")
        name, _, title = script.partition(": ")
        parts.append(f"## {title}\n\n{text.strip()}")
        if name in kept:
            parts.append("\n".join(table(kept[name])))
    return "\n\n".join(parts) + "\n"


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """A script's lines, and where they were measured."""
    yield "| measured | | target | |"
    yield "|---|---:|---:|---|"
    for line in (Measured(**each) for each in found["measured"]):
        sign = "≤" if line.lower_is_better else "≥"
        target = "" if line.target is None else f"{sign} {line.target:g}"
        met = {True: "met", False: "**not met**", None: ""}[line.met]
        yield f"| {line.name}{f' ({line.note})' if line.note else ''} | {number(line)} | {target} | {met} |"
    said = found["provenance"]
    where = said["machine"]
    commit = (said["git"] or {}).get("commit", "")[:10]
    yield ""
    yield f"`{said['command']}`, {where['cores']} cores of {where['cpu']}, {said['started'][:10]}, commit {commit}."


def number(line: Measured) -> str:
    """With its unit."""
    if line.unit == "ratio":
        return f"{line.value:.3f}"
    return f"{line.value:.3g} {line.unit}" if abs(line.value) < 1000 else f"{line.value:,.0f} {line.unit}"
