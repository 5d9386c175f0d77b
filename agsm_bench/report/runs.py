"""Runs as their summaries tell of them, and whether they are what a row asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import fsum, hypot, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from agsm_bench.errors import MissingError
from agsm_bench.identity import canonical_json
from agsm_bench.report.files import readable, results_dir
from agsm_bench.report.recipes import (
    Recipe,
    Training,
    editor_of,
    flat_editing,
    model_differences,
    pairs_differences,
    sampling_differences,
    training_differences,
)
from agsm_bench.student import student
from agsm_bench.summary_file import SEAL, SUMMARY, UNSEALED, read_summary

REPRODUCED = Path("runs/reproduce")
"""Where `agsm-bench reproduce` puts its runs."""
SAMPLING = ("weights", "guidance_scale", "steps", "size", "images_per_prompt", "unconditional")
"""What a run's images depend on besides seeds and soft tokens; `RunSpec` has the meanings."""
SHARES = ("geneval/", "shapes/too_", "denoising/win_rate", "coco_val5k/", "pie_bench/", "unigenbench/")
"""Metrics between 0 and 1, by the beginning of their names."""


@dataclass(frozen=True)
class Cell:
    """A measured value."""

    value: float
    low: float
    high: float
    n: int
    """Number of images of one run."""
    clusters: int
    runs: int = 1
    interval: Literal["bootstrap95", "seeds95"] = "bootstrap95"

    def scaled(self, scale: float) -> Cell:
        """The value and its interval times `scale`."""
        return replace(self, value=scale * self.value, low=scale * self.low, high=scale * self.high)


@dataclass(frozen=True, eq=False)
class Run:
    folder: Path
    benchmark: str
    domain: str
    backbone: str
    variant: str | None
    """The trainer that fine-tuned the backbone, None for its own weights."""
    trainer: str | None
    identity: str
    sampling: Mapping[str, Any]
    tokens: Mapping[str, Any]
    """What the soft tokens are, apart from their seed and hash."""
    seeds: tuple[int, int]
    """Of the training and of the evaluation. Of a variant with soft tokens the tokens' own, which is to be the
    variant's, too; 0 without a training."""
    expected: int
    """Number of images."""
    limited: bool
    """Whether that is less than the benchmark."""
    incomplete: str
    """What is lacking; empty where nothing is."""
    unscored: int
    cells: Mapping[str, Cell]
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """What the variant is, with its seed and hash; empty for the backbone's own weights."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Which models a backbone of photographs was made of; empty on shapes."""
    warnings: tuple[str, ...] = ()
    """Of metrics, e.g. of a distance between too few images."""

    @property
    def pairs(self) -> str:
        """Hash of the preference pairs behind the variant; empty without one."""
        return str(self.tuning.get("preferences", ""))

    @property
    def trouble(self) -> str:
        """Why it may not enter a table of whole runs; empty when it may."""
        return "limited" if self.limited else self.incomplete


def find_runs(extra: Sequence[Path] = ()) -> list[Run]:
    """The runs given, those below `./runs` and `./runs/reproduce`, and the ones that ship, each identity once."""
    for folder in extra:
        if not (folder / SUMMARY).is_file():
            raise MissingError(f"{folder} has no summary.json.", "Name a folder that agsm-bench eval wrote.")
    roots = (Path("runs"), REPRODUCED, results_dir() / "runs")
    found = [path.parent for root in roots for path in sorted(root.glob("*/summary.json"))]
    runs: dict[tuple[str, str | None, str, bool], Run] = {}
    for run in map(read_run, [*extra, *found]):
        # a limited run must not hide the complete one of the same identity, nor a trainer another one whose tokens
        # came out the same (positive pairs alone, and AGSM with gamma- = 0)
        runs.setdefault((run.identity, run.trainer, canonical_json(run.tokens), bool(run.trouble)), run)
    return list(runs.values())


def read_run(folder: Path) -> Run:
    """A run folder's summary. Raises MissingError where it is absent, damaged or edited by hand."""
    data = read_summary(folder)
    with readable(folder / SUMMARY, f"Score the run again: agsm-bench score {folder}"):
        run, tokens = data["run"], data["run"]["tokens"] or {}
        tuning = run.get("variant") or {}
        return Run(
            folder=folder,
            benchmark=run["benchmark"],
            domain=run["domain"],
            backbone=run["backbone"],
            variant=tuning.get("trainer"),
            trainer=tokens["trainer"] if tokens else None,
            identity=run["identity"],
            sampling={key: run[key] for key in SAMPLING if key in run} | flat_editing(run.get("editing")),
            tokens={key: value for key, value in tokens.items() if key not in ("seed", "hash")},
            seeds=(int((tokens or tuning).get("seed", 0)), int(run.get("seed", 0))),
            expected=int(data["expected"]),
            limited=bool(data["limited"]),
            incomplete=_incomplete(data),
            unscored=int(data["unscored"]),
            warnings=(*data.get("warnings", ()), *([] if SEAL in data else [UNSEALED])),
            cells={k: _cell(m) for k, m in data["metrics"].items() if m["value"] is not None},
            tuning=tuning,
            model=run.get("model") or {},
        )


