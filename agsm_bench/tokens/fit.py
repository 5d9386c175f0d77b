"""Whether soft tokens fit a diffusers model, found out before any forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from agsm_bench.errors import UserError

if TYPE_CHECKING:
    from agsm_bench.tokens.soft_tokens import SoftTokens


def model_of(pipeline: object) -> nn.Module:
    """The network that a pipeline denoises with. Raises `UserError` when there is none."""
    for name in ("unet", "transformer"):
        model = getattr(pipeline, name, None)
        if isinstance(model, nn.Module):
            return model
    raise UserError(
        f"soft tokens cannot be attached to a {type(pipeline).__name__}.",
        "Pass a diffusers pipeline with a unet or a transformer, or that model itself.",
    )


def check_fit(tokens: SoftTokens, model: nn.Module) -> None:
    """Raise `UserError` unless the tokens' placement and sizes are the model's."""
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config = tokens.config
    if isinstance(model, UNet2DConditionModel):
        placement, width = "unet", model.config.cross_attention_dim
    elif isinstance(model, SD3Transformer2DModel):
        placement, width = "mmdit", model.config.caption_projection_dim
    else:
        raise _misfit(tokens, f"a {type(model).__name__} takes none")
    if config.placement != placement:
        raise _misfit(tokens, f"they are for a {config.placement}, the model is a {placement}")
    widths = {width} if isinstance(width, int) else set(width)
    if widths != {config.dim}:
        takes = ", ".join(map(str, sorted(widths)))
        raise _misfit(tokens, f"they are {config.dim} wide, the model's text is {takes}")
    if placement == "mmdit" and config.text_dim not in (0, model.config.joint_attention_dim):
        takes = model.config.joint_attention_dim
        raise _misfit(tokens, f"they are {config.text_dim} wide, the text before its context_embedder is {takes}")
    if placement == "mmdit" and config.layers > len(mmdit_blocks(model)):
        raise _misfit(tokens, f"they have {config.layers} layers, the model {len(mmdit_blocks(model))} blocks")
    if placement == "unet" and not cross_attention_blocks(model, config.apply):
        raise _misfit(tokens, "none of the blocks they apply to has cross-attention")


def _misfit(tokens: SoftTokens, detail: str) -> UserError:
    return UserError(
        f"the soft tokens of {tokens.config.backbone} do not fit this model: {detail}.",
        "Use the backbone they were trained on, or train with `agsm-bench train TRAINER --backbone NAME`.",
    )


def check_unconditional(tokens: SoftTokens, target: object, unconditional_polarity: int | None) -> None:
    """Raise `UserError` unless it is known which rows are unconditional and the tokens have that polarity."""
    if unconditional_polarity is None:
        return
    if not hasattr(type(target), "do_classifier_free_guidance"):
        raise UserError(
            f"unconditional_polarity: a {type(target).__name__} does not say which rows are unconditional.",
            "Pass the polarity of each row as a tensor, or attach to the pipeline.",
        )
    if tokens.config.polarities == 1:
        raise UserError("unconditional_polarity: these soft tokens have one polarity.", "Leave it out.")
    check_polarity(unconditional_polarity, tokens.config.polarities)


def check_polarity(polarity: int, polarities: int) -> None:
    """Raise `UserError` unless the polarity exists."""
    if not 0 <= polarity < max(polarities, 2):  # tokens with one polarity serve both
        raise UserError(f"there is no polarity {polarity!r}.", "Use 0 (psi+) or 1 (psi-).")


def check_rows(polarity: Tensor, polarities: int) -> None:
    """Raise `ValueError` unless these are integers [rows] of polarities that exist."""
    if polarity.ndim != 1 or polarity.is_floating_point() or polarity.dtype == torch.bool:
        raise ValueError(f"polarities are {polarity.dtype} {tuple(polarity.shape)}, not integers [rows]")
    if polarity.numel() and not 0 <= int(polarity.min()) <= int(polarity.max()) < max(polarities, 2):
        raise ValueError(f"polarities go from {int(polarity.min())} to {int(polarity.max())}: use 0 and 1")


def cross_attention_blocks(model: Any, apply: tuple[bool, bool, bool]) -> list[nn.Module]:
    """The UNet's blocks with cross-attention among the chosen of (down, mid, up)."""
    groups = (model.down_blocks, [model.mid_block], model.up_blocks)
    chosen = [block for group, use in zip(groups, apply, strict=True) if use for block in group]
    return [block for block in chosen if getattr(block, "has_cross_attention", False)]


def mmdit_blocks(model: Any) -> list[nn.Module]:
    """The MMDiT's blocks, first to last."""
    return list(model.transformer_blocks)
