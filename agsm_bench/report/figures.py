"""The paper's Figure 4 from our runs: alignment and training loss over the steps of long trainings.

`results/tables/figure_NN.toml` names the lines; a point is filled as a table's row is, by the runs of its settings.
The loss comes from the training's own log, or from what is kept of it (`agsm_bench.report.evidence`).
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

from agsm_bench.errors import UserError
from agsm_bench.folders import read_json
from agsm_bench.report.evidence import AGAIN, CURVE, curve_of
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.recipes import Recipe, Training, training_differences
from agsm_bench.report.runs import REPRODUCED, Cell, Run, combine
from agsm_bench.report.tables import chosen
from agsm_bench.training import log
from agsm_bench.training.run import CONFIG_FILE

NUMBERS = (4,)
SMOOTH = 10
"""Lines of a log behind a point of the drawn loss: a single one hangs on the timesteps that it happened to draw."""
Loss = tuple[tuple[int, float], ...]
"""(step, mean loss since the line before)."""


@dataclass(frozen=True)
class Line:
    """A training whose tokens are evaluated along the way."""

    label: str
    points: tuple[tuple[int, Recipe], ...]
    """Steps from 0 (the backbone alone) and what is evaluated there."""


@dataclass(frozen=True)
class Figure:
    number: int
    title: str
    metric: str
    label: str
    """Of the metric."""
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Measured:
    """What the runs say of a line."""

    line: Line
    cells: tuple[tuple[int, Cell], ...]
    """Steps that were measured, each with the mean over its seeds."""
    losses: Mapping[str, Loss]
    """By the name of the training's folder, one a seed."""


def load_figure(number: int) -> Figure:
    """A figure that ships.

    Raises:
        UserError: no runs make it.
        MissingError: its file is damaged.
    """
    if number not in NUMBERS:
        raise UserError(
            f"No runs make Figure {number}.", f"Figures that runs make: {', '.join(map(str, (*NUMBERS, 5)))}."
        )
    path = results_dir() / "tables" / f"figure_{number:02d}.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        lines = tuple(_line(spec, data) for spec in data["lines"])
        return Figure(number, data["title"], data["metric"], data["label"], lines)


def measure(figure: Figure, runs: Sequence[Run]) -> list[Measured]:
    """The points and losses that are there."""
    return [Measured(line, _cells(line, figure.metric, runs), _losses(line)) for line in figure.lines]


