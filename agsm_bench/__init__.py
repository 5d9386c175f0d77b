"""agsm-bench: train, evaluate and report post-training of text-to-image diffusion models."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agsm_bench.tokens.soft_tokens import SoftTokens

__all__ = ["SoftTokens", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `SoftTokens` on first use: it needs torch, this module does not."""
    if name != "SoftTokens":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agsm_bench.tokens.soft_tokens import SoftTokens

    return SoftTokens
