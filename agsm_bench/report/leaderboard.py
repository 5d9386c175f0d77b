"""Many runs in one sorted table: training seeds merged, and what does not differ from the first beyond noise marked.

A row is a model: a backbone with its weights and soft tokens, whatever their training seeds. Rows are tied with the
first where the paired difference is not shown, by Holm's correction over all rows at 5%; what training seeds contribute
has the variance that all rows have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from agsm_bench.baseline import joined
from agsm_bench.compare import check_names
from agsm_bench.differences import paired, spread_of
from agsm_bench.distances import NotComparableError
from agsm_bench.errors import UserError
from agsm_bench.hypotheses import holm, pooled
from agsm_bench.identity import canonical_json
from agsm_bench.measured import (
    IMAGES_CORRECT,
    Direction,
    Measured,
    directions,
    prompt_tags,
    quantities,
    read_run,
    without_seeds,
)
from agsm_bench.report.runs import Cell, combine
from agsm_bench.report.runs import read_run as read_summary

Tie = Literal["first", "tied", "apart", "unknown"]
LEVEL = 0.05
ALIKE = ("domain", "benchmark", "seed", "images_per_prompt", "size")
"""Of the spec: what all runs of a table share."""
SETTINGS = ("steps", "guidance_scale", "unconditional", "editing")
"""What may differ, and is said."""


@dataclass(frozen=True)
class Row:
    """A model."""

    rank: int
    label: str
    folders: tuple[Path, ...]
    cells: Mapping[str, Cell]
    """By metric, over the seeds."""
    tie: Tie


@dataclass(frozen=True)
class Leaderboard:
    """The table."""

    benchmark: str
    domain: str
    metric: str
    """That it is sorted by."""
    better: Mapping[str, Direction]
    """Of every metric that is shown, that one first."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def leaderboard(folders: Sequence[Path], metric: str | None = None, *, merge: bool = True) -> Leaderboard:
    """Ranks runs.

    Args:
        folders: of runs, with or without their images.
        metric: what to sort by, as summary.json names it; None: the benchmark's main one.
        merge: whether training seeds become one row.

    Raises:
        UserError: the runs are of other benchmarks, domains or prompts, or lack the metric.
        MissingError: a folder is no run, or damaged.
    """
    runs = [read_run(folder) for folder in dict.fromkeys(folders)]
    _check_alike(runs)
    models = _models(runs) if merge else [(run,) for run in runs]
    found = [joined(model) for model in models]
    shared = [name for name in runs[0].summaries[0] if all(name in run.summaries[0] for run in runs)]
    better = {name: way for name, way in directions(shared, runs[0].spec).items() if way != "neither"}
    chosen = metric or _main(list(better), runs[0])
    check_names([chosen], list(better))
    cells = [_cells(model, list(better)) for model in models]
    sign = 1 if better[chosen] == "down" else -1
    order = sorted(range(len(found)), key=lambda i: (sign * cells[i][chosen].value, found[i].name))
    ties = _ties([found[i] for i in order], chosen)
    labels = _labels(found)
    rows = [
        Row(rank, labels[i], tuple(Path(run.name) for run in models[i]), cells[i], tie)
        for rank, (i, tie) in enumerate(zip(order, ties, strict=True), 1)
    ]
    group = chosen.partition("/")[0]
    others = sorted(
        (n for n in better if n != chosen and _is_whole(n)), key=lambda n: (n.partition("/")[0] != group, n)
    )
    shown = {name: better[name] for name in (chosen, *others)}
    return Leaderboard(runs[0].spec.benchmark, runs[0].spec.domain, chosen, shown, tuple(rows), tuple(_notes(found)))


