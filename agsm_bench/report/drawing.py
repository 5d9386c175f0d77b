"""What all figures share: size, looks, labels, and files that are the same bytes for the same runs.

Figures are as wide as the text of a two-column paper, so their letters have their printed size: 8 pt and more. Series
differ in colour (Okabe and Ito's, told apart by every kind of colour vision), and in marker, dash or hatch as well,
which is what is left of them in greyscale.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.jsonl import write_named
from agsm_bench.report.points import Point, Source, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
WIDTH = 6.9
"""Inches."""
COLUMNS = 112
"""Letters of a note's line at that width."""
PT = 8
"""Of the smallest letters."""
INK, GRID = "#333333", "#dddddd"
PAIRED = "Runs share prompts and noise: differences are known more closely than that (agsm-bench claims)."
STYLE: dict[Any, Any] = {
    "font.size": PT,
    "axes.titlesize": PT + 1,
    "axes.labelsize": PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.06,
    "pdf.fonttype": 42,
    "svg.hashsalt": "agsm-bench",
}


@dataclass(frozen=True)
class Look:
    """Of a series, the same in every figure."""

    color: str
    marker: str
    dash: str
    hatch: str = ""
    fill: str = ""
    """Of bars; empty: the colour."""


LOOKS: Mapping[str, Look] = {
    "no tokens": Look("#777777", "o", ":", fill="#c8c8c8"),
    "SoftREPA": Look("#D55E00", "s", "--", "////"),
    "AGSM": Look("#0072B2", "^", "-"),
    "CaPO": Look("#E69F00", "D", "-.", "...."),
    "RankDPO": Look("#56B4E9", "v", "-.", "\\\\\\\\"),
}


@dataclass(frozen=True)
class Axis:
    """What a direction shows."""

    metric: str
    """Of `summary.json`, or a column's key."""
    label: str
    scale: float = 1.0
    """A value x this is drawn."""

    def of(self, value: Value) -> float:
        """Where it is drawn."""
        return self.scale * value.number

    def ends(self, value: Value) -> tuple[float, float] | None:
        """Where its interval is drawn; None where it has none."""
        return None if value.low is None or value.high is None else (self.scale * value.low, self.scale * value.high)


def panel_title(name: str, source: Source) -> str:
    """Says of what pictures a panel is: published and measured values are never of the same."""
    return f"{name}: {'published (photos)' if source == 'published' else 'measured (shapes)'}"


@contextmanager
def sheet(path: Path, title: str, height: float, note: str = "") -> Iterator[Figure]:
    """A figure that is written to `path`, by its suffix as PNG, SVG or PDF.

    Args:
        path: the file.
        title: for the file's metadata.
        height: in inches.
        note: below the panels.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # not as this machine's matplotlibrc would have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        if note:
            lines = "\n".join(textwrap.fill(line, COLUMNS) for line in note.splitlines())
            figure.supxlabel(lines, x=0.01, ha="left", fontsize=PT, color=INK, linespacing=1.4)
        yield figure
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
        stream = io.BytesIO()
        figure.savefig(stream, format=path.suffix[1:], dpi=300, metadata={"Title": title, **undated})
        write_named(path, stream.getvalue())


def whisker(axes: Axes, x: float, axis: Axis, value: Value, color: str) -> None:
    """A value's interval, seen on a dark bar, too; nothing where it has none."""
    if ends := axis.ends(value):
        for ink, width in (("white", 2.2), (color, 1.0)):
            axes.plot([x, x], ends, color=ink, linewidth=width, zorder=2, solid_capstyle="butt")


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One for all panels, above them."""
    found = [pair for each in axes for pair in zip(*each.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in reversed(found)}
    order = [name for name in LOOKS if name in handles]
    if order:
        names = [handles[name] for name in order], order
        figure.legend(*names, loc="outside upper center", ncols=len(order), fontsize=PT + 1)


def missing_note(points: Sequence[Point], fill: str) -> str:
    """Which panels lack points, and the command that measures them; empty where none does."""
    lacking = []
    for panel in dict.fromkeys(point.panel for point in points if point.missing):
        own = [point for point in points if point.panel == panel and point.source == "measured"]
        lacking.append(f"{panel} ({sum(point.missing for point in own)} of {len(own)} points)")
    return f"Not measured yet: {'; '.join(lacking)}.\nTo measure: {fill}" if lacking else ""


def empty(axes: Axes, fill: str) -> None:
    """Says in a panel without any point how to get them."""
    text = f"not measured yet:\n{textwrap.fill(fill, 40)}"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)
    axes.set(xticks=[], yticks=[])
