"""The settings behind a row of a table: which runs fill it, and which commands make them.

`results/tables/table_NN.toml` names a row's backbone, its trainer and the options that are not the defaults of
these two. Everything else has its default, so the default AGSM run is one and the same in every table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Benchmark, Trainer, check_options
from agsm_bench.evaluate import EvaluationOptions
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.training.config import TrainingOptions, fill, resolve
from agsm_bench.types import Domain
from agsm_bench.variant import weights_hash

Options = tuple[tuple[str, Any], ...]
"""Names and values, sorted by name."""

NO_OPTIONS = {"trainer", "backbone", "objective", "seed", "hash"}
"""What a record of soft tokens holds besides options."""


@dataclass(frozen=True)
class Size:
    """How small the runs of a quick look are."""

    steps: int
    prompts: int
    images: int
    """Images a prompt."""

    @property
    def folder(self) -> str:
        """Name of the folder of such runs."""
        return f"quick-{self.steps}-{self.prompts}x{self.images}"

    def describe(self) -> str:
        """In words."""
        return f"{self.steps} training steps, {self.prompts} prompts x {self.images} images"


@dataclass(frozen=True)
class Recipe:
    """What the runs of a row share, apart from their seeds. Equal for rows that the same runs fill."""

    benchmark: str
    backbone: str
    trainer: str | None
    training: Options = ()
    """Options of the loop and of the objective that are not the default."""
    evaluation: Options = ()
    """Options of the evaluation that are not the default."""

    @property
    def trained(self) -> bool:
        """Whether its runs have training seeds."""
        return self.trainer is not None

    @property
    def plain(self) -> Recipe:
        """The same with every option at its default."""
        return Recipe(self.benchmark, self.backbone, self.trainer)

    @property
    def tokens_name(self) -> str:
        """A folder name for its soft tokens, without the seed."""
        return "-".join([str(self.trainer), self.backbone, *_words(self.training)])

    @property
    def limit(self) -> int | None:
        """Number of prompts; None for all of them."""
        return dict(self.evaluation).get("limit")


@dataclass(frozen=True)
class RowFill:
    """A row of a table file."""

    key: str
    in_paper: bool
    options: tuple[str, ...]
    """The options that the file states, in words."""
    recipe: Recipe


@dataclass(frozen=True)
class Fill:
    """How runs fill one section on one domain."""

    source: Path
    """The file that says so."""
    section: str
    domain: Domain
    benchmark: str
    columns: Mapping[str, str]
    """Key of a column of the paper -> the metric that fills it."""
    extra_columns: tuple[Mapping[str, Any], ...]
    """Fields of the columns that the paper does not have."""
    rows: tuple[RowFill, ...]


def load_fills(number: int, domain: Domain, size: Size | None = None) -> list[Fill]:
    """The fills of a table on a domain, none where nothing is known of it; of quick runs with `size`.

    Raises:
        MissingError: the table's file is damaged.
    """
    path = results_dir() / "tables" / f"table_{number:02d}.toml"
    if not path.is_file():
        return []
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
    extra = _extra_columns(path.with_name("columns.toml"))
    with readable(path):
        return [_fill(path, entry, extra, size) for entry in data["fill"] if entry["domain"] == domain]


@cache
def training_settings(recipe: Recipe) -> Mapping[str, Any]:
    """Every option of the training of a recipe with a trainer, of the loop and of the objective, resolved.

    Raises:
        ValueError: the recipe names something that is no option of the trainer.
        UserError: an option is out of bounds; there is no such plugin.
    """
    trainer: Trainer = plugins.load("trainers", str(recipe.trainer))
    backbone: Backbone = plugins.load("backbones", recipe.backbone)
    given = dict(recipe.training)
    options = resolve(_options(TrainingOptions, given), backbone)
    own = fill(_options(trainer.options, given), asdict(backbone.training))
    if given:
        raise ValueError(f"{', '.join(given)}: no option of {recipe.trainer}")
    return asdict(options) | asdict(own)


@cache
def sampling_settings(recipe: Recipe) -> Mapping[str, Any]:
    """Every option of the recipe's evaluation that its images depend on, by the name it has in a run's record.

    Raises as `training_settings`.
    """
    backbone: Backbone = plugins.load("backbones", recipe.backbone)
    benchmark: Benchmark = plugins.load("benchmarks", recipe.benchmark)
    given = dict(recipe.evaluation)
    defaults = asdict(backbone.sampling) | {"images_per_prompt": benchmark.images_per_prompt}
    options = fill(_options(EvaluationOptions, given), defaults)
    if given:
        raise ValueError(f"{', '.join(given)}: no option of an evaluation")
    names = ("guidance_scale", "steps", "images_per_prompt", "unconditional")
    return {"size": backbone.sampling.size, **{name: getattr(options, name) for name in names}}


def sampling_differences(recipe: Recipe, sampling: Mapping[str, Any]) -> list[str]:
    """The settings of an evaluation, in words, that are not the recipe's.

    Args:
        sampling: a run's record, of the recipe's benchmark and backbone. What it does not mention has its default.
    """
    other = "weights" in sampling and sampling["weights"] != _weights(recipe.backbone)
    own = {k: v for k, v in sampling.items() if k != "weights"}
    unlike = _unlike(own, sampling_settings(recipe), sampling_settings(recipe.plain))
    return ["other weights"] * other + [f"sampling {text}" for text in unlike]


def training_differences(recipe: Recipe, tokens: Mapping[str, Any]) -> list[str]:
    """The options of a training, in words, that are not the recipe's; seeds aside.

    Args:
        tokens: a training's record, of the recipe's backbone and trainer, with the objective's own options in
            `objective`. What it does not mention has its default.
    """
    flat = {**tokens, **tokens.get("objective", {})}
    own = {k: v for k, v in flat.items() if k not in NO_OPTIONS}
    return _unlike(own, training_settings(recipe), training_settings(recipe.plain))


def train_arguments(recipe: Recipe, out: Path, seed: int | None = None) -> tuple[str, ...]:
    """The words after `agsm-bench` that train a recipe's tokens."""
    seeds = () if seed is None else ("--seed", str(seed))
    command = ("train", str(recipe.trainer), "--backbone", recipe.backbone, *_flags(recipe.training))
    return (*command, *seeds, "--out", out.as_posix())


