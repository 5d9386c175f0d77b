"""`agsm-bench score --images` and the Python API: anybody's images, with no run behind them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.benchmark import Read
from agsm_bench.contracts import Progress
from agsm_bench.errors import UserError
from agsm_bench.provenance import provenance
from agsm_bench.scoring.items import Item, reader
from agsm_bench.scoring.results import score_items
from agsm_bench.scoring.runs import How
from agsm_bench.scoring.selection import choose, known
from agsm_bench.scoring.settings import PassSettings, default_device
from agsm_bench.scoring.sheet import FolderSheet
from agsm_bench.stats import Interval
from agsm_bench.summary_file import write_summary

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    Picture = str | Path | bytes | Image.Image | np.ndarray
    """A file, the bytes of one, a Pillow image, or uint8 [height, width, 3]."""

SCHEMA = 1


@dataclass(frozen=True)
class ImageScores:
    """What `score_images` returns."""

    scores: dict[str, list[float | None]]
    """By metric, one raw score an image, in the order given; None: unscored. Nothing of metrics of sets."""
    reasons: dict[str, list[str | None]]
    """Alike: why an image is unscored; of a score, that its prompt was cut."""
    metrics: dict[str, Interval]
    """Mean of each metric with its interval, images of one prompt resampled together; or a distance of sets."""
    warnings: list[str]


def score_images(
    images: Sequence[Picture],
    prompts: Sequence[str] | None = None,
    metrics: Sequence[str] = ("clip/openai-l14",),
    *,
    references: Sequence[Picture] | str | Path | None = None,
    masks: Sequence[Picture] | None = None,
    weights: Mapping[str, str | Path] | None = None,
    device: str | None = None,
    batch_size: int = 32,
) -> ImageScores:
    """Scores images by any number of metrics in one pass, nothing kept on disk.

    Args:
        images: files, bytes, Pillow images or uint8 arrays [height, width, 3].
        prompts: one an image, for the metrics that need it.
        metrics: full names, see `agsm-bench list metrics`.
        references: one an image; for metrics of sets (FID) a folder or an npz file of statistics.
        masks: one an image, bright where it was to be edited.
        weights: folders or files in place of the caches, by metric.
        device: torch's name of it; None: CUDA where there is any.
        batch_size: images at once.

    Raises:
        UserError: an unknown metric, or lists of different lengths.
        MissingError: weights or packages are absent, with the command that gets them.
    """
    together = Path(references) if isinstance(references, str | Path) else None
    own = None if isinstance(references, str | Path) else references
    items = _items(images, prompts, own, masks)
    given = {name: Path(path) for name, path in (weights or {}).items()}
    settings = PassSettings(device or default_device(), batch_size)
    with tempfile.TemporaryDirectory() as folder, FolderSheet(Path(folder)) as sheet:
        found = score_items(items, sheet, choose(metrics, given), settings, lambda *_: None, together)
        single = [name for name in metrics if known()[name].variants[name].per == "sample"]
        rows = {name: sheet.scores(name) for name in single}
        return ImageScores(
            {name: [rows[name][item.id].value for item in items] for name in single},
            {name: [rows[name][item.id].reason for item in items] for name in single},
            found.metrics,
            found.warnings,
        )


def score_collection(
    items: Sequence[Item], names: Sequence[str], out: Path, how: How, progress: Progress
) -> dict[str, Any]:
    """Scores items into a folder that resumes, writes its summary, and returns it; raises as `score_items`."""
    chosen = choose(names, how.weights, upstream=how.upstream)
    with FolderSheet(out) as sheet:
        found = score_items(items, sheet, chosen, how.settings, progress, how.references)
        sheet.finalise()
        summary = {
            "schema": SCHEMA,
            "images": len(items),
            "metrics": {name: entry(name, interval) for name, interval in found.metrics.items()},
            "versions": {name: each.version_of(name) for each in chosen for name in each.names},
            "warnings": found.warnings,
            "unscored": [asdict(score) for score in found.unscored],
            "provenance": provenance(how.settings.device),
        }
        return write_summary(out, summary)


def entry(name: str, interval: Interval) -> dict[str, Any]:
    """A metric of a summary: the raw value with its interval, and what it is; unknown numbers are null."""
    variant = known()[name].variants[name]
    numbers = {key: value if isfinite(value) else None for key, value in asdict(interval).items()}
    about = {name: getattr(variant, name) for name in ("better", "unit", "table_scale", "preprocessing")}
    return numbers | about | {"weights": [weight.source for weight in variant.weights]}


def _items(
    images: Sequence[Picture],
    prompts: Sequence[str] | None,
    references: Sequence[Picture] | None,
    masks: Sequence[Picture] | None,
) -> list[Item]:
    for name, given in (("prompts", prompts), ("references", references), ("masks", masks)):
        if given is not None and (isinstance(given, str) or len(given) != len(images)):
            raise UserError(f"There are {len(given)} {name} for {len(images)} images.", "Give one an image.")
    return [
        Item(
            f"{number:06d}",
            _read(image),
            None if prompts is None else prompts[number],
            None if references is None else _read(references[number]),
            None if masks is None else _read(masks[number]),
            cluster=str(number) if prompts is None else prompts[number],
        )
        for number, image in enumerate(images)
    ]


def _read(picture: Picture) -> Read:
    if isinstance(picture, str | Path):
        return reader(Path(picture))
    return reader(picture if isinstance(picture, bytes) else _png(picture))


def _png(picture: Any) -> bytes:
    import numpy as np
    from PIL import Image

    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        picture = Image.fromarray(picture)
    if not isinstance(picture, Image.Image):
        raise UserError(f"An image is a {type(picture).__name__}.", "Give paths, bytes, Pillow images or uint8 arrays.")
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
