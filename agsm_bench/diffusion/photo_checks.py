"""What the files of a backbone of photographs tell before anything loads: whether its parts belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agsm_bench.diffusion.photo_sources import Sources, subfolder_of
from agsm_bench.errors import MissingError
from agsm_bench.weights import INDEX, Located, read_config, read_index

if TYPE_CHECKING:
    from agsm_bench.diffusion.photo import Family

UNET_KEYS = ("in_channels", "cross_attention_dim", "addition_embed_type")
"""Entries of a UNet's configuration that the rest of its pipeline goes by: latents, text, and SDXL's sizes."""


def check_fit(found: Sources, family: Family) -> None:
    """Compares the parts that the options name with the pipeline, and the pipeline with the family.

    Raises:
        MissingError: they are of different models, or a configuration is damaged.
    """
    check_kind(found, family)
    own = read_config(found.configs or found.pipeline, family.network)
    if family.network == "unet":
        _check_prediction(found.configs or found.pipeline)
    if found.network:
        _same(found.network, _config(found.network, family.network), found.pipeline, own, UNET_KEYS)
    if found.vae:
        config = {"in_channels": _config(found.vae, "vae").get("latent_channels")}
        _same(found.vae, config, found.pipeline, own, ("in_channels",))


def check_kind(found: Sources, family: Family) -> None:
    """Raises MissingError for a folder with a pipeline of another family."""
    kind = family.pipeline if found.configs else read_index(found.pipeline).get("_class_name")
    if kind != family.pipeline:
        raise MissingError(
            f"{found.pipeline.name} is a {kind}, and a {family.pipeline} is needed ({INDEX}).",
            "Use the --backbone that it belongs to, or another --model.",
        )


def _check_prediction(pipeline: Located) -> None:
    predicted = read_config(pipeline, "scheduler", "scheduler_config.json").get("prediction_type", "epsilon")
    if predicted != "epsilon":
        raise MissingError(
            f"The UNet of {pipeline.name} predicts {predicted}, and the objectives are those of epsilon.",
            "Pass another --model.",
        )


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
