"""What a file in `agsm_bench/metrics/` says of a metric of images. No torch: `list` and `--help` read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from agsm_bench.types import Domain

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from agsm_bench.weight_files import WeightFile

Need = Literal["prompt", "reference", "mask"]
Files = Mapping[str, Path]
"""The weight files on this machine, by `WeightFile.file`."""


@dataclass(frozen=True)
class Picture:
    """One image to judge, decoded, with what a metric may need besides."""

    image: Image.Image
    """RGB, 8 bits, upright."""
    prompt: str | None = None
    reference: Image.Image | None = None
    """RGB alike."""
    mask: np.ndarray | None = None
    """bool [height, width]: True where the image was to be edited."""
    shared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What metrics make of this image and others need, too: CLIP's pixels are the same for three of them."""


class Judge(Protocol):
    """A loaded metric: one network, for all the variants of its file that have its weights."""

    def prepare(self, name: str, picture: Picture) -> Any:
        """One picture's inputs to a variant, made in threads; raises ValueError with the reason if it has no score."""
        ...

    def judge(self, name: str, prepared: Sequence[Any]) -> np.ndarray:
        """Raw scores of a variant, float [n] (nan: none), or for a metric of sets float32 features [n, d].

        What a picture gets does not depend on the others of its batch, up to rounding.
        """
        ...


@runtime_checkable
class ReadsPrompts(Protocol):
    """A judge whose text tower takes so many tokens of a prompt, and drops the rest."""

    def tokens(self, prompt: str) -> tuple[int, int]:
        """How many a prompt has, and how many of them are read. Not for threads, as tokenizers are not."""
        ...


@dataclass(frozen=True)
class Variant:
    """A metric by its full name, e.g. `hpsv2/v2.1`."""

    better: Literal["up", "down"]
    unit: str
    """Of the raw score, with its range, e.g. `cosine, -1 to 1`."""
    preprocessing: str
    """What happens to the pixels before the network."""
    table_scale: float = 1.0
    """Raw score x this = the paper's tables."""
    needs: tuple[Need, ...] = ()
    per: Literal["sample", "set"] = "sample"
    """`set`: the judge gives features, and a number is of all images and their references together."""
    weights: tuple[WeightFile, ...] = ()
    decimals: int = 6
    """Of a stored raw score; less than what the batch changes by rounding."""


@dataclass(frozen=True)
class ImageMetric:
    """METRIC of a file in `agsm_bench/metrics/` that judges images."""

    variants: Mapping[str, Variant]
    """By full name: `FILE`, or `FILE/VARIANT`."""
    load: Callable[[Sequence[str], Files, str], Judge]
    """(variants to judge, all with the same weights; their files; torch device) -> the judge.

    Raises MissingError for files of another model, with the first key or shape that does not fit."""
    extra: str | None = None
    """Of pyproject.toml, e.g. `metrics`; None: the core has all packages."""
    packages: tuple[str, ...] = ()
    """That the extra brings and this metric imports, by the name of the import."""
    domain: Domain | None = None
    """Of the images that it is meant for; None: any."""
    version: Callable[[], str] | None = None
    """Of shipped weights, for stored scores; None: of `weights`. Raises MissingError."""
    by_default: tuple[str, ...] = ()
    """Variants that every `eval` and `score` of the domain measures."""
    reference: Callable[[Sequence[str], Files, str], Judge] | None = None
    """The same through the upstream package, for `--reference`; None: there is none."""
