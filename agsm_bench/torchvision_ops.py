"""torchvision beside a torch of another build: a CPU torch, and the CUDA torchvision that PyPI has for Linux.

There its compiled operators do not load, and its import ends in `operator torchvision::nms does not exist`. Two
operators with schemas alone let it import; everything but `torchvision.ops` works then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_libraries: list[Any] = []
"""Operators live as long as their library."""


class DeclareOperators(MetaPathFinder):
    """Finds torchvision as ever, with a loader that looks after its operators first. Imports nothing by itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for every other package, and where there is no torchvision."""
        if fullname != "torchvision" or sys.platform != "linux":
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        loader = _Loader(fullname, found.origin)
        folders = found.submodule_search_locations
        return spec_from_file_location(fullname, found.origin, loader=loader, submodule_search_locations=folders)


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        _declare(Path(self.path).parent / "_C.so")
        super().exec_module(module)


def _declare(compiled: Path) -> None:
    import torch

    if torch.version.cuda or torch.version.hip or not compiled.is_file():
        return
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(name + SCHEMA)
        _libraries.append(library)
