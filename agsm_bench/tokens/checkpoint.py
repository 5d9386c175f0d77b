"""Soft tokens on disk: one self-describing safetensors file, never pickled. `header` describes the format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from agsm_bench.errors import MissingError, UserError
from agsm_bench.jsonl import write_atomically, writing
from agsm_bench.tokens.header import pack, read_verified, tokens_file
from agsm_bench.tokens.soft_tokens import SoftTokens


def save_tokens(tokens: SoftTokens, path: str | Path, training: Mapping[str, Any]) -> Path:
    """Write tokens as float32; a reader sees the old file or the new one, never a part.

    Args:
        tokens: on any device, of any floating type.
        path: a `.safetensors` file, or a folder (made if absent) that gets `soft_tokens.safetensors`.
        training: the training's configuration (trainer, seed, steps ...), anything that JSON can hold.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
        TypeError, ValueError: `training` is not JSON, or holds a NaN.
    """
    file = tokens_file(path)
    values = {name: _bytes(value) for name, value in tokens.state_dict().items()}
    data = pack(tokens.config, values, training)
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, data)
    return file


def load_tokens(path: str | Path, backbone: str | None = None) -> SoftTokens:
    """Read tokens, on the CPU in float32.

    Args:
        path: the file, or the folder that holds `soft_tokens.safetensors`.
        backbone: name of the backbone that they must have been trained on, when it matters.

    Raises:
        MissingError: the file is absent, damaged, not a soft tokens file, or holds NaN or infinite values.
        UserError: the tokens are another backbone's.
    """
    header, data = read_verified(path)
    trained_on = header.config.backbone
    if backbone is not None and trained_on != backbone:
        raise UserError(
            f"the soft tokens in {path} were trained on {trained_on}, not {backbone}.",
            f"Use --backbone {trained_on}, or tokens trained on {backbone}.",
        )
    try:
        values = load(data)
    except SafetensorError as error:
        raise MissingError(f"{path} is damaged: {error}.", "Pass another file or folder.") from error
    if not all(bool(torch.isfinite(value).all()) for value in values.values()):
        raise MissingError(
            f"the soft tokens in {path} hold NaN or infinite values: their training diverged.",
            "Train them again with a lower learning rate or a smaller gamma.",
        )
    tokens = SoftTokens(header.config)
    tokens.load_state_dict(values)
    return tokens


def _bytes(value: torch.Tensor) -> bytes:
    return value.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes()
