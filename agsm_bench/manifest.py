"""What a run folder says about itself before its first image: `manifest.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agsm_bench.damage import DAMAGED, conforming, why
from agsm_bench.errors import MissingError, UserError
from agsm_bench.identity import identity
from agsm_bench.types import RunSpec

MANIFEST = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class Manifest:
    """A run's settings, its size, and the processes that worked on it."""

    spec: RunSpec
    expected: int
    """Samples of the whole run, of all its shards together."""
    limited: bool
    """Whether `expected` is less than the benchmark."""
    shard: tuple[int, int] | None = None
    """(index, count) where the folder holds one shard only."""
    tokens: Mapping[str, Any] | None = None
    """How the soft tokens were trained: `trainer`, `seed` and the other options."""
    variant: Mapping[str, Any] | None = None
    """How the backbone's weights were fine-tuned: `trainer`, `seed`, `hash` ...; None for its own weights."""
    provenance: tuple[Mapping[str, Any], ...] = ()
    """One entry a process: it was begun by the first and resumed by the others."""

    def __post_init__(self) -> None:
        if (self.spec.tokens is None) != (self.tokens is None):
            raise ValueError("tokens are described exactly when the spec has them")
        if self.tokens is not None and "trainer" not in self.tokens:
            raise UserError(
                "The soft tokens do not say which trainer made them.",
                "Save them again with `trainer` in the training's configuration.",
            )

    def dump(self) -> bytes:
        data = asdict(self) | {"schema": SCHEMA, "identity": identity(self.spec)}
        return (json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()

    def differences(self, other: Manifest) -> list[str]:
        """Settings in which the images of `other` differ."""
        ours, theirs = asdict(self.spec), asdict(other.spec)
        different = [name for name in ours if ours[name] != theirs[name]]
        return [f"{name} is {ours[name]!r} there and {theirs[name]!r} here" for name in different]

    def resumed(self, asked: Manifest, folder: Path) -> Manifest:
        """The manifest of a folder that holds this run when `asked` goes on with it.

        Raises:
            UserError: `asked` is another run. Only a limited run may change its size: to the whole one, since
                two limited runs need not hold the same prompts.
        """
        differences = self.differences(asked)
        if self.shard != asked.shard:
            differences.append(f"shard is {_shard(self.shard)} there and {_shard(asked.shard)} here")
        if differences:
            raise UserError(f"{folder} holds another run: {'; '.join(differences)}.", "Use another --out.")
        same_size = (self.expected, self.limited) == (asked.expected, asked.limited)
        if not same_size and (asked.limited or not self.limited):
            raise UserError(
                f"{folder} holds a run of {self.expected} samples, not of {asked.expected}.",
                "Use another --out, or the --limit of that run.",
            )
        new = tuple(entry for entry in asked.provenance if entry not in self.provenance)
        return replace(self, expected=asked.expected, limited=asked.limited, provenance=(*self.provenance, *new))


def load_manifest(folder: Path) -> Manifest:
    """Reads and checks a folder's manifest.

    Raises:
        MissingError: absent or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingError(f"{folder} has no {MANIFEST}.", "Name a folder that agsm-bench eval wrote.")
    try:
        return _parse(json.loads(path.read_bytes()))
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged ({why(error)}).", "Restore the file, or use another --out.") from error


def _parse(data: Any) -> Manifest:
    if data.pop("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    stated = data.pop("identity")
    spec = RunSpec(**data.pop("spec"))
    if stated != identity(spec):
        raise ValueError("the settings do not match their identity")
    shard, entries = data.pop("shard"), data.pop("provenance")
    manifest = conforming(Manifest(spec, shard=shard and tuple(shard), provenance=tuple(entries), **data))
    if not all(isinstance(made["trainer"], str) for made in (manifest.tokens, manifest.variant) if made):
        raise TypeError("a trainer's name is no text")
    return manifest


def _shard(shard: tuple[int, int] | None) -> str:
    return f"{shard[0]}/{shard[1]}" if shard else "the whole run"