def is_kin(recipe: Recipe, run: Run) -> bool:
    """Whether a run is of the recipe's benchmark, backbone, trainers of its weights and tokens, and editor."""
    asked = (recipe.benchmark, recipe.backbone, recipe.variant and recipe.variant.trainer, recipe.trainer)
    return (run.benchmark, run.backbone, run.variant, run.trainer) == asked and _is_edited_alike(recipe, run)


def _is_edited_alike(recipe: Recipe, run: Run) -> bool:
    editor = editor_of(recipe)
    asked = (editor.name, getattr(editor.options, "inversion", None)) if editor else (None, None)
    return (run.sampling.get("edit_editor"), run.sampling.get("edit_inversion")) == asked


@cache
def obstacles(recipe: Recipe, run: Run) -> Sequence[str]:
    """Why a run that `is_kin` does not fill the recipe's row; empty when it does.

    Tables share recipes, and ask several times for each row and run.
    """
    if run.limited and run.expected != (recipe.limit or 0) * run.sampling.get("images_per_prompt", 0):
        return ["limited"]
    if run.incomplete:
        return [run.incomplete]
    models = model_differences(recipe.backbone, recipe.model, run.model)
    sampled = sampling_differences(recipe, run.sampling, str(run.tuning.get("hash", "")))
    trained = training_differences(recipe.tokens, run.tokens) if recipe.tokens else []
    return [*models, *sampled, *(_tuned_otherwise(recipe.variant, run) if recipe.variant else []), *trained]


def fills(recipe: Recipe, run: Run) -> bool:
    """Whether a run is what a recipe asks for."""
    return is_kin(recipe, run) and not obstacles(recipe, run)


def pairs_in_use(recipes: Iterable[Recipe], runs: Sequence[Run]) -> dict[str, str]:
    """Backbone -> hash of the preference pairs behind all its variants: those of the first run that fills a row.

    Rows whose variants saw other pairs are not to be compared, and a row never mixes them.
    """
    found: dict[str, str] = {}
    tuned = [recipe for recipe in recipes if recipe.variant]
    for run in runs:
        if run.variant and run.backbone not in found and any(fills(recipe, run) for recipe in tuned):
            found[run.backbone] = run.pairs
    return found


def _tuned_otherwise(training: Training, run: Run) -> list[str]:
    """What of a run's variant is not as the training asks, in words."""
    trained = training_differences(training, run.tuning)
    seed = int(run.tuning.get("seed", 0))
    apart = [] if seed == run.seeds[0] else [f"variant of seed {seed} with tokens of seed {run.seeds[0]}"]
    named = [f"{training.trainer} {text}" for text in trained]
    return [*named, *pairs_differences(training, run.tuning.get("pairs", {})), *apart]


def combine(metric: str, cells: Sequence[Cell]) -> Cell:
    """One cell of several runs of other training seeds: their mean with a 95% interval; a single run keeps its own.

    The runs share prompts and noise, so what these contribute does not average out: the mean of the runs' own
    half-widths stays. The seeds contribute Student's interval of their mean. The two are independent.
    """
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells]
    value, count = fmean(values), len(values)
    # not `stdev`, which reckons in fractions and takes longer than all else
    deviation = sqrt(fsum((each - value) ** 2 for each in values) / (count - 1))
    of_seeds = student(count - 1) * deviation / sqrt(count)
    low = value - hypot(fmean(cell.value - cell.low for cell in cells), of_seeds)
    high = value + hypot(fmean(cell.high - cell.value for cell in cells), of_seeds)
    if metric.startswith(SHARES):
        low, high = max(low, 0.0), min(high, 1.0)
    n, clusters = min(c.n for c in cells), min(c.clusters for c in cells)
    return Cell(value, low, high, n, clusters, count, "seeds95")


def _incomplete(data: Mapping[str, Any]) -> str:
    if data["complete"] and data["scored"] + data["unscored"] >= data["expected"]:
        return ""
    return f"incomplete: {data['scored']} of {data['expected']} images scored"


def _cell(metric: Mapping[str, Any]) -> Cell:
    value, low, high = (float(metric[key]) for key in ("value", "low", "high"))
    return Cell(value, low, high, int(metric["n"]), int(metric["clusters"]))
