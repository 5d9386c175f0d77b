"""The paper's backbones over stock diffusers pipelines, and how a user's options change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench.contracts import Backbone, Sampling, TrainingData, TrainingDefaults
from agsm_bench.diffusion.photo_checks import check_fit, check_kind
from agsm_bench.diffusion.photo_loading import load, load_encoder
from agsm_bench.diffusion.photo_sources import Sources, identity_parts, names, sources, survey_sources, weight_parts
from agsm_bench.errors import MissingError, UserError, together
from agsm_bench.model_options import VARIANTS, ModelOptions, device_label, device_name, dtype_name, saving_of
from agsm_bench.tokens.header import TokensConfig
from agsm_bench.weights import TOGETHER, HubModel, Part, read_config, tensors_in

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Family:
    """What the backbones of one pipeline class have in common, and one has for itself."""

    pipeline: str
    """A diffusers class."""
    network: Literal["unet", "transformer"]
    denoiser: Callable[[Any, ModelOptions], Denoiser]
    """(pipeline, options) -> the loaded backbone."""
    default: HubModel
    """The paper's pipeline."""
    vae: HubModel | None = None
    """In place of the default pipeline's own."""
    variants: Mapping[str, HubModel] = field(default_factory=dict)
    """Preference-tuned networks by the names of `VARIANTS`."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Components and settings that are never taken from the pipeline, e.g. {"safety_checker": None}."""
    has_t5: bool = False

    def backbone(
        self,
        name: str,
        tokens: TokensConfig,
        sampling: Sampling,
        training: TrainingDefaults,
        token_init: Literal["empty", "normal"],
        training_data: Callable[..., TrainingData],
        batch_size: int,
    ) -> Backbone:
        """The plugin, with every option at its default; `configured` gives it others."""
        return Backbone(
            name=name,
            domain="photo",
            tokens=tokens,
            sampling=sampling,
            training=training,
            token_init=token_init,
            training_data=training_data,
            batch_size=batch_size,
            configure=partial(configure, self),
            **_bound(self, ModelOptions()),
        )


def configure(family: Family, base: Backbone, options: ModelOptions) -> Backbone:
    """A backbone whose weights, loading and tokens' width follow the options.

    Raises:
        UserError: an option that the family has no use for.
        MissingError: a model that the options name is not there.
    """
    if options.unet and family.network != "unet":
        raise UserError(f"--unet is for UNets; {base.name} has a transformer.", "Use --model or --lora.")
    if options.unet in VARIANTS and options.unet not in family.variants:
        raise UserError(
            f"There is no {options.unet} of {base.name}.", f"Known: {', '.join(family.variants) or 'none'}."
        )
    if options.t5 != "on" and not family.has_t5:
        raise UserError(f"--t5 is for SD3; {base.name} has no T5.", "Leave it out.")
    if options.revision and not options.model:
        raise UserError("--revision says nothing without --model.", f"Add --model {family.default.repo}.")
    _check_means(options)
    if not options.model:
        return replace(base, **_bound(family, options))
    found = sources(family, options)
    if found.configs and options.t5 == "8bit":
        raise UserError("--t5 8bit is for diffusers folders; --model is one file.", "Use --t5 on or off.")
    check_kind(found, family)
    return replace(base, tokens=_fitting(base.tokens, family, found), **_bound(family, options))


def _fitting(tokens: TokensConfig, family: Family, found: Sources) -> TokensConfig:
    """The tokens at the width of the user's network, in no more blocks than it has."""
    located = found.configs or found.pipeline
    config = read_config(located, family.network)
    try:
        if family.network == "unet":
            return replace(tokens, dim=config["cross_attention_dim"])
        return replace(tokens, dim=config["caption_projection_dim"], layers=min(tokens.layers, config["num_layers"]))
    except KeyError as error:
        part = f"The {family.network}'s configuration of {located.name}"
        raise MissingError(f"{part} has no {error.args[0]}: it is damaged, or another model's.", located.fix) from error


def _check_means(options: ModelOptions) -> None:
    """Raises UserError or MissingError where offloading or 8 bits have no GPU or no package to work with."""
    if options.offload != "none" and device_name(options) == "cpu":
        raise UserError("--offload needs a GPU to take the load from; this runs on the CPU.", "Leave it out.")
    if options.t5 == "8bit" and not device_name(options).startswith("cuda"):
        raise UserError("--t5 8bit needs a CUDA GPU.", "Use --t5 on or off.")
    if options.t5 == "8bit" and find_spec("bitsandbytes") is None:
        raise MissingError("--t5 8bit needs bitsandbytes.", "pip install bitsandbytes, or use --t5 off.")


def _bound(family: Family, options: ModelOptions) -> dict[str, Any]:
    """The fields of a backbone that depend on the options."""
    return {
        "weights": lambda: sources(family, options).pipeline.path,
        "weight_parts": lambda: _checked_parts(family, options),
        "load": lambda: family.denoiser(load(family, options), options),
        "named": lambda: names(family, options),
        "load_encoder": lambda: load_encoder(family, options),
        "device": lambda: device_label(options),
        "settings": lambda: settings(sources(family, options), options),
        "survey": lambda: _survey(family, options),
    }


def _survey(family: Family, options: ModelOptions) -> list[Part]:
    """Every component, and where all are there, whether they belong together."""
    parts = survey_sources(family, options)
    if not any(part.problem for part in parts):
        try:
            check_fit(sources(family, options), family)
        except MissingError as error:
            parts.append(Part(TOGETHER, problem=error))
    return parts


def _checked_parts(family: Family, options: ModelOptions) -> dict[str, list[Path]]:
    try:
        found = sources(family, options)
        parts = weight_parts(found, family, options)
    except MissingError as error:  # the first that is missing, and the user is to hear of all
        problems = [part.problem for part in survey_sources(family, options) if part.problem]
        raise together(problems or [error]) from error
    check_fit(found, family)
    for file in (file for files in parts.values() for file in files if file.suffix == ".safetensors"):
        tensors_in(file)
    return identity_parts(parts, found, options)


def settings(found: Sources, options: ModelOptions) -> dict[str, Any]:
    """What of the options changes an image besides the weights, and what the weights are called."""
    how = {"t5": options.t5, "dtype": dtype_name(options), "protocol": options.protocol, "saving": saving_of(options)}
    return {**found.describe(), **how, **({"compile": True} if options.compile else {})}
