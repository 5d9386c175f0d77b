"""What a page has to know of a metric by its name: label, direction, scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from agsm_bench.geneval import CORRECT, STRICT, TOO_FEW, TOO_MANY
from agsm_bench.report import runs, summary

LABELS = {
    CORRECT: "GenEval accuracy",
    STRICT: "exactly the scene",
    TOO_MANY: "too many objects",
    TOO_FEW: "too few objects",
    "denoising/err_negative": "denoising error, other captions",
    "denoising/win_rate": "own caption has the least error",
} | {name: label.rstrip(" ↑↓") for name, label in (summary.SHARES | summary.MEASURES).items()}
DOWN = {TOO_MANY, TOO_FEW, *(name for name, label in summary.MEASURES.items() if label.endswith("↓"))}
NEITHER = {"denoising/err_negative"}
"""Of no direction."""
VERDICTS = (CORRECT, "coco_val5k/scene", "pie_bench/success", "unigenbench/scene")
"""What says of an image whether it is right, where a benchmark has several such metrics."""


@dataclass(frozen=True)
class Metric:
    """A metric of single images, or of a run as a whole."""

    name: str
    label: str
    better: Literal["up", "down", ""]
    """Empty: neither."""
    scale: float
    """Raw value x this = the tables'."""
    unit: str

    def shown(self, value: float | None) -> str:
        """A value in the tables' scale; a dash for what is not known."""
        return summary.UNKNOWN if value is None or not isfinite(value) else self._rounded(value)

    def signed(self, value: float) -> str:
        """A difference."""
        if not isfinite(value):
            return summary.UNKNOWN
        text = self._rounded(value)
        if not float(text):
            return text.lstrip("-")
        return text.replace("-", "−") if value < 0 else f"+{text}"

    @property
    def scale_shown(self) -> float:
        """Of single images, where a share is 0 or 1 and no per cent."""
        return 1.0 if self.unit == "%" else self.scale

    @property
    def arrow(self) -> str:
        return {"up": "↑", "down": "↓", "": ""}[self.better]

    def _rounded(self, value: float) -> str:
        scaled = self.scale * value
        return f"{scaled:.1f}" if self.unit == "%" else f"{scaled:.3g}"


def metrics_of(names: Collection[str], first: Collection[str]) -> list[Metric]:
    """The metrics by name, those in `first` in front."""
    ahead = [name for name in first if name in names]
    return [metric_of(name) for name in [*ahead, *sorted(set(names) - set(ahead))]]


def metric_of(name: str) -> Metric:
    """A metric by its name in `scores.jsonl` or `summary.json`."""
    from agsm_bench.scoring.selection import known

    plugin = known().get(name)
    label = LABELS.get(name, name.partition("/")[2].replace("_", " ") if name.startswith(runs.SHARES) else name)
    if plugin is not None:
        variant = plugin.variants[name]
        return Metric(name, label, variant.better, variant.table_scale, "")
    share = name.startswith(runs.SHARES)
    better: Literal["up", "down", ""] = "down" if name in DOWN else "" if name in NEITHER else "up"
    return Metric(name, label, better, 100.0 if share else 1.0, "%" if share else "")


def verdicts_of(metrics: Collection[Metric], values: Mapping[str, Collection[float]]) -> list[str]:
    """Names of the metrics that say right or wrong, the benchmark's own in front.

    Args:
        metrics: those of the page.
        values: what there is of each, by name.
    """
    binary = [m.name for m in metrics if m.unit == "%" and m.better == "up" and set(values[m.name]) <= {0.0, 1.0}]
    return sorted(binary, key=lambda name: VERDICTS.index(name) if name in VERDICTS else len(VERDICTS))