def to_csv(metric: str, measured: Sequence[Measured]) -> str:
    """Every point of both panels, one a line; of a loss there is the value alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["line", "quantity", "step", "value", "low", "high", "runs", "images"])
    for each in measured:
        for step, cell in each.cells:
            writer.writerow([each.line.label, metric, step, cell.value, cell.low, cell.high, cell.runs, cell.n])
        for name, loss in each.losses.items():
            writer.writerows([each.line.label, f"loss of {name}", step, value, "", "", 1, ""] for step, value in loss)
    return text.getvalue()


def draw(figure: Figure, measured: Sequence[Measured], path: Path) -> None:
    """Two panels, by the suffix of `path` as PNG, SVG or PDF; the same bytes for the same runs."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    from agsm_bench.report.curves import LIGHT

    # a third line is an error until it has a look of its own
    looks = [(LIGHT["first"], "o-"), (LIGHT["second"], "s--")]
    with matplotlib.rc_context({"svg.hashsalt": "agsm-bench", "font.size": 10}):
        canvas = Canvas(figsize=(9.6, 3.6), layout="constrained")
        left, right = canvas.subplots(1, 2)
        for each, (color, form) in zip(measured, looks[: len(measured)], strict=True):
            steps = [step for step, _ in each.cells]
            values = [100 * cell.value for _, cell in each.cells]
            left.plot(steps, values, form, color=color, label=each.line.label)
            bounds = ([100 * getattr(cell, end) for _, cell in each.cells] for end in ("low", "high"))
            left.fill_between(steps, *bounds, color=color, alpha=0.15, linewidth=0)
            mean, *seeds = smoothed(list(each.losses.values())) or [()]
            for loss in seeds:
                right.plot(*zip(*loss, strict=True), color=color, alpha=0.35, linewidth=0.8)
            if mean:
                right.plot(*zip(*mean, strict=True), form[1:], color=color, label=each.line.label)
        for axes, name in ((left, f"{figure.label} (%)"), (right, "Training loss, relative to its start")):
            axes.set_title(name, fontsize=10)
            axes.set_xlabel("step")
            axes.grid(color=LIGHT["grid"], linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
            else:
                axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center")
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
        canvas.savefig(path, dpi=150, metadata=metadata)


def smoothed(losses: Sequence[Loss]) -> list[Loss]:
    """The mean over the seeds, then each seed's: means over blocks of lines, relative to the first block of all."""
    losses = [loss for loss in losses if loss]
    if not losses:
        return []
    rows = [[loss[start : start + SMOOTH] for start in range(0, len(loss), SMOOTH)] for loss in losses]
    seeds = [[(block[-1][0], fmean(value for _, value in block)) for block in row] for row in rows]
    # of a training that still runs the last block is not full: the mean ends before it
    alike = takewhile(lambda points: len({step for step, _ in points}) == 1, zip(*seeds, strict=False))
    mean = [(points[0][0], fmean(value for _, value in points)) for points in alike]
    start = (mean or seeds[0])[0][1] or 1.0
    return [tuple((step, value / start) for step, value in row) for row in (mean, *seeds)]


def _line(spec: Mapping[str, Any], data: Mapping[str, Any]) -> Line:
    evaluation, benchmark = data.get("evaluation", {}), data["benchmark"]
    points = [(0, recipe_of({**data["base"], "evaluation": evaluation}, benchmark))]
    for steps in data["steps"]:
        settings = {"options": spec.get("options", {}) | {"steps": steps}, "evaluation": evaluation}
        if not isinstance(steps, int):
            raise ValueError(f"steps = {steps!r}")
        points.append((steps, recipe_of({**spec, **settings}, benchmark)))
    return Line(spec["label"], tuple(points))


def _cells(line: Line, metric: str, runs: Sequence[Run]) -> tuple[tuple[int, Cell], ...]:
    found = [
        (step, [r.cells[metric] for r in chosen(recipe, runs) if metric in r.cells]) for step, recipe in line.points
    ]
    return tuple((step, combine(metric, cells)) for step, cells in found if cells)


def _losses(line: Line) -> dict[str, Loss]:
    """Of the line's longest training, each seed's."""
    longest = line.points[-1][1].tokens
    roots = (Path("runs"), REPRODUCED, results_dir() / "runs")
    folders = [path.parent for root in roots for path in sorted(root.glob(f"*/{CONFIG_FILE}"))]
    found = {seed: folder for folder in reversed(folders) if longest and (seed := _seed(longest, folder)) is not None}
    return {found[seed].name: _loss(found[seed]) for seed in sorted(found)}


def _seed(training: Training, folder: Path) -> int | None:
    """The seed of a folder's training; None where it is another training than asked."""
    path, fix = folder / CONFIG_FILE, f"Delete {folder} to train again."
    with readable(path, fix):
        record = read_json(path, fix).get("training", {})
        made_by = (record.get("trainer"), record.get("backbone"))
        if made_by != (training.trainer, training.backbone) or training_differences(training, record):
            return None
        return int(record.get("seed", 0))


def _loss(folder: Path) -> Loss:
    kept = (folder / CURVE).is_file()
    path = folder / (CURVE if kept else log.LOG_FILE)
    with readable(path, AGAIN if kept else f"Delete {folder} to train again."):
        text = path.read_text(encoding="utf-8") if kept else curve_of(list(log.read(path)))
        return tuple((int(row["step"]), float(row["loss"])) for row in csv.DictReader(io.StringIO(text)))
