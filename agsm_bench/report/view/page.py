"""The page itself: templates filled, style sheet and script put in, and a policy that allows these two alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from math import ceil, isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agsm_bench.report.pages import environment
from agsm_bench.report.paired import LABELS, describe_tokens
from agsm_bench.report.summary import VERDICTS
from agsm_bench.report.view.chunks import INDEX_ROWS, ROWS
from agsm_bench.report.view.curves import HEIGHT, LEFT, WIDTH, panels_of
from agsm_bench.report.view.loading import Shown, Viewed
from agsm_bench.report.view.metrics import Metric
from agsm_bench.report.view.numbers import tables_of, verdict_of, wholes_of

SCRIPTS = ("dom", "data", "filters", "cards", "dialog", "main")
"""Of `static/`, in the order of their use."""
COLORS = 6
"""Runs that have a colour of their own."""


def render(shown: Shown, folder: Path) -> str:
    """The text of `index.html`, which will lie in `folder`."""
    templates = environment(
        "agsm_bench.report.view",
        describe_tokens=describe_tokens,
        pretty=_pretty,
        brief=_brief,
        settings=asdict,
        task=_task,
        known=lambda interval: isfinite(interval.low),
    )
    tables = tables_of(shown)
    return templates.get_template("view.html").render(
        title=_title(shown),
        shown=shown,
        spec=shown.spec,
        tables=tables,
        wholes=wholes_of(shown),
        stamps=_stamps(shown),
        same_noise=not {"backbone", "size", "seed"} & set(shown.differing),
        panels=panels_of(shown.runs),
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT},
        words={key: word for key, (word, _) in VERDICTS.items()},
        verdict_of=verdict_of,
        colors=COLORS,
        meta=_meta(shown, folder),
        ranges=_ranges(shown),
        css=_static("view.css"),
        script="(() => {\n\"use strict\";\n" + "\n".join(_static(f"{name}.js") for name in SCRIPTS) + "})();\n",
    )  # fmt: skip


def _title(shown: Shown) -> str:
    spec, labels = shown.spec, [each.label for each in shown.runs]
    what = f"{spec.benchmark} on {spec.backbone}" if "backbone" not in shown.differing else spec.benchmark
    return f"{what}: {' · '.join(labels)}"


def _meta(shown: Shown, folder: Path) -> dict[str, Any]:
    """What the script has to know before any data."""
    return {
        "samples": len(shown.samples),
        "indexFiles": ceil(len(shown.samples) / INDEX_ROWS),
        "rowsPerFile": ROWS,
        "runs": [{"label": each.label, "images": _images(each, folder)} for each in shown.runs],
        "tags": [{"name": tag, "label": _task(tag)} for tag in shown.tags],
        "metrics": [
            {"name": m.name, "label": m.label, "better": m.better, "verdict": m.name in shown.verdicts}
            for m in shown.metrics
        ],
        "verdicts": [[m.name for m in shown.metrics].index(name) for name in shown.verdicts],
        "given": "source" if shown.benchmark.edits else "reference",
    }


def _stamps(shown: Shown) -> dict[str, list[str]]:
    """What must be said loudly, each thing once with the labels of the runs that it is true of."""
    found: dict[str, list[str]] = {}
    for each in shown.runs:
        for stamp in each.stamps:
            found.setdefault(stamp, []).append(each.label)
    return found


def _images(each: Viewed, folder: Path) -> str:
    """The address of a run's images from the page; whatever its folders are called."""
    path = Path(os.path.relpath(each.run.folder.resolve() / "images", folder.resolve()))
    return "/".join(quote(part, safe="") for part in path.parts) + "/"


def _ranges(shown: Shown) -> Sequence[tuple[Metric, str]]:
    """Each metric with the range of its values, in words."""
    found = []
    for metric in shown.metrics:
        rows = (row.get(metric.name) for each in shown.runs for row in each.values.values())
        values = [metric.scale_shown * value for value in rows if value is not None]
        found.append((metric, f"{min(values):.3g} to {max(values):.3g}" if values else "no values"))
    return found


def _task(tag: str) -> str:
    return LABELS.get(tag, tag.replace("_", " ")) or "(none)"


def _brief(value: Any) -> str:
    """A hash by its beginning."""
    text = "–" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _static(name: str) -> str:
    return (files("agsm_bench.report.view") / "static" / name).read_text(encoding="utf-8")
