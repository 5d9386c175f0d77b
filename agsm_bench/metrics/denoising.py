"""Held-out denoising error of matched and mismatched captions (psi+ on both, as at sampling): no image, no detector.

err_positive, err_negative: mean squared errors of the prediction; gap: negative minus positive, up is better;
win_rate: share of noised images whose own caption has the least error. The training's validation curve is the
same on the first groups of the set. `eval` writes the errors to `denoising.jsonl` of the run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.contracts import ModelMeasure, Progress, RunMetric, TrainingData
from agsm_bench.errors import UserError
from agsm_bench.jsonl import Journal
from agsm_bench.stats import Floats, Interval, bootstrap_statistic
from agsm_bench.store import Run
from agsm_bench.types import Sample

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.tokens.soft_tokens import SoftTokens

FILE = "denoising.jsonl"
GROUPS = 32
"""Of `SIZE` held-out images and their captions."""
SIZE = 4
"""The validation curve's `GROUP_SIZE`, which needs torch."""
DECIMALS = 6
TOLERANCE = 1e-4
"""Between the errors that two shards of a run found, maybe on different machines."""

Errors = dict[tuple[int, int], Floats]
"""(group, timestep) -> errors [images, captions], nan where a mismatched caption is true all the same."""


def measure(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """The metrics from the run's file, with intervals over held-out groups; nothing without it."""
    errors = _read(run.folder)
    return summarise(errors) if _is_complete(errors) else {}


def is_measured(folder: Path) -> bool:
    """Whether a run folder has all errors."""
    return _is_complete(_read(folder))


def write_errors(
    run: Run, denoiser: Denoiser, tokens: SoftTokens | None, data: TrainingData, progress: Progress
) -> None:
    """Measures a backbone with its tokens, or without any, on held-out pairs, and writes the run's file."""
    _write(run, errors_of(denoiser, tokens, data, progress))


def errors_of(denoiser: Denoiser, tokens: SoftTokens | None, data: TrainingData, progress: Progress) -> Errors:
    """The errors of a backbone with its tokens, or without any, on held-out pairs."""
    from agsm_bench.diffusion.text import CachedText
    from agsm_bench.training.validation import TIMESTEPS, ValidationSet, pair_errors

    pairs = ValidationSet.load(denoiser, data, CachedText(denoiser.encode_text), GROUPS)
    errors: Errors = {}
    with tokens.attached(denoiser.network) if tokens else nullcontext() as attachment:
        for group, batch in enumerate(pairs.batches):
            for timestep in TIMESTEPS:
                found = pair_errors(denoiser, attachment, batch, group, timestep).double()
                found[batch.false_negatives.cpu()] = np.nan
                errors[group, timestep] = found.numpy()
            progress("denoising error", group + 1, GROUPS)
    return errors


def adopt_errors(run: Run, shards: Sequence[Path]) -> None:
    """Takes the file over from the shards of the run that have it.

    Raises:
        UserError: they differ.
    """
    known: Errors = {}
    for folder in shards:
        for key, found in _read(folder).items():
            if not np.allclose(known.setdefault(key, found), found, rtol=0, atol=TOLERANCE, equal_nan=True):
                raise UserError(
                    f"{folder / FILE} differs from the other shards'.", "Delete it there: the others' is enough."
                )
    if known:
        _write(run, known)


def summarise(errors: Mapping[tuple[int, int], Floats]) -> dict[str, Interval]:
    """The four metrics."""
    parts = _parts(errors)
    positive, negative, win_rate = map(_weighted_mean, parts)
    statistics = {
        "err_positive": positive,
        "err_negative": negative,
        "gap": lambda weights: negative(weights) - positive(weights),
        "win_rate": win_rate,
    }
    groups, n = len(parts[0]), parts[0].size
    return {f"denoising/{name}": bootstrap_statistic(statistic, groups, n) for name, statistic in statistics.items()}


def by_group(folder: Path) -> dict[str, dict[str, float]]:
    """The metrics' shares by held-out group, whose mean they are, from a run's folder; nothing without the errors."""
    errors = _read(folder)
    if not _is_complete(errors):
        return {}
    positive, negative, win_rate = map(_shares, _parts(errors))
    found = {"err_positive": positive, "err_negative": negative, "gap": negative - positive, "win_rate": win_rate}
    groups = [f"group-{group:02d}" for group in sorted({group for group, _ in errors})]
    return {f"denoising/{name}": dict(zip(groups, map(float, own), strict=True)) for name, own in found.items()}


def _parts(errors: Mapping[tuple[int, int], Floats]) -> tuple[Floats, Floats, Floats]:
    """[groups, ...]: errors of matched captions, of mismatched ones, and whether an image's own had the least."""
    groups = sorted({group for group, _ in errors})
    stacked = np.stack([[errors[key] for key in sorted(errors) if key[0] == group] for group in groups])
    own = np.eye(stacked.shape[-1], dtype=bool)
    wins = np.nan_to_num(stacked, nan=np.inf).argmin(axis=-1) == np.arange(stacked.shape[-1])
    return stacked[..., own], stacked[..., ~own], wins.astype(np.float64)


def _shares(values: Floats) -> Floats:
    """[groups]: what each adds to the mean of all values but the nan, times the number of groups."""
    rows = values.reshape(len(values), -1)
    return np.asarray(len(rows) * np.nansum(rows, axis=1) / np.isfinite(rows).sum())


def _weighted_mean(values: Floats) -> Callable[[Floats], Floats]:
    """The mean of all values [groups, ...] but the nan, as a statistic of weighted groups."""
    rows = values.reshape(len(values), -1)
    sums, counts = np.nansum(rows, axis=1), np.isfinite(rows).sum(axis=1)
    return lambda weights: (weights @ sums) / (weights @ counts)


def _is_complete(errors: Errors) -> bool:
    return bool(errors) and len(errors) == GROUPS * len({timestep for _, timestep in errors})


def _read(folder: Path) -> Errors:
    return dict(Journal(folder / FILE).read(_parse))


def _write(run: Run, errors: Errors) -> None:
    with run.changing():
        Journal(run.folder / FILE).replace(_record(*item) for item in sorted(errors.items()))


def _record(key: tuple[int, int], errors: Floats) -> dict[str, Any]:
    rows = [[None if np.isnan(value) else round(float(value), DECIMALS) for value in row] for row in errors]
    return {"group": key[0], "timestep": key[1], "errors": rows}


def _parse(line: Mapping[str, Any]) -> tuple[tuple[int, int], Floats]:
    errors = np.array(line["errors"], dtype=np.float64)
    if errors.shape != (SIZE, SIZE):
        raise ValueError(f"errors of shape {errors.shape}")
    return (line["group"], line["timestep"]), errors


METRIC = RunMetric(
    domain="shapes",
    better={
        "denoising/err_positive": "down",
        "denoising/err_negative": "neither",
        "denoising/gap": "up",
        "denoising/win_rate": "up",
    },
    measure=measure,
    model=ModelMeasure(is_measured, write_errors, adopt_errors),
    by_group=by_group,
)
