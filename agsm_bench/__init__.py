"""agsm-bench: train, evaluate and report post-training of text-to-image diffusion models."""

import sys
from typing import TYPE_CHECKING

from agsm_bench.torchvision_ops import DeclareOperators

if TYPE_CHECKING:
    from agsm_bench.scoring.collection import score_images
    from agsm_bench.tokens.soft_tokens import SoftTokens

__all__ = ["SoftTokens", "__version__", "score_images"]
__version__ = "0.1.0"

if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, DeclareOperators())


def __getattr__(name: str) -> object:
    """Imports on first use what this module has no need of: `SoftTokens` takes torch."""
    if name == "SoftTokens":
        from agsm_bench.tokens.soft_tokens import SoftTokens

        return SoftTokens
    if name == "score_images":
        from agsm_bench.scoring.collection import score_images

        return score_images
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
