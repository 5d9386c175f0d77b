"""torchvision imports beside a torch of another build."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="no torchvision")
def test_torchvision_imports_after_the_bench() -> None:
    code = "import agsm_bench, torchvision.transforms as t; print(t.ToTensor.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ToTensor\n"), done.stderr


def test_importing_the_bench_imports_neither_torch_nor_torchvision() -> None:
    """Nor does looking whether torchvision is there."""
    code = "import agsm_bench, sys; from importlib.util import find_spec; find_spec('torchvision')"
    code += "; print({'torch', 'torchvision'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
