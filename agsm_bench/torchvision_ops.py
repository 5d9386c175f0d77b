"""torchvision beside a torch of another build: a CPU torch, and the CUDA torchvision that PyPI has for Linux.

There its compiled operators do not load, and its import ends in `operator torchvision::nms does not exist`. Two
operators with schemas alone let it import; everything but `torchvision.ops` works then.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_libraries: list[Any] = []
"""Operators live as long as their library."""


class DeclareOperators(MetaPathFinder):
    """Finds nothing; it is asked before torchvision is imported for the first time."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Declares the operators where they are missing."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec("torchvision")
            if spec is not None and spec.origin is not None and sys.platform == "linux":
                _declare(Path(spec.origin).parent / "_C.so")
        return None


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
