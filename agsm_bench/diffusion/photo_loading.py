"""Loading a backbone of photographs from its files into a stock diffusers pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agsm_bench.diffusion.photo_sources import Sources, lora_files, sources, subfolder_of, weight_parts
from agsm_bench.errors import MissingError
from agsm_bench.model_options import ModelOptions, device_name, dtype_name, saving_of
from agsm_bench.weights import TOKENIZER, Located, is_fp16_only, model_files, pipeline_parts, read_index

if TYPE_CHECKING:
    import torch

    from agsm_bench.diffusion.image_encoder import ImageEncoder
    from agsm_bench.diffusion.photo import Family

TEXT_ENCODER = "text_encoder"
UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, TypeError)
"""What diffusers and transformers raise for models that are damaged or not what they are taken for."""


def load(family: Family, options: ModelOptions) -> Any:
    """The pipeline, on its device, with every part that the options name.

    Raises:
        MissingError: a file is absent or damaged, or a package is.
    """
    import diffusers
    import torch

    from agsm_bench.diffusion.compiling import check_compiler, compile_blocks
    from agsm_bench.diffusion.minmax import MinMaxImages

    found = sources(family, options)
    weight_parts(found, family, options)
    if options.compile:
        check_compiler(device_name(options))
    dtype = getattr(torch, dtype_name(options))
    components = dict(family.fixed) | _components(found, family, options, dtype)
    with _loading(found.pipeline):
        pipe = _pipeline(getattr(diffusers, family.pipeline), found, components, dtype)
    _check_whole(pipe.components, found.pipeline)
    if found.lora:
        with _loading(found.lora):
            _fuse(pipe, found.lora)
    _check_tokenizers(pipe, found.pipeline)
    if saving_of(options) == "official-minmax":
        pipe.image_processor = MinMaxImages.from_config(pipe.image_processor.config)
    if options.compile:
        compile_blocks(getattr(pipe, family.network))
    return _placed(pipe, options)


def load_encoder(family: Family, options: ModelOptions) -> ImageEncoder:
    """The VAE that `load` puts into the pipeline, alone on its device.

    Raises:
        MissingError: a file is absent or damaged, or a package is.
    """
    import torch
    from diffusers import AutoencoderKL

    from agsm_bench.diffusion.image_encoder import ImageEncoder

    found = sources(family, options)
    source, device, dtype = found.vae or found.pipeline, device_name(options), getattr(torch, dtype_name(options))
    if found.configs and not found.vae:
        with _loading(source):
            vae = _vae_of_single_file(found, dtype)
        _check_whole({"vae": vae}, source)
    else:
        vae = _model(AutoencoderKL, source, "vae", dtype)
    return ImageEncoder(vae.to(device).eval(), device)


@contextmanager
def _loading(located: Located) -> Iterator[None]:
    """Quietly, and what the libraries raise for files that are absent or damaged is the user's to mend."""
    from diffusers.loaders.single_file_utils import SingleFileComponentError
    from safetensors import SafetensorError

    from agsm_bench.diffusion.loading import quiet

    quiet()
    try:
        yield
    except (*UNLOADABLE, SafetensorError, SingleFileComponentError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingError(f"{located.name} does not load ({reason}).", located.fix) from error


def _pipeline(kind: Any, found: Sources, components: dict[str, Any], dtype: torch.dtype) -> Any:
    folder = found.pipeline.path
    if found.configs:
        configs = str(found.configs.path)
        return kind.from_single_file(str(folder), config=configs, local_files_only=True, dtype=dtype, **components)
    parts = pipeline_parts(found.pipeline, list(components))
    variant = "fp16" if any(map(is_fp16_only, parts.values())) else None
    encoders = {name: _text_encoder(found.pipeline, name, dtype) for name in parts if name.startswith(TEXT_ENCODER)}
    return kind.from_pretrained(folder, dtype=dtype, variant=variant, **components, **encoders)


def _text_encoder(located: Located, name: str, dtype: torch.dtype, **how: Any) -> Any:
    """One of the pipeline's; what its files lack transformers would draw at random."""
    import transformers

    kind = getattr(transformers, read_index(located)[name][1])
    variant = "fp16" if is_fp16_only(model_files(located, name)) else None
    model, report = kind.from_pretrained(
        located.path, subfolder=name, dtype=dtype, variant=variant, output_loading_info=True, **how
    )
    if lacking := sorted(report["missing_keys"]):
        raise _lacks(located, name, lacking)
    return model


def _check_whole(components: Mapping[str, Any], located: Located) -> None:
    """Raises MissingError for a model of diffusers whose files lack a tensor: it stays without a value."""
    from torch.nn import Module

    for name, model in components.items():
        if isinstance(model, Module) and (lacking := [key for key, v in model.state_dict().items() if v.is_meta]):
            raise _lacks(located, name, lacking)


def _lacks(located: Located, name: str, tensors: Sequence[str]) -> MissingError:
    more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
    return MissingError(f"The weights of '{name}' of {located.name} lack {tensors[0]}{more}.", located.fix)


def _check_tokenizers(pipe: Any, located: Located) -> None:
    """Raises MissingError for one that does not go with its text encoder: damaged ones load, and know no word."""
    for name, tokenizer in pipe.components.items():
        if name.startswith(TOKENIZER) and tokenizer is not None:
            known = getattr(pipe, name.replace(TOKENIZER, TEXT_ENCODER)).config.vocab_size
            # T5's encoder has 28 words more than its tokenizer
            if not 0.99 * known <= len(tokenizer) <= known:
                words = f"{len(tokenizer):,} words, and its text encoder {known:,}"
                raise MissingError(f"'{name}' of {located.name} is damaged: it knows {words}.", located.fix)


def _vae_of_single_file(found: Sources, dtype: torch.dtype) -> Any:
    from diffusers import AutoencoderKL

    assert found.configs
    file, configs = str(found.pipeline.path), str(found.configs.path)
    return AutoencoderKL.from_single_file(
        file, config=configs, subfolder="vae", local_files_only=True, torch_dtype=dtype
    )


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
        made["text_encoder_3"] = _t5_in_8_bits(found.pipeline, options, dtype)
    return made


def _model(kind: Any, located: Located, component: str, dtype: torch.dtype) -> Any:
    subfolder = subfolder_of(located, component)
    variant = "fp16" if is_fp16_only(model_files(located, subfolder)) else None
    with _loading(located):
        model = kind.from_pretrained(located.path, subfolder=subfolder or None, dtype=dtype, variant=variant)
    _check_whole({component: model}, located)
    return model


def _t5_in_8_bits(located: Located, options: ModelOptions, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    how = {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "device_map": {"": device_name(options)}}
    with _loading(located):
        return _text_encoder(located, "text_encoder_3", dtype, **how)


def _fuse(pipe: Any, located: Located) -> None:
    """Every component that it has weights for: the network's, and often a text encoder's."""
    (file,) = lora_files(located)
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    components = list(pipe.get_list_adapters())
    if not components:
        raise MissingError(f"The LoRA {located.name} has no weights for this pipeline.", "Pass one of its family.")
    pipe.fuse_lora(components=components)
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
