"""The paper's backbones over stock diffusers pipelines: which files they are made of, and loading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench.contracts import Backbone, Sampling, TrainingData, TrainingDefaults
from agsm_bench.errors import MissingError, UserError
from agsm_bench.model_options import VARIANTS, ModelOptions
from agsm_bench.parallel import launched, own_gpu
from agsm_bench.tokens.header import TokensConfig
from agsm_bench.weights import HubModel, Located, is_fp16_only, locate, model_files, pipeline_parts, read_config

if TYPE_CHECKING:
    import torch

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
    """Components that are never loaded from the pipeline, e.g. {"safety_checker": None}."""
    has_t5: bool = False

    def backbone(
        self,
        name: str,
        tokens: TokensConfig,
        sampling: Sampling,
        training: TrainingDefaults,
        token_init: Literal["empty", "normal"],
        training_data: Callable[[int, bool], TrainingData],
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
            configure=partial(configure, self),
            **_bound(self, ModelOptions()),
        )


@dataclass(frozen=True)
class Sources:
    """Where the parts of a backbone come from."""

    pipeline: Located
    network: Located | None = None
    vae: Located | None = None
    lora: Located | None = None

    def describe(self) -> dict[str, str]:
        named = {"model": self.pipeline, "unet": self.network, "vae": self.vae, "lora": self.lora}
        return {name: located.describe() for name, located in named.items() if located}


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
    tokens = _fitting(base.tokens, family, sources(family, options)) if options.model else base.tokens
    return replace(base, tokens=tokens, **_bound(family, options))


def _fitting(tokens: TokensConfig, family: Family, found: Sources) -> TokensConfig:
    """The tokens at the width of the user's network, in no more blocks than it has."""
    if found.pipeline.path.is_file():
        return tokens
    config = read_config(found.pipeline, family.network)
    if family.network == "unet":
        return replace(tokens, dim=config["cross_attention_dim"])
    return replace(tokens, dim=config["caption_projection_dim"], layers=min(tokens.layers, config["num_layers"]))


def _bound(family: Family, options: ModelOptions) -> dict[str, Any]:
    """The fields of a backbone that depend on the options."""
    return {
        "weights": lambda: sources(family, options).pipeline.path,
        "weight_parts": lambda: weight_parts(sources(family, options), family, options),
        "load": lambda: family.denoiser(load(family, options), options),
        "settings": lambda: settings(sources(family, options), options),
    }


def sources(family: Family, options: ModelOptions) -> Sources:
    """Finds every part that the options name.

    Raises:
        MissingError: one is not on this machine, with the command that gets it.
    """
    own_vae = family.vae if options.model is None else None
    vae = options.vae or own_vae
    return Sources(
        locate(options.model or family.default, options.revision),
        locate(family.variants.get(options.unet, options.unet)) if options.unet else None,
        locate(vae) if vae else None,
        locate(options.lora) if options.lora else None,
    )


def weight_parts(found: Sources, family: Family, options: ModelOptions) -> dict[str, list[Path]]:
    """Every weight file that is loaded, by component.

    Raises:
        MissingError: one is absent.
    """
    replaced = [name for name, part in ((family.network, found.network), ("vae", found.vae)) if part]
    left_out = [*replaced, *(["text_encoder_3"] if options.t5 == "off" else [])]
    if found.pipeline.path.is_file():
        parts = {"pipeline": [found.pipeline.path]}
    else:
        parts = pipeline_parts(found.pipeline, left_out)
    if found.network:
        parts[family.network] = model_files(found.network, _subfolder(found.network, family.network))
    if found.vae:
        parts["vae"] = model_files(found.vae, _subfolder(found.vae, "vae"))
    if found.lora:
        parts["lora"] = _lora_files(found.lora)
    return parts


def settings(found: Sources, options: ModelOptions) -> dict[str, Any]:
    """What of the options changes an image besides the weights, and what the weights are called."""
    return {**found.describe(), "t5": options.t5, "dtype": dtype_name(options), "protocol": options.protocol}


