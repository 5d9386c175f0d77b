"""The training of the runs' tokens as curves, drawn by the page itself: a line a run, in its colour."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agsm_bench.errors import UserError
from agsm_bench.report.evidence import CURVE
from agsm_bench.report.files import readable
from agsm_bench.report.view.loading import Viewed
from agsm_bench.tokens.header import read_header
from agsm_bench.training import log

POINTS = 100
"""Of a line at most: each the mean of as many steps as that takes."""
WIDTH, HEIGHT, LEFT, BOTTOM = 420.0, 220.0, 58.0, 34.0
"""Of a panel, and its margins for the numbers, in the units of its picture."""
PANELS = {
    "loss": "Training loss",
    "val_err_positive": "Held-out denoising error, matching caption",
    "val_gap": "Held-out gap, mismatched minus matching caption",
    "val_win_rate": "Held-out pictures whose own caption wins",
}
Record = Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """One run's line."""

    run: int
    points: str
    """Of an SVG polyline."""
    text: str


@dataclass(frozen=True)
class Panel:
    title: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def panels_of(runs: Sequence[Viewed]) -> list[Panel]:
    """The panels that the reachable logs have data for."""
    logs = {number: list(_records(path)) for number, each in enumerate(runs) if (path := find_log(each))}
    return [panel for key, title in PANELS.items() if (panel := _panel(title, key, logs))]


def find_log(viewed: Viewed) -> Path | None:
    """The log of the very tokens that a run used, looked for where its commands say and beside the run."""
    folder = viewed.run.folder.resolve()
    for named in _named_tokens(viewed):
        places = [Path.cwd(), *list(folder.parents)[:3]]
        for tokens in [*(place / named for place in places), folder.parent / named.name]:
            if _is_of(tokens, viewed.run.manifest.spec.tokens):
                root = tokens if tokens.is_dir() else tokens.parent
                return next((path for name in (log.LOG_FILE, CURVE) if (path := root / name).is_file()), None)
    return None


def _named_tokens(viewed: Viewed) -> Iterator[Path]:
    for command in viewed.commands:
        try:
            words = shlex.split(command)
        except ValueError:
            continue
        for word, following in zip(words, [*words[1:], ""], strict=True):
            if word == "--tokens" or word.startswith("--tokens="):
                yield Path(word.partition("=")[2] or following)


def _is_of(path: Path, tokens: str | None) -> bool:
    try:
        return path.exists() and read_header(path).tokens_hash == tokens
    except (UserError, OSError):
        return False


def _records(path: Path) -> Iterator[Record]:
    """A line a step, or a block of steps where only these are kept."""
    if path.name == log.LOG_FILE:
        yield from log.read(path)
        return
    with readable(path, "Get it again, e.g. with git checkout."), path.open(encoding="utf-8", newline="") as stream:
        yield from ({key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream))


def _panel(title: str, key: str, logs: Mapping[int, Sequence[Record]]) -> Panel | None:
    lines = {run: line for run, records in logs.items() if len(line := _line(records, key))}
    if not lines:
        return None
    together = np.concatenate(list(lines.values()))
    x_ticks, y_ticks = _ticks(0.0, together[:, 0].max()), _ticks(together[:, 1].min(), together[:, 1].max())

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - 14) * step / x_ticks[-1]

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    curves = [
        Curve(
            run,
            " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line),
            f"{line[0, 1]:.3g} to {line[-1, 1]:.3g} after {line[-1, 0]:.0f} steps",
        )
        for run, line in lines.items()
    ]
    return Panel(
        title,
        tuple(curves),
        tuple((round(x(tick), 1), f"{tick:g}") for tick in x_ticks),
        tuple((round(y(tick), 1), f"{tick:.6g}") for tick in y_ticks),
    )


def _line(records: Sequence[Record], key: str) -> np.ndarray:
    """float64 [points, (step, value)]."""
    found = np.array([[record["step"], record[key]] for record in records if key in record], dtype=np.float64)
    found = found[np.isfinite(found).all(axis=1)] if len(found) else found
    blocks = np.array_split(found, min(len(found), POINTS)) if len(found) else []
    return np.array([block.mean(axis=0) for block in blocks])


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers around an interval."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** np.floor(np.log10(span / 3))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = np.floor(low / step), np.ceil(high / step)
    last += first == last
    return [float(round(number * step, 12)) for number in np.arange(first, last + 1)]
