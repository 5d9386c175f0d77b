"""Soft tokens in the files of the authors' code: SoftREPA's (github softrepa/SoftREPA) and AGSM's (jaayeon/AGSM).

Each saves two objects with `torch.save`, the tokens as an nn.Parameter and the time embedding as a whole nn.Embedding:

- SoftREPA: `dc_tokens.pth` [count, dim] (UNet) or [layers, count, dim] (MMDiT), and `dc_t_tokens.pth`.
- AGSM: `soft_tokens.pth`, the same with a first axis of 2 polarities, and `soft_t_tokens.pth`.

The time embedding is [100, dim] (UNet) or [100, layers * dim] (MMDiT); without its file there is none, as in the
SDXL tokens that SoftREPA released. The files are pickles: they are read with `weights_only=True`, which runs no code
from them; nn.Embedding is all that is allowed besides tensors, as the values that it had and never as a call that
makes new ones.
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from agsm_bench.errors import MissingError, UserError
from agsm_bench.jsonl import write_atomically, writing
from agsm_bench.pickles import load_pickle
from agsm_bench.tokens.header import TokensConfig
from agsm_bench.tokens.soft_tokens import SoftTokens

FILES = {1: ("dc_tokens.pth", "dc_t_tokens.pth"), 2: ("soft_tokens.pth", "soft_t_tokens.pth")}
"""Tokens and time embedding by number of polarities: SoftREPA's and AGSM's."""
TIME_BINS = 100
"""Rows of the time embedding, which their code looks up with `t // 10`."""

_BACKBONES = {
    ("unet", 768): ("sd15", 768),
    ("unet", 2048): ("sdxl", 2048),
    ("mmdit", 1536): ("sd3", 1536),
    ("mmdit", 4096): ("sd3", 1536),  # before the context_embedder
}
"""Name and `dim` by placement and width of the tokens."""
_EMBEDDING = f"{nn.Embedding.__module__}.{nn.Embedding.__qualname__}"
_FIX = "Pass a folder with the authors' files as they are, or files written by `SoftTokens.to_released`."


def read_released(
    folder: str | Path, apply: tuple[bool, bool, bool] = (True, True, False), backbone: str | None = None
) -> SoftTokens:
    """Read SoftREPA's files (one polarity) or AGSM's (two), on the CPU in float32.

    Args:
        folder: holds `dc_tokens.pth` or `soft_tokens.pth`, and the time embedding if there is one.
        apply: unet: which of the (down, mid, up) blocks get the tokens; the files do not say. SoftREPA's SD1.5
            tokens were trained with (True, False, False).
        backbone: what to call the backbone; needed where the width is none of SD1.5's, SDXL's and SD3's.

    Raises:
        MissingError: a file is absent, damaged, asks for anything but tensors and nn.Embedding, or holds other
            shapes, NaN or infinite values.
        UserError: the folder holds both kinds of files, or the width is of no known backbone.
    """
    folder = Path(folder)
    polarities = _kind(folder)
    base_file, time_file = (folder / name for name in FILES[polarities])
    stored = _read(base_file)
    base = stored[None] if polarities == 1 else stored
    if base.ndim not in (3, 4) or base.shape[0] != polarities or 0 in base.shape:
        raise _misshapen(base_file, stored)
    time = _read(time_file) if os.path.lexists(time_file) else None
    config = _config(base, time, apply, backbone)
    if time is not None and time.shape != config.shapes["time"]:
        raise _misshapen(time_file, time, f" beside tokens {list(stored.shape)}")
    tokens = SoftTokens(config)
    tokens.load_state_dict({"base": base} if time is None else {"base": base, "time": time})
    return tokens


def write_released(tokens: SoftTokens, folder: str | Path) -> None:
    """Write the files that the authors' code loads: SoftREPA's for one polarity, AGSM's for two; float32.

    They say neither the backbone nor the blocks that the tokens apply to: give those to the authors' commands.

    Raises:
        UserError: the files cannot hold the tokens or cannot be written, or the folder holds others of their kind.
    """
    config = tokens.config
    if config.polarities not in FILES or config.image_count or not config.count or config.time_bins != TIME_BINS:
        raise UserError(
            f"the authors' files cannot hold {config.polarities} polarities, {config.count} text tokens, "
            f"{config.image_count} image tokens and {config.time_bins} time bins.",
            f"Save them with `save_tokens`; those files hold 1 or 2 polarities of text tokens, {TIME_BINS} time bins.",
        )
    folder = Path(folder)
    base_name, time_name = FILES[config.polarities]
    base = tokens.base.detach().to("cpu", torch.float32)
    values: dict[str, object] = {base_name: nn.Parameter(base if config.polarities == 2 else base[0])}
    if tokens.time is not None:
        table = tokens.time.detach().to("cpu", torch.float32)
        values[time_name] = nn.Embedding.from_pretrained(table, freeze=False)
    left = [name for name in _present(folder) if name not in values]
    if left:
        raise UserError(f"{folder} holds the {left[0]} of other tokens.", "Remove it, or use another folder.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            write_atomically(folder / name, _pickled(value))


def _present(folder: Path) -> list[str]:
    """The authors' files in a folder."""
    return [name for names in FILES.values() for name in names if os.path.lexists(folder / name)]


