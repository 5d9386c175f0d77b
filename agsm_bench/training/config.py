"""Options of a training run. No torch here: the command line reads them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from agsm_bench.contracts import Backbone, PreferenceTrainer, Trainer, check_size, option
from agsm_bench.errors import UserError
from agsm_bench.tokens.header import TokensConfig

T = TypeVar("T")

BLOCKS = ("down", "mid", "up")
"""Parts of a UNet, in the order of `TokensConfig.apply`."""


@dataclass(frozen=True)
class LoopOptions:
    """Options of the loop, whatever it trains; None means the backbone's default."""

    steps: int | None = option(None, "Optimiser steps. (default: the backbone's)", min=1)
    batch: int = option(
        4, "Images a step; all batch x batch pairs are used (paper: 4, i.e. '16 (1:3)').", min=1, max=256
    )
    accumulate: int = option(
        1,
        "Batches a step, whose gradients are averaged; several processes (`accelerate launch`) share them, and "
        "their number changes nothing else.",
        min=1,
    )
    learning_rate: float | None = option(None, "Peak learning rate. (default: the backbone's)", min=0)
    min_learning_rate: float = option(1e-5, "Floor of the cosine schedule.", min=0)
    restart_every: int = option(10, "Validation intervals between warm restarts of the cosine schedule.", min=1)
    weight_decay: float = option(1e-4, "AdamW's weight decay.", min=0)
    seed: int = option(0, "Seed of what is trained, data order, noise and timesteps.", min=0)
    validate_every: int | None = option(
        None, "Steps between points of the validation curve. (default: the backbone's)", min=1
    )
    save_every: int = option(250, "Steps between checkpoints.", min=1)
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = option(
        "auto", "Autocast, fp16 with a gradient scaler; auto: fp16 on CUDA as released, else no."
    )
    size: int | None = option(
        None,
        "Photographs: side of the training images in pixels. (default: 512 as released; preferences: the backbone's)",
        min=8,
    )
    gradient_checkpointing: bool = option(
        False, "Forget activations inside the network and make them again for the backward: less memory, slower."
    )
    tracker: Literal["none", "tensorboard", "trackio", "wandb"] = option(
        "none", "Also send the lines of train.jsonl there; TensorBoard's files go to OUT/tensorboard."
    )


@dataclass(frozen=True)
class TrainingOptions(LoopOptions):
    """Options of the trainers of soft tokens."""

    ema_decay: float | None = option(None, "Decay of the EMA tokens. (default: the backbone's)", min=0, max=1)
    tokens: int = option(4, "Soft tokens per block.", min=0)
    image_tokens: int = option(0, "MMDiT: soft tokens per block on the image side (paper Table 12).", min=0)
    layers: int | None = option(
        None, "MMDiT: how many of the first blocks get tokens. (default: the backbone's)", min=1
    )
    apply: str | None = option(
        None, "UNet: blocks that get tokens, of down, mid, up. (default: the backbone's, 'down,mid')"
    )
    init: Literal["empty", "normal"] | None = option(
        None,
        "Start of the tokens: the empty prompt's BOS embedding (UNets only), or N(0, 0.02). (default: the backbone's)",
    )
    time_dependent: bool = option(True, "Add a learned embedding of the timestep to the tokens.")
    keep_every: int | None = option(
        None, "Also keep the tokens of every so many steps, in OUT/steps: what a run of that length ends with.", min=1
    )
    rows_per_backward: int | None = option(
        None, "Pairs whose activations are held at once, for GPUs with little memory; the gradient is the same.", min=1
    )
    exclude_false_negatives: bool = option(
        False, "Leave mismatched pairs out whose caption is true of the image all the same (the paper keeps them)."
    )


@dataclass(frozen=True)
class PreferenceOptions(LoopOptions):
    """Options of the trainers that fine-tune the backbone on preferences."""

    batch: int = option(8, "Preference pairs a step.", min=1)
    min_learning_rate: float = option(1e-6, "Floor of the cosine schedule.", min=0)
    tune: Literal["lora", "full"] = option("lora", "Train low-rank adapters of the attention, or all weights.")
    rank: int = option(16, "LoRA: rank of the adapters; their scale is 1.", min=1)
    precision: Literal["float32", "float16"] = option("float32", "Full: type of the saved weights.")


def kept_folder(out: Path, step: int) -> Path:
    """Where a run with `keep_every` keeps the tokens of a step."""
    return out / "steps" / f"{step:06d}"


def options_of(trainer: Trainer | PreferenceTrainer) -> type[TrainingOptions] | type[PreferenceOptions]:
    """The options that a trainer's runs have besides its objective's own."""
    return TrainingOptions if isinstance(trainer, Trainer) else PreferenceOptions


def resolve(options: T, backbone: Backbone) -> T:
    """Fills every None of `LoopOptions` that has a default on the backbone."""
    defaults = asdict(backbone.training) | {
        "layers": backbone.tokens.layers,
        "apply": ",".join(name for name, on in zip(BLOCKS, backbone.tokens.apply, strict=True) if on),
        "init": backbone.token_init,
    }
    if isinstance(options, PreferenceOptions):
        defaults["learning_rate"] = backbone.training.preference_learning_rate
        defaults["size"] = backbone.sampling.size if backbone.domain == "photo" else None
    return fill(options, defaults)


def tokens_config(options: TrainingOptions, backbone: Backbone, polarities: int) -> TokensConfig:
    """The tokens that resolved options ask for; raises UserError where the backbone has no place for them."""
    chosen = str(options.apply).split(",")
    if unknown := [name for name in chosen if name not in BLOCKS]:
        raise UserError(f"--apply names '{unknown[0]}'.", "Use some of down, mid, up, e.g. --apply down,mid.")
    if options.init == "empty" and backbone.tokens.placement == "mmdit":
        raise UserError("--init empty is for UNets.", "Use --init normal.")
    if options.image_tokens and backbone.tokens.placement == "unet":
        raise UserError("--image-tokens is for MMDiT backbones.", "Leave it out.")
    return replace(
        backbone.tokens,
        count=options.tokens,
        image_count=options.image_tokens,
        layers=int(options.layers or 1),
        apply=("down" in chosen, "mid" in chosen, "up" in chosen),
        polarities=polarities,
        time_dependent=options.time_dependent,
    )


def fill(options: T, defaults: dict[str, Any]) -> T:
    """A copy of an options dataclass with None replaced from `defaults`, where they have the name."""
    values = asdict(options)  # type: ignore[call-overload]
    missing = {name: defaults[name] for name, value in values.items() if value is None and name in defaults}
    return replace(options, **missing)  # type: ignore[type-var]


def check_loop(options: LoopOptions, backbone: Backbone, device: str) -> None:
    """Raises UserError for resolved options that the backbone, or the device (a name or label), has no use for."""
    check_size(backbone, options.size)
    if options.size and backbone.domain != "photo":
        raise UserError(f"--size is for photographs; {backbone.name} has pictures of one size.", "Leave it out.")
    autocast_name(options.mixed_precision, device.partition(":")[0])


def autocast_name(asked: str, device: str) -> str:
    """`no`, `fp16` or `bf16`; as released, half precision is the default on CUDA.

    Raises:
        UserError: fp16 on another device, where it has no gradient scaler.
    """
    if asked == "auto":
        return "fp16" if device == "cuda" else "no"
    if asked == "fp16" and device != "cuda":
        raise UserError(f"--mixed-precision fp16 needs a CUDA GPU, this is {device}.", "Use bf16, or no.")
    return asked
