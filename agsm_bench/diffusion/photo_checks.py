"""What the files of a backbone of photographs tell before anything loads: whether its parts belong together."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agsm_bench.diffusion.photo_sources import Sources, subfolder_of
from agsm_bench.errors import MissingError, UserError
from agsm_bench.weights import INDEX, Located, read_config, read_index

if TYPE_CHECKING:
    from agsm_bench.diffusion.photo import Family

SCHEDULER = "scheduler_config.json"
UNET_KEYS = ("in_channels", "cross_attention_dim", "addition_embed_type")
"""Entries of a UNet's configuration that the rest of its pipeline goes by: latents, text, and SDXL's sizes."""


def check_fit(found: Sources, family: Family) -> None:
    """Compares the parts that the options name with the pipeline, and the pipeline with the family.

    Raises:
        MissingError: they are of different models, or a configuration is damaged.
    """
    if not found.configs:
        kind = read_index(found.pipeline).get("_class_name")
        if kind != family.pipeline:
            raise MissingError(
                f"{found.pipeline.name} is a {kind}, and a {family.pipeline} is needed ({INDEX}).",
                "Use the --backbone that it belongs to, or another --model.",
            )
    if family.network == "unet":
        _check_prediction(found.configs or found.pipeline)
    own = read_config(found.configs or found.pipeline, family.network)
    if found.network:
        _same(found.network, _config(found.network, family.network), found.pipeline, own, UNET_KEYS)
    if found.vae:
        config = {"in_channels": _config(found.vae, "vae").get("latent_channels")}
        _same(found.vae, config, found.pipeline, own, ("in_channels",))


def _check_prediction(located: Located) -> None:
    """The objectives and the metrics are those of a UNet that predicts the noise, as the paper's do."""
    kind = read_config(located, "scheduler", SCHEDULER).get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise MissingError(
            f"{located.name} predicts '{kind}' (scheduler/{SCHEDULER}), and epsilon is needed.",
            "Pass a --model that predicts epsilon.",
        )


def check_8_bits(device: str) -> None:
    """Raises UserError for `--t5 8bit` off a CUDA GPU, MissingError where its package is not installed."""
    if not device.startswith("cuda"):
        raise UserError(f"--t5 8bit needs a CUDA GPU, and this runs on {device}.", "Use --t5 on, or off.")
    if find_spec("bitsandbytes") is None:
        raise MissingError("--t5 8bit needs bitsandbytes.", "pip install bitsandbytes, or use --t5 on.")


def _config(located: Located, component: str) -> dict[str, Any]:
    return read_config(located, subfolder_of(located, component))


def _same(
    part: Located, config: dict[str, Any], pipeline: Located, expected: dict[str, Any], keys: tuple[str, ...]
) -> None:
    for key in keys:
        if config.get(key) != expected.get(key):
            raise MissingError(
                f"{part.name} does not fit {pipeline.name}: {key} is {config.get(key)}, and {expected.get(key)} there.",
                "Pass a part of the same family.",
            )
