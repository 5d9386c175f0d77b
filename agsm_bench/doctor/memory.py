"""Whether a training fits the device: `training.memory`, with the pipeline's other models and what CUDA takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.architectures import ARCHITECTURES
from agsm_bench.doctor.check import Check, State, gigabytes
from agsm_bench.doctor.machine import Device
from agsm_bench.doctor.models import parameters
from agsm_bench.folders import read_json
from agsm_bench.model_options import ModelOptions
from agsm_bench.training.config import TrainingOptions, autocast_name, tokens_config
from agsm_bench.weights import Part

if TYPE_CHECKING:
    import torch

    from agsm_bench.training.memory import Memory

NETWORKS = ("unet", "transformer")
OVERHEAD = 1_000_000_000
"""Bytes for the process's context on the device, temporaries and the allocator's losses. A guess."""
CLOSE = 0.9
"""Share of the device's memory above which an estimate is too close to promise anything."""
VAE_FACTOR = 8
"""Pixels of a photo backbone's latent, side by side."""


@dataclass(frozen=True)
class Network:
    """What the estimate needs to know of a pipeline."""

    config: Mapping[str, Any]
    """Of its UNet or transformer, with `_class_name`."""
    side: int
    """Of a latent in training."""
    text: int
    """Tokens of the text."""
    others: int
    """Parameters of the other models."""
    t5: int
    """Of these, T5's."""


def fits(
    backbone: Backbone, parts: Sequence[Part], options: TrainingOptions, model: ModelOptions, device: Device
) -> Check:
    """The check of the chosen training's memory; `options` are resolved, and are taken to have two polarities.

    Raises:
        UserError: flags that the backbone or the device has no use for.
        MissingError: a configuration is damaged.
    """
    if not options.tokens + options.image_tokens:
        return Check("memory", "training", "warning", "There is nothing to train.", "Use --tokens of at least 1.")
    network = _network(backbone, parts, model, options.size)
    if network is None:
        fix = "Use a diffusers folder or a hub id."
        return Check("memory", "training", "warning", "No estimate: the network's configuration is not there.", fix)
    rows = min(options.batch**2, options.rows_per_backward or options.batch**2)
    dtype = _dtype(backbone, model, device)
    found = _estimate(backbone, network, options, rows, dtype, device)
    resident = found.network + OVERHEAD
    if model.offload == "none":
        resident += network.others * dtype.itemsize
    total = resident + found.activations
    pairs = f"{rows} of {options.batch**2} pairs" if rows < options.batch**2 else f"{rows} pairs"
    says = (
        f"about {gigabytes(total)} for the training (sampling is not counted), and {device.name} has "
        f"{gigabytes(device.total)}: network {gigabytes(found.network)} "
        f"({str(dtype).removeprefix('torch.')}), activations of {pairs} {gigabytes(found.activations)}, "
        f"other models and the process {gigabytes(resident - found.network)}"
    )
    if total <= CLOSE * device.total:
        if total <= device.free:
            return Check("memory", "training", "ok", says)
        says += f", of which {gigabytes(device.free)} are free now"
        return Check("memory", "training", "warning", says, "End what else uses it.")
    fitting = rows * (CLOSE * device.total - resident) / found.activations
    state: State = "missing" if total > device.total else "warning"
    less = _less(options, model, device, dtype.itemsize, fitting)
    if network.t5 and (model.t5, model.offload) == ("on", "none"):
        less = f"--t5 off saves {gigabytes(network.t5 * dtype.itemsize)}. {less}"
    return Check("memory", "training", state, says, less)


def _less(options: TrainingOptions, model: ModelOptions, device: Device, itemsize: int, rows: float) -> str:
    """The flags that lower it; so many rows fit at once, of which there are negative where the models alone do not."""
    on_gpu = device.name.startswith("cuda")
    flags = {
        f"--rows-per-backward {int(rows)} (same gradient, slower)": rows >= 1,
        "--gradient-checkpointing (same gradient, slower)": rows > 0 and not options.gradient_checkpointing,
        "--dtype bfloat16": itemsize > 2,
        "--offload model": on_gpu and model.offload == "none",
        "a device with more memory": True,
    }
    return f"Use {', or '.join(flag for flag, helps in flags.items() if helps)}."


