"""The weights of backbones: present, complete, every component; nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

from agsm_bench.contracts import Backbone
from agsm_bench.doctor.check import Check, gigabytes
from agsm_bench.errors import MissingError
from agsm_bench.weights import Located, Part, survey_pipeline, tensors_in

TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def parts_of(backbone: Backbone) -> Sequence[Part]:
    """Every component, as it is on this machine."""
    if backbone.survey is not None:
        return backbone.survey()
    try:
        folder = backbone.weights()
    except MissingError as error:
        return [Part("pipeline", problem=error)]
    return survey_pipeline(Located(folder, str(folder), None, "Reinstall agsm-bench, or build it anew."))


def detailed(parts: Sequence[Part]) -> Iterator[Check]:
    """A line for every component that has weights or a problem."""
    for part in parts:
        if part.problem:
            yield Check("weights", part.name, "missing", part.problem.message, part.problem.fix)
        elif part.files:
            says = f"{gigabytes(sum(file.stat().st_size for file in part.files))}, {_types(part.files)}"
            yield Check("weights", part.name, "ok", says)


def in_one_line(backbone: Backbone, parts: Sequence[Part], needed: bool) -> Check:
    """A backbone, with the first of its problems."""
    problems = [part.problem for part in parts if part.problem]
    if not problems:
        size = sum(file.stat().st_size for part in parts for file in part.files)
        return Check("weights", backbone.name, "ok", f"{gigabytes(size)}, complete", needed=needed)
    more = f" And {len(problems) - 1} more: --backbone {backbone.name} lists them." if len(problems) > 1 else ""
    return Check("weights", backbone.name, "missing", problems[0].message + more, problems[0].fix, needed)


def parameters(files: Sequence[Path]) -> int:
    """Numbers in safetensors files."""
    return sum(prod(entry["shape"]) for file in files for entry in tensors_in(file).values())


def _types(files: Sequence[Path]) -> str:
    found = {entry["dtype"] for file in files for entry in tensors_in(file).values()}
    return ", ".join(sorted(TYPES.get(name, name) for name in found))