def _kind(folder: Path) -> int:
    """How many polarities a folder's files have, by their names."""
    present = _present(folder)
    kinds = [polarities for polarities, names in FILES.items() if set(names) & set(present)]
    if not kinds:
        names = " or ".join(names[0] for names in FILES.values())
        raise MissingError(
            f"there is no {names} in {folder}.",
            "Pass the folder that holds it; take the epoch off the name of a file of one epoch.",
        )
    if len(kinds) > 1:
        raise UserError(
            f"{folder} holds files of SoftREPA and of AGSM: {', '.join(present)}.", "Keep each pair in its own folder."
        )
    return kinds[0]


class _Embedding:
    """What stands for nn.Embedding in a file: its weight as stored. Called with a size, as it could be, it fails."""

    weight: object = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.weight = state["_parameters"]["weight"]


def _read(file: Path) -> Tensor:
    """The values of a file, float32; no code from it is run."""
    stored: list[int] = []

    def keep(storage: Any, _: str) -> Any:
        stored.append(storage.data_ptr())
        return storage

    try:
        with safe_globals([(_Embedding, _EMBEDDING)]):
            value = load_pickle(file, keep)
        if isinstance(value, _Embedding):
            value = value.weight
    except FileNotFoundError as error:
        raise MissingError(f"there is no {file.name} in {file.parent}.", _FIX) from error
    except Exception as error:  # a pickle that is damaged or hostile raises anything at all
        raise _refused(file, error) from error
    # the allowed torch.Tensor(100, 768) is a call, too: of memory that nobody has written
    if not _is_plain(value) or value.untyped_storage().data_ptr() not in stored:
        raise MissingError(f"{file} holds a {type(value).__name__}, not a tensor of numbers or an nn.Embedding.", _FIX)
    value = value.detach().float()
    if not bool(value.isfinite().all()):
        raise MissingError(f"{file} holds NaN or infinite values: its training diverged.", "Use another checkpoint.")
    return value


def _is_plain(value: object) -> TypeGuard[Tensor]:
    """Whether this is an ordinary tensor of real numbers, all of which were in the file (contiguous)."""
    return (
        isinstance(value, Tensor)
        and type(value) in (Tensor, nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
        and value.is_contiguous()
    )


def _refused(file: Path, error: Exception) -> MissingError:
    """What a file that could not be read asked for, if that was the reason."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return MissingError(
            f"{file} asks for {asked[1]}, which no soft tokens need; it was not loaded.",
            "Do not open it otherwise; get the tokens from their authors.",
        )
    return MissingError(f"{file} is damaged, or not a file of soft tokens ({type(error).__name__}).", _FIX)


def _config(base: Tensor, time: Tensor | None, apply: tuple[bool, bool, bool], backbone: str | None) -> TokensConfig:
    """What tokens [polarities, (layers,) count, width] and a time embedding say about themselves."""
    polarities, *layers, count, width = base.shape
    settings: dict[str, Any] = {"count": count, "polarities": polarities, "time_dependent": time is not None}
    if not layers:
        name, dim = _BACKBONES.get(("unet", width), (None, width))
        return TokensConfig(_named(backbone or name, width), "unet", dim, apply=apply, **settings)
    # Only the time embedding tells how wide the tokens of an unknown model come out of its context_embedder.
    behind = width if time is None else max(1, time.numel() // (TIME_BINS * layers[0]))
    name, dim = _BACKBONES.get(("mmdit", width), (None, behind))
    text_dim = 0 if width == dim else width
    return TokensConfig(_named(backbone or name, width), "mmdit", dim, layers=layers[0], text_dim=text_dim, **settings)


def _named(backbone: str | None, width: int) -> str:
    if backbone is None:
        widths = ", ".join(f"{name} {width} ({placement})" for (placement, width), (name, _) in _BACKBONES.items())
        raise UserError(
            f"no known backbone takes soft tokens {width} wide; known are {widths}.",
            "Name theirs: SoftTokens.from_released(folder, backbone=NAME).",
        )
    return backbone


def _misshapen(file: Path, value: Tensor, beside: str = "") -> MissingError:
    return MissingError(
        f"{file} holds numbers of shape {list(value.shape)}{beside}.",
        "Tokens are [count, dim] or [layers, count, dim], AGSM's with a first axis of 2; their time embedding is "
        f"[{TIME_BINS}, dim] or [{TIME_BINS}, layers * dim].",
    )


def _pickled(value: object) -> bytes:
    buffer = BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