def _check_alike(runs: Sequence[Measured]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for name in ALIKE:
            ours, theirs = getattr(first.spec, name), getattr(run.spec, name)
            if ours != theirs:
                raise UserError(
                    f"The runs are of no one table: the {name} of {first.name} is {ours!r}, that of {run.name} "
                    f"{theirs!r}.",
                    f"Make one table for each {name}.",
                )
        if (run.limited, run.prompts) != (first.limited, first.prompts):
            raise UserError(f"{first.name} and {run.name} asked other prompts.", "Name whole runs of one version.")


def _models(runs: Iterable[Measured]) -> list[tuple[Measured, ...]]:
    """Runs that differ in their training seeds alone, together."""
    found: dict[str, list[Measured]] = {}
    for run in runs:
        spec = asdict(run.spec) | {"tokens": None, "weights": None if run.trainings[0] else run.spec.weights}
        found.setdefault(canonical_json([spec, without_seeds(run.trainings[0])]), []).append(run)
    return [tuple(own) for own in found.values()]


def _main(names: Sequence[str], run: Measured) -> str:
    """GenEval's mean, else the benchmark's own first metric, else any."""
    benchmark = run.spec.benchmark
    own = [name for name in names if name.startswith(f"{benchmark}/")]
    wanted = ("geneval/mean", f"geneval/{benchmark}", IMAGES_CORRECT, *own, *names)
    choices = [name for name in wanted if name in names]
    if not choices:
        raise UserError("The runs have no metric in common.", "Score them with this version: agsm-bench score RUN")
    return choices[0]


def _cells(model: Sequence[Measured], names: Sequence[str]) -> dict[str, Cell]:
    summaries = [read_summary(Path(run.name)).cells for run in model]
    return {name: combine(name, [cells[name] for cells in summaries]) for name in names}


def _ties(models: Sequence[Measured], metric: str) -> list[Tie]:
    """Of each model against the first, in the order of the table."""
    first, tags = models[0], prompt_tags(models[0].spec, models[0].samples)
    quantity = quantities(first.columns, tags).get(metric)
    p_values: dict[int, float] = {}
    if quantity:
        own = [model.columns[quantity.column] for model in models if quantity.column in model.columns]
        spread = pooled([spread_of(quantity, column, tags) for column in own])
        for index, model in enumerate(models[1:], 1):
            with suppress(NotComparableError):
                found = paired(quantity, model, first, tags, spread).effect
                p_values[index] = min(1.0, 2 * min(found.p_above(0.0), found.p_below(0.0)))
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    ties: list[Tie] = ["first"]
    for index in range(1, len(models)):
        p_value = adjusted.get(index)
        ties.append("unknown" if p_value is None else "apart" if p_value <= LEVEL else "tied")
    return ties


def _labels(models: Sequence[Measured]) -> list[str]:
    """Backbone and trainers, with the options in which a model differs from most of the same ones."""
    plain, options = [_label(model) for model in models], [_options(model) for model in models]
    labels = []
    for label, own in zip(plain, options, strict=True):
        alike = [other for name, other in zip(plain, options, strict=True) if name == label]
        rare = [key for key in own if sum(each.get(key) == own[key] for each in alike) <= len(alike) / 2]
        words = ", ".join(f"{key.rpartition('.')[2]} {own[key]}" for key in rare if len(alike) > 1)
        labels.append(f"{label} ({words})" if words else label)
    named = zip(labels, models, strict=True)
    return [f"{label} [{Path(model.name).name}]" if labels.count(label) > 1 else label for label, model in named]


def _options(model: Measured) -> dict[str, Any]:
    """What a model is, besides its backbone, trainers and training seeds."""
    spec = {name: getattr(model.spec, name) for name in SETTINGS}
    return _flat(spec) | _flat(without_seeds(model.trainings[0]))


def _label(model: Measured) -> str:
    training = model.trainings[0] or {}
    made = [training[key]["trainer"] for key in ("variant", "tokens") if training.get(key)]
    return " + ".join([model.spec.backbone, *made])


def _flat(values: Mapping[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in (values or {}).items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _is_whole(name: str) -> bool:
    """No tag's part: the table has a column for each of the others."""
    parts = ("[", "_counting", "_correct")
    mean = name.rpartition("/")[2] in ("mean", "strict_mean")
    return mean or not (any(part in name for part in parts) or name.startswith("geneval/"))


def _notes(models: Sequence[Measured]) -> Iterable[str]:
    if models[0].limited:
        yield f"LIMITED RUNS of {len(models[0].samples)} images: not results of the whole benchmark."
    if differing := [name for name in SETTINGS if len({str(getattr(m.spec, name)) for m in models}) > 1]:
        yield f"The runs differ in: {', '.join(differing)}."
    yield (
        "95% intervals: a bootstrap over prompts and, of several training seeds, Student's interval of their mean. "
        "=: not shown to differ from the first (paired by image, Holm at 5%). ?: not tested, as single values are not "
        "kept."
    )