def load(family: Family, options: ModelOptions) -> Any:
    """The pipeline, on its device, with every part that the options name.

    Raises:
        MissingError: a file is absent or damaged, or a package is.
    """
    import diffusers
    import torch
    from safetensors import SafetensorError

    from agsm_bench.diffusion.loading import quiet

    found = sources(family, options)
    weight_parts(found, family, options)
    quiet()
    dtype = getattr(torch, dtype_name(options))
    try:
        components = dict(family.fixed) | _components(found, family, options, dtype)
        pipe = _pipeline(getattr(diffusers, family.pipeline), found.pipeline, components, dtype)
        if found.lora:
            _fuse(pipe, found.lora, family.network)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingError(f"{found.pipeline.name} does not load ({reason}).", found.pipeline.fix) from error
    return _placed(pipe, options)


def dtype_name(options: ModelOptions) -> str:
    """The type of the weights: half precision on a GPU, unless the options say."""
    if options.dtype != "auto":
        return options.dtype
    return "float32" if device_name(options) == "cpu" else "float16"


def device_name(options: ModelOptions) -> str:
    """The device that the options name, or the best one that is there."""
    if options.device:
        return options.device
    import torch

    if torch.cuda.is_available():
        return f"cuda:{own_gpu()}" if launched().count > 1 else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _pipeline(kind: Any, located: Located, components: dict[str, Any], dtype: torch.dtype) -> Any:
    if located.path.is_file():
        return kind.from_single_file(str(located.path), torch_dtype=dtype, **components)
    parts = pipeline_parts(located, list(components))
    variant = "fp16" if any(map(is_fp16_only, parts.values())) else None
    return kind.from_pretrained(located.path, dtype=dtype, variant=variant, **components)


def _components(found: Sources, family: Family, options: ModelOptions, dtype: torch.dtype) -> dict[str, Any]:
    """Those that do not come from the pipeline as they are."""
    import diffusers

    made: dict[str, Any] = {}
    if found.network:
        made[family.network] = _model(diffusers.UNet2DConditionModel, found.network, family.network, dtype)
    if found.vae:
        made["vae"] = _model(diffusers.AutoencoderKL, found.vae, "vae", dtype)
    if options.t5 == "off":
        made |= {"text_encoder_3": None, "tokenizer_3": None}
    if options.t5 == "8bit":
        made["text_encoder_3"] = _t5_in_8_bits(found.pipeline)
    return made


def _model(kind: Any, located: Located, component: str, dtype: torch.dtype) -> Any:
    subfolder = _subfolder(located, component)
    variant = "fp16" if is_fp16_only(model_files(located, subfolder)) else None
    return kind.from_pretrained(located.path, subfolder=subfolder or None, dtype=dtype, variant=variant)


def _t5_in_8_bits(located: Located) -> Any:
    from transformers import BitsAndBytesConfig, T5EncoderModel

    quantised = BitsAndBytesConfig(load_in_8bit=True)
    return T5EncoderModel.from_pretrained(located.path, subfolder="text_encoder_3", quantization_config=quantised)


def _subfolder(located: Located, component: str) -> str:
    """A repository may hold a whole pipeline, or the model alone."""
    return component if (located.path / component).is_dir() else ""


def _lora_files(located: Located) -> list[Path]:
    files = [located.path] if located.path.is_file() else sorted(located.path.glob("*.safetensors"))
    if len(files) != 1:
        raise MissingError(f"{located.name} holds {len(files)} LoRA files.", "Name one .safetensors file.")
    return files


def _fuse(pipe: Any, located: Located, component: str) -> None:
    (file,) = _lora_files(located)
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    pipe.fuse_lora(components=[component])
    pipe.unload_lora_weights()


def _placed(pipe: Any, options: ModelOptions) -> Any:
    device = device_name(options)
    if options.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif options.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    return pipe
