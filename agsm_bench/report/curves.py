"""A training log as small SVG curves, each for a light and a dark page."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.training import log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
Theme = Mapping[str, str]

# Okabe and Ito's palette, told apart by every kind of colour vision; lines also differ in marker and dash
LIGHT: Theme = {"ink": "#333333", "grid": "#dddddd", "first": "#0072B2", "second": "#D55E00"}
DARK: Theme = {"ink": "#d0d0d0", "grid": "#444444", "first": "#56B4E9", "second": "#E69F00"}
POINTS = 100
"""Points of the loss curve at most: each the mean of as many steps as that takes."""

MARKERS = 20
"""Markers of a line at most."""


@dataclass(frozen=True)
class Curve:
    """One panel."""

    title: str
    text: str
    """What it shows, in words: the picture's alternative text."""
    light: bytes
    """SVG."""
    dark: bytes


def training_curves(path: Path) -> list[Curve]:
    """The panels that a log has data for: loss, held-out errors, their gap, and the share of wins."""
    records = list(log.read(path))
    return [panel for panel in (_loss(records), *_validation(records)) if panel is not None]


def _loss(records: Sequence[Record]) -> Curve | None:
    if not records:
        return None
    steps, losses = (np.array([r[key] for r in records], dtype=np.float64) for key in ("step", "loss"))
    size = -(-len(losses) // POINTS)
    x, y = _block_means(steps, size), _block_means(losses, size)
    text = f"{y[0]:.3g} to {y[-1]:.3g} after {steps[-1]:.0f} steps"
    title = "Training loss" + (f", mean of {size} steps" if size > 1 else "")
    return _curve(title, text, lambda axes, theme: axes.plot(x, y, color=theme["first"]))


def _validation(records: Sequence[Record]) -> list[Curve | None]:
    points = [r for r in records if "val_err_positive" in r]
    errors = {"val_err_positive": "matching caption", "val_err_negative": "mismatched caption"}
    return [
        _lines("Held-out denoising error", points, errors),
        _lines("Held-out gap, mismatched minus matching", points, {"val_gap": "gap"}),
        _lines("Held-out pictures whose own caption wins", points, {"val_win_rate": "share"}),
    ]


def _lines(title: str, points: Sequence[Record], names: Mapping[str, str]) -> Curve | None:
    """A line a key, at most two; None where the log has no such values."""
    found = [record for record in points if all(key in record for key in names)]
    if not found:
        return None
    steps = [record["step"] for record in found]
    looks = [("first", "o-"), ("second", "s--")]
    text = "; ".join(f"{name} {found[0][key]:.3g} to {found[-1][key]:.3g}" for key, name in names.items())

    def draw(axes: Axes, theme: Theme) -> None:
        for (key, name), (color, form) in zip(names.items(), looks, strict=False):
            values, every = [record[key] for record in found], -(-len(found) // MARKERS)
            axes.plot(steps, values, form, color=theme[color], markersize=4, markevery=every, label=name)
        if len(names) > 1:
            axes.legend(frameon=False, labelcolor=theme["ink"], fontsize=9)

    return _curve(title, text, draw)


def _curve(title: str, text: str, draw: Callable[[Axes, Theme], Any]) -> Curve:
    return Curve(title, text, _svg(draw, LIGHT), _svg(draw, DARK))


def _svg(draw: Callable[[Axes, Theme], Any], theme: Theme) -> bytes:
    """The same bytes for the same log: no date, and ids from a fixed salt."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "agsm-bench", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.subplots()
        draw(axes, theme)
        axes.set_xlabel("step", color=theme["ink"])
        axes.tick_params(colors=theme["ink"])
        axes.grid(color=theme["grid"], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _block_means(values: np.ndarray, size: int) -> np.ndarray:
    starts = np.arange(0, len(values), size)
    return np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
