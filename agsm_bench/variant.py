"""A backbone variant: fine-tuned weights of a backbone in a folder, described by `variant.json`. No torch here.

variant.json                            what made the weights, of which backbone, and their hash
pytorch_lora_weights.safetensors        `lora`: what a stock pipeline's load_lora_weights reads
unet/ or transformer/                   `full`: a diffusers model folder
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agsm_bench.contracts import Backbone
from agsm_bench.damage import DAMAGED, conforming, why
from agsm_bench.errors import MissingError, UserError
from agsm_bench.folders import read_json, write_json
from agsm_bench.identity import canonical_json, hash_files

VARIANT_FILE = "variant.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
FORMAT = "agsm-bench backbone variant"
SCHEMA = 1
_FIX = "Make one with `agsm-bench train diffusion_dpo`, or pass another --backbone-weights."


@dataclass(frozen=True)
class Variant:
    """What a variant's folder says of it."""

    folder: Path
    backbone: str
    kind: Literal["lora", "full"]
    base: str
    """Hash of the backbone's own weights, which it was tuned from."""
    hash: str
    """Hash of the variant's weight files."""
    training: Mapping[str, Any]
    """The training's configuration: `trainer`, `seed` and the other options."""

    def describe(self) -> dict[str, Any]:
        """For the files of what was made with it; says nothing of where it lies."""
        return {**self.training, "kind": self.kind, "base": self.base, "hash": self.hash}


def write_variant(folder: Path, backbone: Backbone, kind: Literal["lora", "full"], training: Mapping[str, Any]) -> Path:
    """Describes the weights that lie in `folder`; returns the file."""
    values = {"backbone": backbone.name, "kind": kind, "base": weights_hash(backbone), "hash": _hash(folder, kind)}
    write_json(folder / VARIANT_FILE, {"format": FORMAT, "schema": SCHEMA, **values, "training": dict(training)})
    return folder / VARIANT_FILE


def read_variant(folder: Path, backbone: Backbone) -> Variant:
    """Reads and checks a variant.

    Raises:
        MissingError: absent or damaged.
        UserError: it is another backbone's, or was tuned from other weights of this one.
    """
    variant = describe_variant(folder)
    _check(variant, backbone)
    return variant


def describe_variant(folder: Path) -> Variant:
    """What a variant's folder says of it; its weights are not looked at.

    Raises:
        MissingError: absent or damaged.
    """
    path = folder / VARIANT_FILE
    data = read_json(path, _FIX)
    try:
        if (data.pop("format"), data.pop("schema")) != (FORMAT, SCHEMA):
            raise ValueError(f"it is not a {FORMAT} of schema {SCHEMA}")
        variant = conforming(Variant(folder, **data))
        if variant.kind not in ("lora", "full") or not isinstance(variant.training.get("trainer"), str):
            raise ValueError("its description is not complete")
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged ({why(error)}).", _FIX) from error
    return variant


def weights_hash(backbone: Backbone, variant: Variant | None = None) -> str:
    """Hash of every weight file that a run reads: the backbone's, and the variant's on top."""
    if backbone.weight_parts:
        parts = {name: hash_files(files) for name, files in backbone.weight_parts().items()}
        base = hashlib.sha256(canonical_json(parts).encode()).hexdigest()
    else:
        base = hash_files(sorted(backbone.weights().rglob("*.safetensors")))
    return base if variant is None else combined_hash(base, variant.hash)


def combined_hash(base: str, variant: str) -> str:
    """`weights_hash` of a variant, from the hashes of the backbone's weight files and of its own."""
    return hashlib.sha256(f"{base} {variant}".encode()).hexdigest()


def _check(variant: Variant, backbone: Backbone) -> None:
    if variant.backbone != backbone.name:
        raise UserError(
            f"The weights in {variant.folder} are a variant of {variant.backbone}, not of {backbone.name}.",
            f"Use --backbone {variant.backbone}.",
        )
    if _hash(variant.folder, variant.kind) != variant.hash:
        raise MissingError(f"The weights in {variant.folder} are damaged: they do not match their hash.", _FIX)
    if weights_hash(backbone) != variant.base:
        raise UserError(
            f"The variant in {variant.folder} was tuned from other weights of {backbone.name}.",
            "Train it again on the present ones.",
        )


def _hash(folder: Path, kind: str) -> str:
    """Hash of the variant's weight files; the run's other files, e.g. its training state, play no part."""
    files = [folder / LORA_FILE] if kind == "lora" else sorted(folder.glob("*/*.safetensors"))
    if not all(file.is_file() for file in files) or not files:
        raise MissingError(f"{folder} holds no {kind} weights.", _FIX)
    return hash_files(files)
