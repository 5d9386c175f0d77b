"""What a user may change about a backbone's model on the command line. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from agsm_bench.contracts import Backbone, option
from agsm_bench.errors import MissingError, UserError
from agsm_bench.protocol import Saving, saving

DEVICES = ("cuda", "mps", "cpu")
VARIANTS = ("dpo", "spo", "inpo")
"""Preference-tuned UNets that have a name (paper Table 3)."""


@dataclass(frozen=True)
class ModelOptions:
    """Flags of `train` and `eval` for backbones of photographs; None means the backbone's default."""

    model: str | None = option(
        None, "Pipeline: a hub id, a diffusers folder, or one .safetensors file. (default: the paper's)"
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub --model. (default: main)")
    unet: str | None = option(
        None, "UNet in its place: a hub id, a folder, or dpo, spo, inpo for those of the paper's Table 3."
    )
    lora: str | None = option(None, "LoRA to fuse: a hub id, a folder or a file.")
    vae: str | None = option(None, "VAE in its place: a hub id or a folder. (default: the backbone's)")
    t5: Literal["on", "off", "8bit"] = option("on", "SD3: the third text encoder; 8bit needs a CUDA GPU.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = option(
        "auto", "Type of the weights; auto: float16 on a GPU, float32 on the CPU."
    )
    device: str | None = option(None, "Where it runs, e.g. cuda:1. (default: cuda, mps or cpu, what is there)")
    offload: Literal["none", "model", "sequential"] = option(
        "none", "Keep on the CPU what is not at work: slower, for GPUs with little memory."
    )
    compile: bool = option(False, "torch.compile the network.")
    protocol: Literal["paper", "released"] = option(
        "paper", "Where the paper and the authors' code differ, whom to follow (agsm_bench/protocol.py: all of it)."
    )
    saving: Literal["auto", "clamp", "official-minmax"] = option(
        "auto", "Decoded images are clamped, or each stretched to its own range as released; auto: by the protocol."
    )


def configured(backbone: Backbone, options: ModelOptions) -> Backbone:
    """The backbone with these options.

    Raises:
        UserError: it takes none of them.
        MissingError: what they name is not there.
    """
    if backbone.configure is not None:
        return backbone.configure(backbone, options)
    if changed := changes(options):
        raise UserError(
            f"--{next(iter(changed))} is for backbones of photographs; {backbone.name} ships its own weights.",
            "Leave it out.",
        )
    return backbone


def check_offload(options: ModelOptions, *, variant: bool = False, tuned: bool = False) -> None:
    """Raises UserError where the network's weights are to be replaced, or trained, while they wait elsewhere."""
    if tuned and options.offload != "none":
        raise UserError("--offload is for frozen backbones, and this trains one.", "Leave it out.")
    if variant and options.offload == "sequential":
        raise UserError("--offload sequential takes no --backbone-weights.", "Use --offload model.")


def saving_of(options: ModelOptions) -> Saving:
    """How images are saved: as the options say, else as the protocol does."""
    return saving(options.protocol) if options.saving == "auto" else options.saving


def changes(options: ModelOptions) -> dict[str, Any]:
    """The options that are not the default."""
    defaults = asdict(ModelOptions())
    return {name: value for name, value in asdict(options).items() if value != defaults[name]}


def dtype_name(options: ModelOptions) -> str:
    """The type of the weights: half precision on a GPU, unless the options say."""
    if options.dtype != "auto":
        return options.dtype
    return "float32" if device_name(options) == "cpu" else "float16"


def check_device_name(name: str) -> None:
    """Raises UserError where torch knows no such device, whether it is there or not."""
    import torch

    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in DEVICES:
        raise UserError(f"There is no device '{name}'.", f"Use --device {', '.join(DEVICES)}, or a GPU as cuda:1.")


def _check_there(name: str) -> None:
    import torch

    device = torch.device(name)
    there = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}[device.type]
    if (device.index or 0) >= there:
        raise MissingError(
            f"--device {name} is not here, or torch cannot use it.", "Leave it out, or see `agsm-bench doctor`."
        )


def device_label(options: ModelOptions) -> str:
    """The device for a run's record, a GPU with its model, e.g. `cuda: NVIDIA H100`."""
    name = device_name(options)
    if not name.startswith("cuda"):
        return name
    import torch

    return f"{name}: {torch.cuda.get_device_name(name)}"


def device_name(options: ModelOptions) -> str:
    """The device that the options name, or the best one that is there.

    Raises:
        UserError: torch knows none of that name.
        MissingError: this machine has none.
    """
    if options.device:
        check_device_name(options.device)
        _check_there(options.device)
        return options.device
    import torch

    from agsm_bench.parallel import launched, own_gpu

    if torch.cuda.is_available():
        return f"cuda:{own_gpu()}" if launched().count > 1 else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