def _network(backbone: Backbone, parts: Sequence[Part], model: ModelOptions, size: int | None) -> Network | None:
    """From the files that are there, else as the makers published it."""
    known = ARCHITECTURES.get(backbone.name)
    there = {part.name: part.files for part in parts if part.files}
    name = next((name for name in NETWORKS if name in there), None)
    if name is None and (known is None or model.model is not None):
        return None
    config = _config(there[name][0].parent) if name else known.network  # type: ignore[union-attr]
    others = {each: parameters(files) for each, files in there.items() if each not in NETWORKS}
    if known is not None and model.model is None:
        others = {**known.others, **others}
    if "text_encoder_3" in others:
        others["text_encoder_3"] = int(others["text_encoder_3"] * {"on": 1, "8bit": 0.5, "off": 0}[model.t5])
    size = size or getattr(backbone.training_data(0, False), "size", None)
    side = size // VAE_FACTOR if size else int(config["sample_size"])
    length, t5 = _text_length(backbone, there), others.get("text_encoder_3", 0)
    return Network(config, side, length, sum(others.values()), t5)


def _config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json", "Get the model again, or pass another.")


def _text_length(backbone: Backbone, there: Mapping[str, Sequence[Path]]) -> int:
    """CLIP's 77 tokens, which SD3 follows by 512 of T5's; a miniature's tokenizer says its own."""
    if backbone.domain == "photo":
        from agsm_bench.backbones.sd3 import T5_LENGTH

        return 77 + (T5_LENGTH if backbone.tokens.placement == "mmdit" else 0)
    tokenizer = there["text_encoder"][0].parents[1] / "tokenizer" / "tokenizer_config.json"
    return int(read_json(tokenizer, "Reinstall agsm-bench, or build it anew.")["model_max_length"])


def _dtype(backbone: Backbone, model: ModelOptions, device: Device) -> torch.dtype:
    import torch

    if backbone.domain == "shapes" or (model.dtype == "auto" and device.name == "cpu"):
        return torch.float32
    dtype: torch.dtype = torch.float16 if model.dtype == "auto" else getattr(torch, model.dtype)
    return dtype


def _estimate(
    backbone: Backbone, network: Network, options: TrainingOptions, rows: int, dtype: torch.dtype, device: Device
) -> Memory:
    import diffusers
    import torch

    from agsm_bench.training.memory import training_memory

    kind = getattr(diffusers, network.config["_class_name"])
    name = autocast_name(options.mixed_precision, device.name.partition(":")[0])
    return training_memory(
        lambda: kind.from_config(network.config),
        lambda count: _inputs(network, count),
        tokens_config(options, backbone, 2),
        rows,
        dtype,
        autocast={"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[name],
        gradient_checkpointing=options.gradient_checkpointing,
    )


def _inputs(network: Network, rows: int) -> dict[str, Any]:
    """Arguments of a forward, as the class of the network names them."""
    import torch

    config, timestep = network.config, torch.full((rows,), 500)
    image = torch.empty(rows, config.get("in_channels", 4), network.side, network.side)
    if "joint_attention_dim" in config:
        text = torch.empty(rows, network.text, config["joint_attention_dim"])
        pooled = torch.empty(rows, config["pooled_projection_dim"])
        return {
            "hidden_states": image, "encoder_hidden_states": text, "pooled_projections": pooled, "timestep": timestep
        }  # fmt: skip
    text = torch.empty(rows, network.text, config["cross_attention_dim"])
    inputs = {"sample": image, "encoder_hidden_states": text, "timestep": timestep}
    if config.get("addition_embed_type") != "text_time":
        return inputs
    # six numbers of the picture's size, each embedded, beside the pooled text
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    added = {"text_embeds": torch.empty(rows, pooled), "time_ids": torch.empty(rows, 6)}
    return {**inputs, "added_cond_kwargs": added}
