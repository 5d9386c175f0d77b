"""`agsm-bench prompts`: a benchmark's prompts as JSONL."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer

from agsm_bench import plugins


def prompts(
    benchmark: Annotated[str, typer.Argument(help="Name of the benchmark, e.g. geneval.")],
    domain: Annotated[Literal["shapes", "photo"], typer.Option(help="Which world's prompts.")] = "shapes",
    ids: Annotated[
        bool, typer.Option("--ids", help="Each with its id, by which `score --images` knows images.")
    ] = False,
) -> None:
    """Print a benchmark's prompts, one JSON object a line (GenEval photo: upstream's file, byte for byte)."""
    for prompt in plugins.load("benchmarks", plugins.full_name("benchmarks", benchmark)).prompts(domain):
        line = {"id": prompt.id, **prompt.requirement} if ids else dict(prompt.requirement)
        sys.stdout.write(json.dumps(line) + "\n")
