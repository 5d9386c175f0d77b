"""Which files a backbone of photographs is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agsm_bench.errors import MissingError, together
from agsm_bench.model_options import ModelOptions
from agsm_bench.weights import (
    HubModel,
    Located,
    Part,
    locate,
    model_files,
    pipeline_parts,
    setting_files,
    survey,
    survey_pipeline,
)

if TYPE_CHECKING:
    from agsm_bench.diffusion.photo import Family


@dataclass(frozen=True)
class Sources:
    """Where the parts of a backbone come from."""

    pipeline: Located
    network: Located | None = None
    vae: Located | None = None
    lora: Located | None = None
    configs: Located | None = None
    """Of a single file: a pipeline with the settings of its parts, and the tokenizers."""

    def describe(self) -> dict[str, str]:
        named = {"model": self.pipeline, "unet": self.network, "vae": self.vae, "lora": self.lora}
        named |= {"configs": self.configs}
        return {name: located.describe() for name, located in named.items() if located}


COMPONENTS = {"pipeline": "model", "network": "unet"}
"""Field of `Sources` -> what a run's record calls it, where the two differ."""


def names(family: Family, options: ModelOptions) -> dict[str, str]:
    """What the options and the family ask for, by the name that a run's record has for it; nothing is looked for."""
    return {
        COMPONENTS.get(name, name): source.repo if isinstance(source, HubModel) else source
        for name, source in _asked(family, options).items()
    }


def sources(family: Family, options: ModelOptions) -> Sources:
    """Finds every part that the options name.

    Raises:
        MissingError: some are not on this machine, with the commands that get them.
    """
    located, missing = {}, []
    for name, source in _asked(family, options).items():
        try:
            located[name] = _locate(name, source, options)
        except MissingError as error:
            missing.append(error)
    if missing:
        raise together(missing)
    found = Sources(**located)
    return replace(found, configs=_configs(family.default)) if found.pipeline.path.is_file() else found


def _asked(family: Family, options: ModelOptions) -> dict[str, HubModel | str]:
    """What each field of `Sources` is to be, where the options or the family say anything."""
    # by its name, for --revision, it is still the paper's, but for a folder of that name
    named = options.model == family.default.repo and not Path(family.default.repo).exists()
    own = options.model is None or named
    asked = {
        "pipeline": family.default if own else options.model,
        "network": family.variants.get(options.unet, options.unet) if options.unet else None,
        "vae": options.vae or (family.vae if own else None),
        "lora": options.lora,
    }
    return {name: source for name, source in asked.items() if source}


def _locate(name: str, source: HubModel | str, options: ModelOptions) -> Located:
    return locate(source, options.revision if name == "pipeline" else None)


def _configs(default: HubModel) -> Located:
    try:
        return locate(replace(default, gigabytes=None, include=("*.json", "*.txt", "*.model")))
    except MissingError as error:
        what = f"A single file holds weights alone, and the settings of {default.repo} are not in the hub cache."
        raise MissingError(what, error.fix) from error


def survey_sources(family: Family, options: ModelOptions) -> list[Part]:
    """Every component that is loaded, as it is on this machine; what is missing or damaged raises nothing."""
    asked, found, parts = _asked(family, options), {}, []
    for name, source in asked.items():
        try:
            found[name] = _locate(name, source, options)
        except MissingError as error:
            size = source.gigabytes if isinstance(source, HubModel) else None
            parts.append(Part(name, problem=error, gigabytes=size or 0.0))
    if pipeline := found.pop("pipeline", None):
        parts += _survey_pipeline(pipeline, family, options, tuple(asked))
    for name, located in found.items():
        component = family.network if name == "network" else name
        files = partial(model_files, located, subfolder_of(located, component))
        parts.append(survey(component, partial(lora_files, located) if name == "lora" else files))
    return parts


def _survey_pipeline(located: Located, family: Family, options: ModelOptions, asked: Sequence[str]) -> list[Part]:
    if located.path.is_file():
        return [survey("pipeline", lambda: [located.path]), survey("settings", lambda: [_configs(family.default).path])]
    replaced = [family.network] * ("network" in asked) + ["vae"] * ("vae" in asked)
    without_t5 = ["text_encoder_3", "tokenizer_3"] if options.t5 == "off" else []
    return survey_pipeline(located, [*replaced, *without_t5])


def weight_parts(found: Sources, family: Family, options: ModelOptions) -> dict[str, list[Path]]:
    """Every weight file that is loaded, by component.

    Raises:
        MissingError: one is absent.
    """
    replaced = [name for name, part in ((family.network, found.network), ("vae", found.vae)) if part]
    left_out = [*replaced, *(["text_encoder_3", "tokenizer_3"] if options.t5 == "off" else [])]
    parts = {"pipeline": [found.pipeline.path]} if found.configs else pipeline_parts(found.pipeline, left_out)
    if found.network:
        parts[family.network] = model_files(found.network, subfolder_of(found.network, family.network))
    if found.vae:
        parts["vae"] = model_files(found.vae, subfolder_of(found.vae, "vae"))
    if found.lora:
        parts["lora"] = lora_files(found.lora)
    return parts


def identity_parts(parts: dict[str, list[Path]], found: Sources, options: ModelOptions) -> dict[str, list[Path]]:
    """`weight_parts` with what says how they are used: each one's configuration, the scheduler and the tokenizers."""
    left_out = ["text_encoder_3", "tokenizer_3"] if options.t5 == "off" else []
    configured = {name: [*files, *files[0].parent.glob("config.json")] for name, files in parts.items()}
    return {**configured, "settings": setting_files(found.configs or found.pipeline, left_out)}


def subfolder_of(located: Located, component: str) -> str:
    """A repository may hold a whole pipeline, or the model alone."""
    return component if (located.path / component).is_dir() else ""


def lora_files(located: Located) -> list[Path]:
    files = [located.path] if located.path.is_file() else sorted(located.path.glob("*.safetensors"))
    if len(files) != 1:
        raise MissingError(f"{located.name} holds {len(files)} LoRA files.", "Name one .safetensors file.")
    return files
