"""Soft text tokens: the module, attaching it to a diffusers model, its checkpoint.

Names are imported on first use: those of `header` come without torch, the others with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agsm_bench.tokens.attach import Attachment, attached
    from agsm_bench.tokens.checkpoint import load_tokens, save_tokens
    from agsm_bench.tokens.header import TOKENS_FILE, TokensConfig, TokensHeader, read_header, tokens_hash
    from agsm_bench.tokens.soft_tokens import SoftTokens

__all__ = [
    "TOKENS_FILE",
    "Attachment",
    "SoftTokens",
    "TokensConfig",
    "TokensHeader",
    "attached",
    "load_tokens",
    "read_header",
    "save_tokens",
    "tokens_hash",
]

_HOMES = {
    "Attachment": "attach",
    "attached": "attach",
    "load_tokens": "checkpoint",
    "save_tokens": "checkpoint",
    "SoftTokens": "soft_tokens",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'header')}"), name)
