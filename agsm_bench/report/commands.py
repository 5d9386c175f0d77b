"""What to type for the runs of a row, and what their folders are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agsm_bench.report.recipes import Options, Recipe, Training, typed, words

EDITOR_FLAGS = ("editor", "inversion")


def pairs_arguments(training: Training, out: Path) -> tuple[str, ...]:
    """The words after `agsm-bench` that make the preference pairs of a variant."""
    command = ("shapes", "preferences", "--backbone", training.backbone, *_flags(training.pairs))
    return (*command, "--out", out.as_posix())


def train_arguments(
    training: Training, out: Path, seed: int | None = None, preferences: Path | None = None
) -> tuple[str, ...]:
    """The words after `agsm-bench` that train soft tokens, or a variant on the pairs in `preferences`."""
    command = ("train", training.trainer, "--backbone", training.backbone, *_path("--preferences", preferences))
    seeds = () if seed is None else ("--seed", str(seed))
    return (*command, *_flags(training.options), *seeds, "--out", out.as_posix())


def eval_arguments(recipe: Recipe, variant: Path | None, tokens: Path | None, out: Path | None) -> tuple[str, ...]:
    """The words after `agsm-bench` that evaluate a recipe; without `out` into the command's own folder."""
    command = (
        "eval",
        recipe.benchmark,
        "--backbone",
        recipe.backbone,
        *_flags(recipe.model),
        *_flags(recipe.evaluation),
        *_edit(recipe.editing),
    )
    return (*command, *_path("--backbone-weights", variant), *_path("--tokens", tokens), *_path("--out", out))


def eval_name(recipe: Recipe, *made: str) -> str:
    """A folder name for its evaluation; `made` are the names of its variant and of its tokens."""
    chosen = [str(value) for name, value in recipe.editing if name in EDITOR_FLAGS]
    others = words(tuple(each for each in recipe.editing if each[0] not in EDITOR_FLAGS))
    return "-".join(
        [
            recipe.benchmark,
            *(made or (recipe.backbone,)),
            *chosen,
            *others,
            *words(recipe.model),
            *words(recipe.evaluation),
        ]
    )


def commands(recipe: Recipe) -> str:
    """A line for the shell that trains and evaluates a recipe below ./runs, for who does it by hand."""
    folders = {made: Path("runs") / made.name.replace("shapes-", "") for made in recipe.trainings}
    steps = []
    for made, folder in folders.items():
        pairs = Path("runs") / made.pairs_name if made == recipe.variant else None
        steps += [pairs_arguments(made, pairs)] if pairs else []
        steps.append(train_arguments(made, folder, preferences=pairs))
    variant = folders[recipe.variant] if recipe.variant else None
    tokens = folders[recipe.tokens] if recipe.tokens else None
    names = [folder.name for folder in folders.values()]
    out = Path("runs") / eval_name(recipe, *names) if recipe.evaluation or recipe.model else None
    steps.append(eval_arguments(recipe, variant, tokens, out))
    return " && ".join(" ".join(("agsm-bench", *step)) for step in steps)


def _path(flag: str, path: Path | None) -> tuple[str, ...]:
    return (flag, path.as_posix()) if path else ()


def _edit(editing: Options) -> list[str]:
    """The editor's own flags, and `--set` for its other options."""
    own = [word for name, value in editing if name in EDITOR_FLAGS for word in _flag(f"--{name}", value)]
    return own + [word for name, value in editing if name not in EDITOR_FLAGS for word in ("--set", f"{name}={value}")]


def _flags(options: Options) -> list[str]:
    return [word for name, value in options for word in _flag("--" + name.replace("_", "-"), value)]


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    return [flag, typed(value)]
