"""Latents of COCO's pictures on disk: what the VAE makes of each picture, kept so that it is made once.

    AGSM_BENCH_DATA/latents/DTYPE-SIZE-VAE/latents.json     which VAE, in which type, at which size of the pictures
                                           00000.safetensors    256 pictures each

A file holds the means of the VAE's posterior as the VAE gives them, before shift and scale and in its type: so kept
and fresh latents are the same to the bit, and weights in half precision take half the space. Each is named by the
content of its picture, and has its own checksum in the file's metadata. Files made by several processes, or on
several machines, are simply put together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.contracts import Backbone
from agsm_bench.damage import DAMAGED, why
from agsm_bench.data.coco import CocoPairs
from agsm_bench.data.places import root
from agsm_bench.errors import MissingError, UserError
from agsm_bench.folders import read_json, write_json
from agsm_bench.identity import hash_files
from agsm_bench.jsonl import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

RECORD = "latents.json"
FORMAT = "agsm-bench latents 1"


@dataclass(frozen=True)
class LatentsSpec:
    """What latents depend on besides the pictures."""

    vae: str
    """Hash of the VAE's weight files."""
    dtype: str
    """Type of its weights, and of what it gives, e.g. "float16"."""
    size: int
    """Side of the pictures in pixels; they are the largest square around the centre."""

    @property
    def folder(self) -> Path:
        """Where they are: backbones with the same VAE share them."""
        return root() / "latents" / f"{self.dtype}-{self.size}-{self.vae[:16]}"


def spec_of(backbone: Backbone, size: int) -> LatentsSpec:
    """The latents that a training of the backbone asks for.

    Raises:
        UserError: the backbone's pictures are drawn.
        MissingError: weights are absent.
    """
    if backbone.load_encoder is None or backbone.weight_parts is None or backbone.settings is None:
        raise UserError(
            f"The pictures of {backbone.name} are drawn as they are needed; there is nothing to keep.",
            "Use --backbone sd15, sdxl or sd3.",
        )
    parts = backbone.weight_parts()
    return LatentsSpec(hash_files(parts.get("vae") or parts["pipeline"]), backbone.settings()["dtype"], size)


@dataclass(frozen=True)
class Latents:
    """Those that are there."""

    spec: LatentsSpec

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The file of every picture, by its key; reads the files' headers only."""
        return {key: path for path in sorted(self.spec.folder.glob("*.safetensors")) for key in keys_of(path)}

    def get(self, key: str) -> Tensor | None:
        """The mean [c, h, w] of a picture, None where it is not kept.

        Raises:
            MissingError: it is damaged.
        """
        return read(self.files[key], [key])[key] if key in self.files else None

    def describe(self) -> dict[str, Any]:
        """For the files of what was made with them; says nothing of where they lie."""
        return {**asdict(self.spec), "pictures": len(self.files)}


def find_latents(backbone: Backbone, size: int | None = None) -> Latents | None:
    """Those that a training of the backbone at `size` pixels can use; None where none were made for its VAE.

    Raises:
        UserError: the folder holds latents of another VAE, type or size.
        MissingError: a file of it is damaged, or weights are absent.
    """
    pairs = backbone.training_data(0, False)
    if not isinstance(pairs, CocoPairs):
        return None
    spec = spec_of(backbone, size or pairs.size)
    return Latents(spec) if is_claimed(spec) else None


def others_than(backbone: Backbone, size: int | None = None) -> list[str]:
    """Folders of latents that are kept, none of which a training of the backbone at `size` pixels can use."""
    pairs = backbone.training_data(0, False)
    if not isinstance(pairs, CocoPairs):
        return []
    return sorted(path.parent.name for path in spec_of(backbone, size or pairs.size).folder.parent.glob(f"*/{RECORD}"))


def claim(spec: LatentsSpec) -> None:
    """Makes the folder with its record, where it is not there."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    if not (spec.folder / RECORD).exists():
        write_json(spec.folder / RECORD, {"format": FORMAT, **asdict(spec)})


def is_claimed(spec: LatentsSpec) -> bool:
    """Whether the folder is there.

    Raises:
        UserError: it holds latents of another VAE, type or size.
        MissingError: its record is damaged.
    """
    if not (spec.folder / RECORD).exists():
        return False
    record = read_json(spec.folder / RECORD, f"Delete {spec.folder}, and encode again.")
    expected = {"format": FORMAT, **asdict(spec)}
    if wrong := [name for name, value in expected.items() if record.get(name) != value]:
        there = ", ".join(f"{name} is {record.get(name)}" for name in wrong)
        raise UserError(f"{spec.folder} holds other latents ({there}).", "Move it away, and encode again.")
    return True


def write(path: Path, means: Mapping[str, Tensor]) -> None:
    """Writes a file of latents [c, h, w] by their keys, atomically; equal latents give equal bytes."""
    from safetensors.torch import save

    checksums = {key: _described(mean) for key, mean in sorted(means.items())}
    # one entry: the library writes several in any order
    write_atomically(path, save(dict(means), metadata={"sha256": json.dumps(checksums)}))


def read(path: Path, keys: Iterable[str]) -> dict[str, Tensor]:
    """Means [c, h, w] of a file by their keys; no others are read.

    Raises:
        MissingError: the file, or one of these, is absent or damaged.
    """
    with _opened(path) as stored:
        means: dict[str, Tensor] = {key: stored.get_tensor(key) for key in keys}
        checksums = json.loads(stored.metadata()["sha256"])
        if any(checksums[key] not in (_described(mean), checksum(mean)) for key, mean in means.items()):
            raise ValueError("a checksum does not match")
    return means


def keys_of(path: Path) -> list[str]:
    """The keys of a file; raises MissingError where it is damaged."""
    with _opened(path) as stored:
        return list(stored.keys())


def is_whole(path: Path, keys: Collection[str]) -> bool:
    """Whether a file is there and has these latents undamaged, besides maybe others; reads them."""
    try:
        return path.exists() and len(read(path, keys)) == len(keys)
    except MissingError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except (*DAMAGED, SafetensorError) as error:
        raise MissingError(
            f"{path} is damaged ({why(error)}).", "Run the same agsm-bench data encode again: it mends what is damaged."
        ) from error


def _described(mean: Tensor) -> str:
    """Checksum, type and shape; files of earlier versions have the checksum alone."""
    return f"{checksum(mean)} {mean.dtype} {list(mean.shape)}"


def checksum(mean: Tensor) -> str:
    """SHA-256 of the values' bytes."""
    import torch

    return sha256(mean.flatten().view(torch.uint8).numpy().data).hexdigest()
