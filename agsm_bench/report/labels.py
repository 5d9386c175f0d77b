"""Names beside the points of a plot, where they hide nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.report.drawing import INK, PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

Place = tuple[float, float]
GAPS = (3, 6, 10, 15, 21, 28, 36, 45)
"""Between a name and its point, in pt."""
DIRECTIONS = 24
MARKER = 4
"""Half of a marker's width, in pt."""
APART = 3
"""Between two names, in pt."""
NAME, MARK, BAR = 1000, 100, 15
"""What hiding another name, or leaving the axes, costs; a marker; a bar: each in pt of distance."""


def annotate(
    axes: Axes, names: Mapping[str, Place], marks: Sequence[Place], bars: Sequence[tuple[Place, Place]]
) -> list[Annotation]:
    """Names points, one after the other where it costs least; a thin line leads from a name to its point.

    Args:
        axes: with everything else drawn and laid out.
        names: name -> point, in data coordinates.
        marks: the middles of markers that are not to be hidden.
        bars: the ends of lines that are better not hidden.
    """
    from matplotlib.text import Text

    pt = axes.figure.dpi / 72
    taken = [(*_box(axes, mark, mark, MARKER * pt), MARK) for mark in marks]
    taken += [(*_box(axes, *bar, pt), BAR) for bar in bars]
    made = []
    for name, place in names.items():
        line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.5, "shrinkA": 0, "shrinkB": MARKER - 1}
        middle: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
        text = axes.annotate(name, place, (0, 0), fontsize=PT, color=INK, arrowprops=line, **middle)
        text.set_in_layout(False)
        # of the letters alone: an annotation's extent has its line, too
        letters = Text.get_window_extent(text)
        half, point = np.array([letters.width, letters.height]) / 2, axes.transData.transform(place)
        offset = _cheapest(axes, point, half, pt, np.array(taken))
        text.set_position(tuple(offset / pt))
        margin = half + APART * pt
        taken.append((*(point + offset - margin), *(point + offset + margin), NAME))
        made.append(text)
    return made


def _cheapest(axes: Axes, place: np.ndarray, half: np.ndarray, pt: float, taken: np.ndarray) -> np.ndarray:
    """The way to move a name off its point, in pixels.

    Args:
        axes: that it is to stay in.
        place: the point, in pixels.
        half: of the name's width and height.
        pt: pixels of one.
        taken: [boxes, (left, bottom, right, top, cost)].
    """
    turns = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    offsets = np.concatenate([(half + gap * pt) * circle for gap in GAPS])
    low, high = place + offsets - half, place + offsets + half
    outside = (low < axes.bbox.min).any(axis=1) | (high > axes.bbox.max).any(axis=1)
    hides = ((low[:, None] < taken[:, 2:4]) & (high[:, None] > taken[:, :2])).all(axis=2)
    return offsets[np.argmin(np.repeat(GAPS, DIRECTIONS) + NAME * outside + hides @ taken[:, 4])]


def _box(axes: Axes, start: Place, end: Place, margin: float) -> tuple[float, ...]:
    """Left, bottom, right and top in pixels."""
    corners = axes.transData.transform([start, end])
    return (*(corners.min(axis=0) - margin), *(corners.max(axis=0) + margin))