def eval_arguments(recipe: Recipe, tokens: Path | None, out: Path | None) -> tuple[str, ...]:
    """The words after `agsm-bench` that evaluate a recipe; without `out` into the command's own folder."""
    command = ("eval", recipe.benchmark, "--backbone", recipe.backbone, *_flags(recipe.evaluation))
    given = () if tokens is None else ("--tokens", tokens.as_posix())
    return (*command, *given, *(("--out", out.as_posix()) if out else ()))


def eval_name(recipe: Recipe, tokens_name: str | None) -> str:
    """A folder name for its evaluation."""
    named = [tokens_name] if tokens_name else [recipe.backbone]
    return "-".join([recipe.benchmark, *named, *_words(recipe.evaluation)])


def commands(recipe: Recipe) -> str:
    """A line for the shell that trains and evaluates a recipe below ./runs, for who does it by hand."""
    if recipe.trainer is None:
        steps, tokens, name = [], None, None
    else:
        name = recipe.tokens_name.replace("shapes-", "")
        tokens = Path("runs") / name
        steps = [train_arguments(recipe, tokens)]
    out = Path("runs") / eval_name(recipe, name) if recipe.evaluation else None
    return " && ".join(" ".join(("agsm-bench", *words)) for words in (*steps, eval_arguments(recipe, tokens, out)))


def _extra_columns(path: Path) -> dict[str, dict[str, Any]]:
    with readable(path):
        columns = checked(tomllib.loads(path.read_text(encoding="utf-8")))["columns"]
        return {key: {"key": key, **column} for key, column in columns.items()}


def _fill(path: Path, data: Mapping[str, Any], extra: Mapping[str, Mapping[str, Any]], size: Size | None) -> Fill:
    rows = tuple(_row(spec, data["benchmark"], size) for spec in [*data["rows"], *data.get("extra_rows", ())])
    columns = tuple(extra[key] for key in data.get("extra_columns", ()))
    return Fill(path, data["section"], data["domain"], data["benchmark"], data.get("columns", {}), columns, rows)


def _row(spec: Mapping[str, Any], benchmark: str, size: Size | None) -> RowFill:
    options = spec.get("options", {}) | spec.get("evaluation", {})
    stated = tuple(f"{name} {_word(value)}" for name, value in options.items())
    return RowFill(spec.get("row", spec.get("key")), "row" in spec, stated, recipe_of(spec, benchmark, size))


def recipe_of(spec: Mapping[str, Any], benchmark: str, size: Size | None = None) -> Recipe:
    """The recipe that an entry of a file states: `backbone`, `trainer`, `options` and `evaluation`.

    Raises:
        ValueError, UserError: it states something that is no option.
    """
    training, evaluation = dict(spec.get("options", {})), dict(spec.get("evaluation", {}))
    plain = Recipe(benchmark, spec["backbone"], spec.get("trainer"))
    if size is not None:
        evaluation |= {"limit": size.prompts, "images_per_prompt": size.images}
        training |= {"steps": size.steps} if plain.trainer else {}
    changed = Recipe(
        *(plain.benchmark, plain.backbone, plain.trainer),
        _changed(training, training_settings(plain)) if plain.trainer else (),
        _changed(evaluation, sampling_settings(plain)),
    )
    # an unknown option is to be said when the file is read
    sampling_settings(changed)
    if plain.trainer:
        training_settings(changed)
    return changed


def _changed(overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> Options:
    return tuple(sorted((k, v) for k, v in overrides.items() if k not in defaults or defaults[k] != v))


def _options(dataclass: type, given: dict[str, Any]) -> Any:
    """An instance of an options dataclass from its fields in `given`, which loses them."""
    options = dataclass(**{item.name: given.pop(item.name) for item in fields(dataclass) if item.name in given})
    check_options(options)
    return options


def _unlike(found: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*wanted, *found])
    pairs = [(n, found.get(n, defaults.get(n)), wanted.get(n)) for n in names if n not in NO_OPTIONS]
    return [f"{name} {_word(have)}, not {_word(want)}" for name, have, want in pairs if have != want]


def _weights(backbone: str) -> str:
    return _weights_in(plugins.load("backbones", backbone).weights(), backbone)


@cache
def _weights_in(folder: Path, backbone: str) -> str:
    return weights_hash(plugins.load("backbones", backbone))


def _flags(options: Options) -> list[str]:
    return [word for name, value in options for word in _flag("--" + name.replace("_", "-"), value)]


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    return [flag, _word(value)]


def _words(options: Options) -> list[str]:
    return [f"{name}-{_word(value)}" for name, value in options]


def _word(value: Any) -> str:
    """As it is typed: 1.0 as 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
