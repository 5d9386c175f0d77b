"""What is there already: runs, soft tokens, variants and preference pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsm_bench.folders import read_json
from agsm_bench.manifest import MANIFEST, load_manifest
from agsm_bench.report.files import results_dir
from agsm_bench.report.recipes import Recipe, Training, pairs_differences, training_differences
from agsm_bench.report.runs import REPRODUCED, Run, fills, find_runs, pairs_in_use, read_run
from agsm_bench.summary_file import SUMMARY
from agsm_bench.tokens.header import TOKENS_FILE, read_header
from agsm_bench.training.preferences import PREFERENCES_FILE, Preferences, list_preferences
from agsm_bench.training.run import CONFIG_FILE
from agsm_bench.variant import VARIANT_FILE, describe_variant


@dataclass(frozen=True)
class Trained:
    """A folder with finished soft tokens, or a finished variant."""

    folder: Path
    record: Mapping[str, Any]
    """How they were trained."""

    @property
    def backbone(self) -> str:
        return str(self.record.get("backbone"))


@dataclass(frozen=True)
class Found:
    """What is there already."""

    runs: Sequence[Run] = ()
    trained: Sequence[Trained] = ()
    pairs: Sequence[Preferences] = ()

    def measured(self, recipe: Recipe, seed: int) -> bool:
        """Whether a run of these seeds, of the training and of the evaluation (0), is what the recipe asks for."""
        return any(run.seeds == (seed, 0) and fills(recipe, run) for run in self.runs)

    def result(self, training: Training, seed: int) -> Path | None:
        """The folder of what such a training made."""
        return next((each.folder for each in self.trained if _made_by(training, seed, each.record)), None)

    def preferences(self, training: Training) -> Path | None:
        """The folder of the pairs that a variant's training asks for."""
        return next((each.folder for each in self.pairs if _fits(training, each)), None)


def scan(out: Path, quick: bool) -> Found:
    """What is complete in `out`, below ./runs and among the runs that ship; of quick runs in `out` alone.

    Raises:
        MissingError: a run is damaged.
    """
    for path in sorted(out.glob(f"*/{MANIFEST}")):
        load_manifest(path.parent)
    for path in sorted(out.glob(f"*/{CONFIG_FILE}")):
        read_json(path, f"Delete {path.parent} to train again.")
    own = _holding(SUMMARY, [out])
    roots = [out] if quick else [out, Path("runs"), REPRODUCED, results_dir() / "runs"]
    tokens = [Trained(folder, read_header(folder).training) for folder in _holding(TOKENS_FILE, roots)]
    variants = [Trained(folder, describe_variant(folder).describe()) for folder in _holding(VARIANT_FILE, roots)]
    # what ships of a variant is its description, without weights
    variants = [each for each in variants if any(each.folder.rglob("*.safetensors"))]
    pairs = [list_preferences(folder) for folder in _holding(PREFERENCES_FILE, roots)]
    return Found([read_run(folder) for folder in own] if quick else find_runs(own), [*tokens, *variants], pairs)


def of_one_set_of_pairs(found: Found, wanted: Sequence[tuple[Recipe, int]]) -> Found:
    """`found` with the variants of each backbone, and their runs, of one set of preference pairs.

    Variants of different pairs never meet in a table. So what is there of a variant is of use only if nothing
    lacks, or the pairs are there to train the others on.

    Args:
        wanted: recipes with the seeds of their trainings.
    """
    in_use = pairs_in_use((recipe for recipe, _ in wanted), found.runs)
    for variant in {recipe.backbone: recipe.variant for recipe, _ in wanted if recipe.variant}.values():
        used = in_use.get(variant.backbone)
        mine = [(recipe, seed) for recipe, seed in wanted if recipe.variant and recipe.backbone == variant.backbone]
        whole = _of_pairs(found, variant, used)
        if not all(whole.measured(recipe, seed) for recipe, seed in mine):
            there = [each.hash for each in found.pairs if _fits(variant, each)]
            used = used if used in there else next(iter(there), None)
        found = _of_pairs(found, variant, used)
    return found


def _of_pairs(found: Found, variant: Training, used: str | None) -> Found:
    """`found` with other preference pairs of a variant's backbone left out, its variants on them and their runs."""
    backbone = variant.backbone
    runs = [run for run in found.runs if run.variant is None or run.backbone != backbone or run.pairs == used]
    trained = [
        each for each in found.trained if each.record.get("preferences", used) == used or each.backbone != backbone
    ]
    pairs = [each for each in found.pairs if not _fits(variant, each) or each.hash == used]
    return Found(runs, trained, pairs)


def _holding(name: str, roots: Iterable[Path]) -> list[Path]:
    """The folders below some roots that hold a file, each once; what a training kept on its way comes last."""
    ways = (f"*/{name}", f"*/steps/*/{name}")
    return list(dict.fromkeys(path.parent for root in roots for way in ways for path in sorted(root.glob(way))))


def _made_by(training: Training, seed: int, record: Mapping[str, Any]) -> bool:
    made_by = (record.get("trainer"), record.get("backbone"), record.get("seed"))
    if made_by != (training.trainer, training.backbone, seed) or training_differences(training, record):
        return False
    return "preferences" not in record or not pairs_differences(training, record.get("pairs", {}))


def _fits(training: Training, pairs: Preferences) -> bool:
    return not pairs_differences(training, pairs.describe())
