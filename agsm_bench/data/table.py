"""The datasets of the photo domain: where they come from, and how to know that they arrived whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from agsm_bench.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """One file to get (an archive, or a plain file), and the folder that it becomes."""

    name: str
    holds: str
    """What is in it, in a few words."""
    licence: str
    page: str
    """Where its makers describe or hand it out."""
    url: str | None
    """None where it is given on request only."""
    size: int | None
    """Bytes of the file at `url`; None where not known."""
    checksum: str | None
    """`sha256:…` of that file; None where none is published."""
    folder: str
    """Where it goes, below the data folder."""
    anchor: str
    """A file of it: the folder that has it in the archive is the one taken."""
    wanted: tuple[str, ...] = ("*",)
    """Patterns of the files taken, below the anchor's folder; `*` matches `/`, too."""
    files: int | None = None
    """How many they are; None where not known."""


_COCO = "https://s3.amazonaws.com/images.cocodataset.org"
_COCO_PAGE = "https://cocodataset.org/#download"
# cocodataset.org/#termsofuse: "The COCO Consortium does not own the copyright of the images."
_COCO_IMAGES = "Flickr Terms of Use, each image its own"

# The bucket behind images.cocodataset.org, whose certificate does not match that name. Sizes and hashes of the archives
# are not on COCO's page; many independent downloaders state the same ones.
DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="coco-train2017",
            holds="COCO train2017, 118,287 images",
            licence=_COCO_IMAGES,
            page=_COCO_PAGE,
            url=f"{_COCO}/zips/train2017.zip",
            size=19_336_861_798,
            checksum="sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            folder="coco/train2017",
            anchor="000000000009.jpg",
            wanted=("*.jpg",),
            files=118_287,
        ),
        Dataset(
            name="coco-val2017",
            holds="COCO val2017, 5,000 images",
            licence=_COCO_IMAGES,
            page=_COCO_PAGE,
            url=f"{_COCO}/zips/val2017.zip",
            size=815_585_330,
            checksum="sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            folder="coco/val2017",
            anchor="000000000139.jpg",
            wanted=("*.jpg",),
            files=5_000,
        ),
        Dataset(
            name="coco-captions",
            holds="COCO 2017 captions, train and val",
            licence="CC BY 4.0",
            page=_COCO_PAGE,
            url=f"{_COCO}/annotations/annotations_trainval2017.zip",
            size=252_907_541,
            checksum="sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            folder="coco/annotations",
            anchor="captions_val2017.json",
            wanted=("captions_train2017.json", "captions_val2017.json"),
            files=2,
        ),
        Dataset(
            name="pie-bench",
            holds="PIE-Bench, 700 images with edits and masks",
            licence="not stated",
            page="https://forms.gle/hVMkTABb4uvZVjme9",  # the form that github.com/cure-lab/PnPInversion links to
            url=None,
            size=None,
            checksum=None,
            folder="pie-bench",
            anchor="mapping_file.json",
        ),
        Dataset(
            name="unigenbench",
            holds="UniGenBench++, 600 long English prompts",
            licence="CC BY 4.0",
            page="https://github.com/CodeGoat24/UniGenBench",
            url="https://raw.githubusercontent.com/CodeGoat24/UniGenBench/"
            "036701d260299715eafe8ba2e9da133019015bde/data/test_prompts_en_long.csv",
            size=762_228,
            checksum="sha256:5d2c3d642cc4923504b662ad15b425c2d161a137884701881e00c2691a697253",
            folder="unigenbench",
            anchor="test_prompts_en_long.csv",
            files=1,
        ),
    )
}


def dataset(name: str) -> Dataset:
    """The dataset of that name.

    Raises:
        UserError: there is none, with the closest name.
    """
    if name in DATASETS:
        return DATASETS[name]
    close = get_close_matches(name, DATASETS, 1)
    fix = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(DATASETS)}."
    raise UserError(f"There is no dataset '{name}'.", fix)
