"""Loading stock diffusers pipelines, quietly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agsm_bench.errors import MissingError


def load_pipeline(class_name: str, source: Path, **components: Any) -> Any:
    """A diffusers pipeline from disk, in float32 on the CPU; `components` replace those on disk.

    Raises:
        MissingError: a file of it is absent or damaged.
    """
    quiet()
    import diffusers
    import torch
    from safetensors import SafetensorError

    try:
        return getattr(diffusers, class_name).from_pretrained(source, dtype=torch.float32, **components)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingError(
            f"The pipeline at {source} does not load ({reason}).", "Reinstall it, or build it anew."
        ) from error


def quiet() -> None:
    """Keeps the libraries' progress bars and advice off the terminal; errors still show."""
    import diffusers
    import transformers

    for logging in (transformers.utils.logging, diffusers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
