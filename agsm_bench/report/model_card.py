"""The model card of soft tokens, in the hub's format: a YAML header, then Markdown. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.errors import UserError
from agsm_bench.report.files import readable
from agsm_bench.report.summary import percent
from agsm_bench.summary_file import SUMMARY, read_summary
from agsm_bench.tokens.header import TOKENS_FILE, TokensHeader

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>\w+)")
"""How a training's record names a model of the hub."""
DATASETS = {"photo": ["coco"], "shapes": []}
"""What tokens are trained on, by domain; shapes draws its pictures itself."""
LIBRARY = "diffusers"
TASK = "text-to-image"


def model_card(header: TokensHeader, repo: str, licence: str | None, results: Sequence[Path]) -> str:
    """The card.

    Args:
        header: what the tokens' file says of itself.
        repo: `USER/NAME`, where they go.
        licence: identifier for the header, e.g. `apache-2.0`; None: left out, as it is the user's to choose.
        results: run folders of `agsm-bench eval` with these tokens.

    Raises:
        MissingError: a run has no summary, or a damaged one.
        UserError: a run is of other tokens, or the backbone's plugin is not installed.
    """
    from huggingface_hub import ModelCardData

    backbone: Backbone = plugins.load("backbones", header.config.backbone)
    base = base_model(header)
    card = ModelCardData(
        base_model=base,
        datasets=DATASETS[backbone.domain] or None,
        library_name=LIBRARY,
        license=licence,
        pipeline_tag=TASK,
        tags=[
            "agsm-bench",
            "soft-tokens",
            TASK,
            header.config.backbone,
            str(header.training.get("trainer", "unknown")),
        ],
    )
    runs = [_summary(folder, header) for folder in results]
    body = [*_what(header, backbone), *_how(header, backbone, repo, base), *_trained(header), *_measured(runs)]
    return f"---\n{card.to_yaml()}\n---\n\n" + "\n".join(body) + "\n"


def base_model(header: TokensHeader) -> str | None:
    """Hub id of the model that they were trained on; None for one that is not on the hub."""
    found = HUB_ID.fullmatch(str(header.training.get("model", {}).get("model", "")))
    return found["repo"] if found else None


def _what(header: TokensHeader, backbone: Backbone) -> Iterator[str]:
    config, trainer = header.config, header.training.get("trainer", "unknown")
    place = f"the first {config.layers} blocks" if config.placement == "mmdit" else "the cross attention"
    world = "" if backbone.domain == "photo" else ", a miniature backbone that ships with agsm-bench"
    yield f"# Soft tokens for {config.backbone}, trained by {trainer}\n"
    yield (
        f"{config.count} learnt text tokens for {place} of {config.backbone}{world}, trained on the frozen model by "
        f"agsm-bench's `{trainer}` so that the images follow the prompt better. The model's own weights are unchanged, "
        "and not in this repository.\n"
    )


def _how(header: TokensHeader, backbone: Backbone, repo: str, base: str | None) -> Iterator[str]:
    load, options = _loading(header, backbone, base)
    yield "## How to use\n"
    yield from _changed(header)
    yield "With the package `agsm-bench` installed:\n"
    yield "```python\nimport torch"
    yield "from diffusers import DiffusionPipeline"
    yield "from huggingface_hub import hf_hub_download"
    yield "from agsm_bench.tokens import load_tokens"
    if backbone.domain == "shapes":
        yield "from agsm_bench.shapes.shipped import weights_folder"
    yield f"\npipe = DiffusionPipeline.from_pretrained({load})"
    yield f'tokens = load_tokens(hf_hub_download("{repo}", "{TOKENS_FILE}"))'
    yield "with tokens.attached(pipe):"
    yield f'    image = pipe("a photo of three red circles"{options}).images[0]\n```\n'


def _changed(header: TokensHeader) -> Iterator[str]:
    """What the tokens were trained on that the code below does not load."""
    model, variant = header.training.get("model", {}), header.training.get("variant")
    for name in ("unet", "lora", "vae"):
        if name in model:
            yield f"The tokens were trained with the {name.upper()} `{model[name]}` in the model: load it first.\n"
    if variant:
        tuned = f"fine-tuned by `{variant['trainer']}` (hash `{variant['hash'][:12]}`)"
        yield f"The tokens were trained on a backbone {tuned}: load its weights first.\n"


def _loading(header: TokensHeader, backbone: Backbone, base: str | None) -> tuple[str, str]:
    """Arguments of `from_pretrained`, and further ones of the call."""
    name, mmdit = header.config.backbone, header.config.placement == "mmdit"
    # where there is no T5, as of the miniature, the pipeline fills its place with zeros, and must be told
    has_t5 = backbone.domain == "photo" and header.training.get("model", {}).get("t5") != "off"
    without_t5 = ", text_encoder_3=None, tokenizer_3=None" * (mmdit and not has_t5)
    if backbone.domain == "photo":
        model = f'"{base or "PATH OF THE MODEL"}"{without_t5}'
        return f'{model}, dtype=torch.float16).to("cuda"', ", max_sequence_length=512" * mmdit
    return f'weights_folder("{name}"){without_t5}, dtype=torch.float32', ", max_sequence_length=0" * mmdit


def _trained(header: TokensHeader) -> Iterator[str]:
    yield "## Training\n"
    yield "| setting | value |\n|---|---|"
    for name, value in _flat(header.training):
        yield f"| {name} | {_cell(value)} |"
    yield f"| agsm-bench | {header.package_version} |"
    yield f"| tokens' hash | `{header.tokens_hash}` |\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _measured(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for run in runs:
        about = run["run"]
        yield f"## {about['benchmark']} on {about['backbone']}, domain {about['domain']}\n"
        yield f"{run['scored']} of {run['expected']} images, 95% intervals.{' A limited run.' * run['limited']}\n"
        yield "| metric | value | interval |\n|---|---|---|"
        for name, metric in run["metrics"].items():
            if metric["value"] is not None:
                value, low, high = (_number(name, metric[key]) for key in ("value", "low", "high"))
                yield f"| {name} | {value} | {low} to {high} |"
        yield ""


def _number(name: str, value: float) -> str:
    """GenEval's shares in per cent, other metrics as they are."""
    return f"{percent(value)}%" if name.startswith("geneval/") else f"{value:.4g}"


def _summary(folder: Path, header: TokensHeader) -> Mapping[str, Any]:
    data = read_summary(folder)
    with readable(folder / SUMMARY, f"Score the run again: agsm-bench score {folder}"):
        tokens = data["run"]["tokens"] or {}
    if tokens.get("hash") != header.tokens_hash:
        raise UserError(f"{folder} is not a run of these tokens.", "Name runs of `agsm-bench eval --tokens` with them.")
    return data
