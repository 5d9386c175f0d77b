"""Where the miniature models' weights lie: in the package, or in AGSM_BENCH_SHAPES_WEIGHTS."""

from __future__ import annotations

import os
from pathlib import Path

from agsm_bench.errors import MissingError

ENVIRONMENT = "AGSM_BENCH_SHAPES_WEIGHTS"


def weights_folder(name: str) -> Path:
    """The folder of a miniature model, e.g. `shapes-mmdit`.

    Raises:
        MissingError: it is not there.
    """
    root = Path(os.environ.get(ENVIRONMENT) or Path(__file__).parent / "weights")
    folder = root / name
    if not any((folder / f).exists() for f in ("model_index.json", "config.json")):
        raise MissingError(
            f"The weights of {name} are not at {folder}.",
            f"Reinstall agsm-bench, or build them: `agsm-bench shapes build {name} --out {root}`.",
        )
    return folder
