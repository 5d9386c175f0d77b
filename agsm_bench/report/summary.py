"""Tables for the terminal: one run's summary, and two runs compared image by image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.geneval_prompts import TAGS
from agsm_bench.records import split_id
from agsm_bench.report.paired import (
    COUNT_ERRORS,
    FEW_PROMPTS,
    LABELS,
    Comparison,
    compare,
    describe_tokens,
    stamps,
)
from agsm_bench.stats import Interval, bootstrap_mean
from agsm_bench.store import interval_record

if TYPE_CHECKING:
    from rich.table import Table

Metric = Mapping[str, Any]
"""An entry of summary.json's `metrics`."""

MEASURES = {
    "shapes_clip/score": "shapes-clip ↑",
    "shapes_frechet": "Fréchet distance ↓",
    "denoising/err_positive": "denoising error ↓",
    "denoising/gap": "denoising error gap ↑",
}
"""Label by metric, of what is no share of images."""
SHARES = {
    "coco_val5k/scene": "caption shown ↑",
    "pie_bench/success": "edit made ↑",
    "pie_bench/kept": "edit made, rest kept ↑",
    "unigenbench/mean": "mean of dimensions ↑",
    "unigenbench/points": "test points ↑",
    "unigenbench/scene": "caption shown ↑",
}
"""Label by metric, of other benchmarks' shares of images or points; further ones have their own names."""
CHANGES = {"psnr": " dB", "ssim": "", "shapes_clip/lpips": ""}
"""Unit by metric, of what tells how far an image is from its reference."""
COUNTS = ("limited", "expected", "scored", "unscored")
UNKNOWN = "–"
WARNINGS = 8
"""Shown at most."""
VERDICTS = {
    "better": ("▲ better", "bold green"),
    "worse": ("▼ worse", "bold red"),
    "none": ("none seen", "dim"),
    "unknown": ("unknown", "dim"),
}
"""Word and style, so that colour alone never carries the meaning."""


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The table of one run; `summary` is what `Run.finalise` returns and summary.json holds."""
    metrics, run = summary["metrics"], summary["run"]
    strict = any(name.startswith("geneval/strict_") for name in metrics)
    made = [*_editor(run.get("editing") or {}), describe_tokens(run["tokens"])]
    table = _table(
        f"{run['benchmark']} on {run['backbone']}, {', '.join(made)}, domain {run['domain']}",
        [
            *stamps(*(summary[key] for key in ("limited", "expected", "scored", "unscored"))),
            *_first(summary.get("warnings", ())),
        ],
        ["Per cent (measures: in the scale of their tables), with 95% intervals."],
    )
    geneval = any(name.startswith("geneval/") for name in metrics)
    for head in ("task", "GenEval accuracy" if geneval else "per cent", *["exactly the scene"] * strict, "images"):
        table.add_column(head, justify="left" if head == "task" else "right")
    for key in (*TAGS, "mean"):
        if (found := metrics.get(f"geneval/{key}")) is not None:
            values = [found, *[metrics.get(f"geneval/strict_{key}")] * strict]
            last = key in ("color_attr", "mean")
            table.add_row(LABELS[key], *map(_value, values), str(found["n"]), end_section=last)
    _add_shares(table, metrics, run["benchmark"])
    _add_count_errors(table, metrics, strict)
    _add_measures(table, metrics, strict)
    return table


def _editor(editing: Mapping[str, Any]) -> list[str]:
    """What edited the pictures, and from which inversion; soft tokens on both branches need no word."""
    words = [str(editing[name]) for name in ("editor", "inversion") if name in editing]
    on = editing.get("tokens_on", "both")
    return words if on == "both" else [*words, f"tokens on the {on}"]


def _first(warnings: Sequence[str], where: str = "in summary.json") -> list[str]:
    """As many warnings as people read; a file of data can have hundreds of bad rows."""
    more = len(warnings) - WARNINGS
    return [*warnings[:WARNINGS], *([f"And {more} more, {where}."] if more > 0 else [])]


def results_table(name: str, metrics: Mapping[str, Interval], warnings: Sequence[str]) -> Table:
    """The table of a results file of GenEval's, with what is wrong with it above the accuracies."""
    table = _table(f"geneval, {name}", _first(warnings, "with --json"), ["Per cent, with 95% intervals."])
    for head in ("task", "GenEval accuracy", "images"):
        table.add_column(head, justify="left" if head == "task" else "right")
    for key in (*TAGS, "mean"):
        if found := metrics.get(f"geneval/{key}"):
            ends = key in ("color_attr", "mean")
            table.add_row(LABELS[key], _value(interval_record(found)), str(found.n), end_section=ends)
    return table


def comparison_table(base: Path, other: Path) -> Table:
    """The table of two run folders with their paired differences.

    Raises:
        UserError: the runs cannot be compared.
        MissingError: a folder is no run, or damaged.
    """
    from rich.text import Text

    found = compare(base, other)
    spec, names = found.base.run.manifest.spec, (found.base.label, found.other.label)
    title = f"{spec.benchmark} on {spec.backbone}, domain {spec.domain}: {names[1]} against {names[0]}"
    table = _table(title, found.stamps, notes(found))
    for head in ("per cent", *names, "difference, 95% interval", ""):
        table.add_column(Text(head), justify="left" if head in ("per cent", "") else "right")
    for block in found.blocks:
        table.add_row(Text(block.title, "bold"))
        for line in block.lines:
            values = percent(line.base.value), percent(line.other.value), difference(line.difference)
            last = line is block.lines[-1]
            table.add_row(f"  {line.label}", *values, Text(*VERDICTS[line.verdict]), end_section=last)
    return table


