"""The settings behind a row of a table, and what of a run's settings is not as they say.

`results/tables/table_NN.toml` (`fills`) names a row's backbone, its trainer and the options that are not the
defaults of these two. Everything else has its default, so the default AGSM run is one and the same in every table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Backbone, PreferenceTrainer, Trainer, check_options
from agsm_bench.editor import EditorChoice
from agsm_bench.editor_choice import chosen_editor, editing_of
from agsm_bench.model_options import ModelOptions, configured, saving_of
from agsm_bench.request import Editing, EvaluationOptions, Request
from agsm_bench.shapes.pair_options import PairOptions, recipe_of
from agsm_bench.training.config import fill, options_of, resolve
from agsm_bench.variant import combined_hash, weights_hash

Options = tuple[tuple[str, Any], ...]
"""Names and values, sorted by name."""

NO_OPTIONS = {
    *("trainer", "backbone", "objective", "seed", "hash", "variant", "kind", "base"),
    *("data", "preferences", "pairs", "model", "weights"),
}
"""What a record of soft tokens, or of a variant, holds besides options."""


MODELS, HOW = ("model", "unet", "vae", "lora"), ("t5", "protocol", "saving")
"""What a record says of a photographs' backbone: which models, and how they are used."""


@dataclass(frozen=True)
class Training:
    """A training of soft tokens, or of a variant of the backbone on preferences; its seed is left open."""

    trainer: str
    backbone: str
    options: Options = ()
    """Options of the loop and of the objective that are not the default."""
    pairs: Options = ()
    """A variant's: options of making its preference pairs that are not the default."""

    @property
    def name(self) -> str:
        """A folder name for its result, without the seed."""
        return "-".join([self.trainer, self.backbone, *words(self.options)])

    @property
    def pairs_name(self) -> str:
        """A folder name for its preference pairs."""
        return "-".join(["preferences", self.backbone, *words(self.pairs)])


@dataclass(frozen=True)
class Recipe:
    """What the runs of a row share, apart from their seeds. Equal for rows that the same runs fill."""

    benchmark: str
    backbone: str
    trainer: str | None
    """Of the soft tokens; None without them."""
    training: Options = ()
    """Options of the loop and of the objective that are not the default."""
    evaluation: Options = ()
    """Options of the evaluation that are not the default."""
    variant: Training | None = None
    """How the backbone's weights were fine-tuned. Soft tokens are trained on the backbone as it is all the same."""
    editing: Options = ()
    """Of a benchmark that edits: `editor`, `inversion`, and options of the editor that are not the default."""
    model: Options = ()
    """Of a backbone of photographs: which of its models are others than the default, by `ModelOptions`."""

    @property
    def tokens(self) -> Training | None:
        """The training of the soft tokens."""
        return Training(self.trainer, self.backbone, self.training) if self.trainer else None

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Those that its evaluation needs: of the variant, of the soft tokens."""
        return tuple(each for each in (self.variant, self.tokens) if each)

    @property
    def limit(self) -> int | None:
        """Number of prompts; None for all of them."""
        return dict(self.evaluation).get("limit")


@cache
def training_settings(training: Training) -> Mapping[str, Any]:
    """Every option of a training, of the loop and of the objective, resolved.

    Raises:
        ValueError: it names something that is no option of the trainer.
        UserError: an option is out of bounds; there is no such plugin.
    """
    trainer: Trainer | PreferenceTrainer = plugins.load("trainers", training.trainer)
    backbone = _backbone(training.backbone)
    given = dict(training.options)
    options = resolve(_options(options_of(trainer), given), backbone)
    own = fill(_options(trainer.options, given), asdict(backbone.training))
    if given:
        raise ValueError(f"{', '.join(given)}: no option of {training.trainer}")
    return asdict(options) | asdict(own)


@cache
def pairs_settings(training: Training) -> Mapping[str, Any]:
    """What the record of a variant's preference pairs says of them: how many, and how they are made."""
    backbone = _backbone(training.backbone)
    options = PairOptions(**dict(training.pairs))
    weights = _weights_in(backbone.weights(), training.backbone)
    return {"train": options.pairs, "held_out": options.held_out, **asdict(recipe_of(backbone, options, weights))}


@cache
def sampling_settings(recipe: Recipe) -> Mapping[str, Any]:
    """Every option of the recipe's evaluation that its images depend on, by the name it has in a run's record.

    Raises as `training_settings`.
    """
    backbone = _backbone(recipe.backbone)
    benchmark: Benchmark = plugins.load("benchmarks", recipe.benchmark)
    given = dict(recipe.evaluation)
    editor = editor_of(recipe)
    sampling = asdict(backbone.sampling)
    if editor:
        sampling |= {"steps": editor.options.steps, "guidance_scale": float(editor.options.guidance_scale)}
    defaults = sampling | {
        "images_per_prompt": benchmark.images_per_prompt,
        "unconditional": "positive",
    }
    options = fill(_options(EvaluationOptions, given), defaults)
    if given:
        raise ValueError(f"{', '.join(given)}: no option of an evaluation")
    names = ("guidance_scale", "steps", "images_per_prompt", "unconditional")
    settings = {"size": backbone.sampling.size, **{name: getattr(options, name) for name in names}}
    return settings | flat_editing(editing_of(editor, Editing(), recipe.trainer is not None))


