"""Where a number comes from: versions, commit, command and time. Never environment variables, nor secrets."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import agsm_bench
from agsm_bench.redaction import redacted

PACKAGES = (
    *("torch", "diffusers", "transformers", "accelerate", "peft", "numpy", "pillow", "scipy"),
    *("torchvision", "open_clip_torch", "clean-fid", "lpips", "torchmetrics"),
)
"""Those whose version can change an image or a score."""


def provenance(device: str | None = None) -> dict[str, Any]:
    """What to note about this process, called when its work starts.

    Args:
        device: what the work runs on, e.g. `cpu` or `cuda: NVIDIA H100`; asking torch is the caller's part.
    """
    return {
        "agsm_bench": agsm_bench.__version__,
        "git": git_state(Path(agsm_bench.__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": device,
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_state(package: Path) -> dict[str, Any] | None:
    """The commit of the checkout that `package` is a top-level folder of, and whether it was changed since.

    None elsewhere: a virtual environment often lies in somebody else's repository.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain")
    if top is None or commit is None or Path(top) != package.resolve().parent:
        return None
    return {"commit": commit, "dirty": changes != ""}


def command() -> str:
    """What was typed, as a shell reads it, without secrets."""
    name = Path(sys.argv[0]).name
    program = "agsm-bench" if name == "__main__.py" else name  # python -m agsm_bench
    return redacted(shlex.join([program, *sys.argv[1:]]))


def _git(folder: Path, *arguments: str) -> str | None:
    # without optional locks: a status must not disturb a commit that somebody makes meanwhile
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