def notes(found: Comparison) -> Iterator[str]:
    """What a reader of the differences must know."""
    lines = [line for block in found.blocks for line in block.lines]
    yield (
        f"Both runs on the same {len(found.samples)} images. Difference: {found.other.label} minus "
        f"{found.base.label} in percentage points, paired by image; prompts are resampled."
    )
    yield (
        f"Of {len(lines)} differences about one in twenty excludes 0 by chance alone. The intervals do not "
        "cover the spread between training seeds."
    )
    if change := ", ".join(_change(found)):
        yield f"How far images of {found.other.label} are from their references (score --references): {change}."
    if few := dict.fromkeys(line.label for line in lines if line.difference.clusters < FEW_PROMPTS):
        yield f"Fewer than {FEW_PROMPTS} prompts, so the interval is too narrow: {', '.join(few)}."
    if found.differing:
        yield f"Besides the tokens, the runs differ in: {', '.join(found.differing)}."


def _change(found: Comparison) -> Iterator[str]:
    """Means of what compares each image with a reference, where the other run has it."""
    for name, unit in CHANGES.items():
        rows = {key: row[name].value for key, row in found.other.scores.items() if name in row}
        known = {key: value for key, value in rows.items() if value is not None}
        if known:
            mean = bootstrap_mean([*known.values()], [split_id(key)[0] for key in known])
            equal = f", {len(rows) - len(known)} images unscored" if len(rows) > len(known) else ""
            yield f"{name} {mean.value:.3g}{unit} ({mean.low:.3g}–{mean.high:.3g}{equal})"


def percent(value: float | None) -> str:
    """61.3; a dash for what is not known."""
    return UNKNOWN if value is None or not isfinite(value) else f"{100 * value:.1f}"


def points(value: float) -> str:
    """A difference in percentage points, with its sign."""
    if not isfinite(value):
        return UNKNOWN
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def difference(found: Interval) -> str:
    """A difference with its interval."""
    return f"{points(found.value)} ({points(found.low)} to {points(found.high)})"


def _add_shares(table: Table, metrics: Mapping[str, Metric], benchmark: str) -> None:
    """A benchmark's own shares, each over all images and then by kind; GenEval's have columns of their own."""
    own = [name for name in metrics if name.startswith(f"{benchmark}/") and "[" not in name]
    for name in sorted(own, key=lambda name: (name not in SHARES, name)) if benchmark != "geneval" else ():
        kinds = {key[len(name) + 1 : -1]: metrics[key] for key in metrics if key.startswith(f"{name}[")}
        label = SHARES.get(name, name.partition("/")[2])
        table.add_row(label, _value(metrics[name]), str(metrics[name]["n"]))
        for number, (kind, metric) in enumerate(kinds.items(), 1):
            row = f"  {kind.replace('_', ' ')}", _value(metric), str(metric["n"])
            table.add_row(*row, end_section=number == len(kinds))


def _add_count_errors(table: Table, metrics: Mapping[str, Metric], strict: bool) -> None:
    """Too many and too few objects: shares of images, under a heading of their own."""
    found = [(label, metrics.get(f"{name}_{tag}" if tag else name)) for name, label, tag in COUNT_ERRORS]
    present = [(label, metric) for label, metric in found if metric is not None]
    if present:
        table.add_row("images with ↓", "share", style="bold")
    for label, metric in present:
        table.add_row(label, _value(metric), *[""] * strict, str(metric["n"]))


def _add_measures(table: Table, metrics: Mapping[str, Metric], strict: bool) -> None:
    """What is no share, as it is, under a heading of its own."""
    present = [(label, metrics[name], 1.0) for name, label in MEASURES.items() if name in metrics]
    present += list(_image_metrics(metrics))
    if present:
        table.add_section()
        table.add_row("measures", "value", style="bold")
    for label, metric, scale in present:
        known = metric["value"] is not None
        value, low, high = (f"{scale * metric[key]:.3g}" if known else "" for key in ("value", "low", "high"))
        table.add_row(label, f"{value} ({low}–{high})" if known else UNKNOWN, *[""] * strict, str(metric["n"]))


def _image_metrics(metrics: Mapping[str, Metric]) -> Iterator[tuple[str, Metric, float]]:
    """Of those that `score --metrics` adds: label, entry, scale of the tables."""
    if set(metrics) - set(MEASURES):
        from agsm_bench.scoring.selection import known

        for name, metric in known().items():
            if name in metrics and name not in MEASURES:
                variant = metric.variants[name]
                yield f"{name} {'↑' if variant.better == 'up' else '↓'}", metrics[name], variant.table_scale


def _value(metric: Metric | None) -> str:
    if metric is None or metric["value"] is None:
        return UNKNOWN
    return f"{percent(metric['value'])} ({percent(metric['low'])}–{percent(metric['high'])})"


def _table(title: str, loud: Iterable[str], quiet: Iterable[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    said = [*(Text(line, "bold yellow") for line in loud), *(Text(line, "dim") for line in quiet)]
    table = Table(title=Text(title, "bold"), caption=Text("\n").join(said), box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    return table