def describe_protocol(recipe: Recipe) -> str:
    """How the images of a row's backbone and editor are made where the row says nothing else, in words."""
    settings = sampling_settings(replace(recipe, trainer=None, training=(), evaluation=(), variant=None))
    editor = editor_of(recipe)
    who = recipe.backbone + (f" with {editor.name}" if editor else "")
    count = settings["images_per_prompt"]
    images = "" if editor else f", {count} image{'s' * (count > 1)} a prompt"
    size, steps, guidance = settings["size"], settings["steps"], typed(settings["guidance_scale"])
    return f"{who}: {size} px, {steps} steps, guidance {guidance}{images}"


def flat_editing(editing: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run's record says of its edits, beside its other settings."""
    return {f"edit_{name}": value for name, value in (editing or {}).items()}


@cache
def editor_of(recipe: Recipe) -> EditorChoice | None:
    """The editor of a recipe with its options; None where its benchmark generates. Raises UserError."""
    given = dict(recipe.editing)
    own = {name: given.pop(name, None) for name in ("editor", "inversion")}
    request = Request(recipe.benchmark, recipe.backbone, Path(), editing=Editing(**own, settings=given))
    benchmark: Benchmark = plugins.load("benchmarks", recipe.benchmark)
    return chosen_editor(request, benchmark, _backbone(recipe.backbone))


def sampling_differences(recipe: Recipe, sampling: Mapping[str, Any], variant: str = "") -> list[str]:
    """The settings of an evaluation, in words, that are not the recipe's.

    Args:
        sampling: a run's record, of the recipe's benchmark and backbone. What it does not mention has its default.
        variant: hash of the variant's own weight files, for a recipe with one.
    """
    # a report on photographs is to need none of their models, so that these go by their names: `model_differences`
    known = "weights" in sampling and _backbone(recipe.backbone).named is None
    other = known and sampling["weights"] != _weights(recipe, variant)
    own = {k: v for k, v in sampling.items() if k != "weights"}
    plain = Recipe(recipe.benchmark, recipe.backbone, None)
    unlike = _unlike(own, sampling_settings(recipe), sampling_settings(plain))
    return ["other weights"] * other + [f"sampling {text}" for text in unlike]


def model_differences(backbone: str, chosen: Options, record: Mapping[str, Any]) -> list[str]:
    """What of a model's record is not as asked, in words; nothing of a backbone that ships its weights.

    Models go by their names on the hub, whatever their commit. The type of the weights is free.

    Args:
        record: `RunSpec.model`, or what a training's record says of it.
    """
    base, options = _backbone(backbone), ModelOptions(**dict(chosen))
    if base.named is None:
        return []
    asked: Backbone = configured(base, options)
    names = asked.named() if asked.named else {}
    wanted = {**names, "t5": options.t5, "protocol": options.protocol, "saving": saving_of(options)}
    found = {name: str(record[name]).partition("@")[0] for name in (*MODELS, *HOW) if name in record}
    return [f"model {text}" for text in _unlike(found, wanted, wanted if not record else {})]


def training_differences(training: Training, record: Mapping[str, Any]) -> list[str]:
    """The options of a training, in words, that are not the ones asked; seeds aside.

    Args:
        record: a training's record, of the same backbone and trainer, with the objective's own options in
            `objective`. What it does not mention has its default.
    """
    flat = {**record, **record.get("objective", {})}
    own = {k: v for k, v in flat.items() if k not in NO_OPTIONS}
    plain = Training(training.trainer, training.backbone)
    unlike = _unlike(own, training_settings(training), training_settings(plain))
    unlike += model_differences(training.backbone, (), record["model"]) if "model" in record else []
    if tuned := record.get("variant"):
        unlike.append(f"trained on weights of {tuned['trainer']}")
    return unlike


def pairs_differences(training: Training, pairs: Mapping[str, Any]) -> list[str]:
    """What of preference pairs, by `Preferences.describe`, is not as a variant's training asks, in words."""
    if "weights" not in pairs:
        return ["preference pairs that `shapes preferences` did not make"]
    wanted = pairs_settings(training)
    return [f"preference pairs {text}" for text in _unlike(pairs, wanted, wanted)]


def words(options: Options) -> list[str]:
    """Options as parts of a folder name."""
    return [f"{name}-{typed(value)}" for name, value in options]


def typed(value: Any) -> str:
    """As it is typed: 1.0 as 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _options(dataclass: type, given: dict[str, Any]) -> Any:
    """An instance of an options dataclass from its fields in `given`, which loses them."""
    options = dataclass(**{item.name: given.pop(item.name) for item in fields(dataclass) if item.name in given})
    check_options(options)
    return options


def _unlike(found: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*wanted, *found])
    pairs = [(n, found.get(n, defaults.get(n)), wanted.get(n)) for n in names]
    return [f"{name} {typed(have)}, not {typed(want)}" for name, have, want in pairs if have != want]


def _weights(recipe: Recipe, variant: str) -> str:
    base = _weights_in(_backbone(recipe.backbone).weights(), recipe.backbone)
    return combined_hash(base, variant) if recipe.variant else base


@cache
def _weights_in(folder: Path, backbone: str) -> str:
    return weights_hash(_backbone(backbone))


@cache
def _backbone(name: str) -> Backbone:
    """Asked for a row and run at a time: looking its file up each time would take most of a report."""
    backbone: Backbone = plugins.load("backbones", name)
    return backbone
