"""Plugins by name: a file is a plugin, imported only on use; third parties add theirs by entry points."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from agsm_bench.errors import MissingError, UserError

KINDS = {
    "trainers": "TRAINER",
    "benchmarks": "BENCHMARK",
    "backbones": "BACKBONE",
    "metrics": "METRIC",
    "detectors": "DETECTOR",
}
"""Kind of plugin -> the name that its module exposes."""


def names(kind: str) -> list[str]:
    """The command-line names of all plugins of a kind, sorted."""
    return sorted({*_files(kind), *_entry_points(kind)})


def load(kind: str, name: str) -> Any:
    """The object that a plugin exposes.

    Raises:
        UserError: unknown name, with the closest ones.
        MissingError: the plugin is there and fails to import, with the reason.
    """
    if name in (points := _entry_points(kind)):
        module = points[name].value.partition(":")[0]
    elif name in _files(kind):
        module = f"agsm_bench.{kind}.{_module_name(name)}"
    else:
        raise UserError(f"There is no {kind.removesuffix('s')} '{name}'.", _suggest(kind, name))
    try:
        return getattr(importlib.import_module(module), KINDS[kind])
    except Exception as error:  # a third party's file can fail in any way
        raise MissingError(
            f"The {kind.removesuffix('s')} '{name}' does not import: {_reason(error)}.",
            f"Mend or reinstall {module}; `agsm-bench list {kind}` shows the others.",
        ) from error


def description(kind: str, name: str) -> str:
    """First line of the plugin's docstring, read without importing it; of a broken one, what is wrong."""
    try:
        path = _path(kind, name)
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) if path else None
    except Exception as error:  # one broken plugin must not take the list of the others down
        return f"(does not import: {_reason(error)})"
    return (docstring or "").partition("\n")[0]


def _path(kind: str, name: str) -> Path | None:
    points = _entry_points(kind)
    if name not in points:
        return _files(kind).get(name)
    module = points[name].value.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named '{module}'")
    return Path(spec.origin)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _files(kind: str) -> dict[str, Path]:
    return {path.stem.replace("_", "-") if kind == "backbones" else path.stem: path for path in _listing(kind)}


def _listing(kind: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(f"agsm_bench.{kind}")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from (p for p in sorted(Path(folder).glob("*.py")) if not p.stem.startswith("_"))


@cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"agsm_bench.{kind}")}


def _module_name(name: str) -> str:
    return name.replace("-", "_")


def _suggest(kind: str, name: str) -> str:
    known = names(kind)
    close = get_close_matches(name.lower(), known, n=1)
    listed = ", ".join(known)
    return f"Did you mean '{close[0]}'? Known: {listed}." if close else f"Known: {listed}."
