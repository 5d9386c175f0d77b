"""`results/tables/table_NN.toml`: which recipes fill which rows of a table."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.contracts import Trainer
from agsm_bench.damage import conforming, fits
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.recipes import (
    Options,
    Recipe,
    Training,
    model_differences,
    sampling_settings,
    training_settings,
    typed,
)
from agsm_bench.shapes.pair_options import PairOptions
from agsm_bench.types import Domain


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
        data = contents(path)
    extra = _extra_columns(path.with_name("columns.toml"))
    with readable(path):
        return [_fill(path, entry, extra, size) for entry in data.get("fill", ()) if entry["domain"] == domain]


def load_bases(number: int) -> dict[str, dict[str, str]]:
    """Section -> key of a row -> that of the row which its differences are to, from the table's file."""
    path = results_dir() / "tables" / f"table_{number:02d}.toml"
    if not path.is_file():
        return {}
    with readable(path):
        bases: dict[str, dict[str, str]] = contents(path).get("bases", {})
        if not fits(bases, Mapping[str, Mapping[str, str]]):
            raise TypeError("a base is no row's key")
        return bases


@cache
def _parsed(text: str) -> Any:
    """Parsed once for all that is read from it."""
    return checked(tomllib.loads(text))


def contents(path: Path) -> Any:
    """A table's file, of the schema that this version reads."""
    return _parsed(path.read_text(encoding="utf-8"))


def _extra_columns(path: Path) -> dict[str, dict[str, Any]]:
    with readable(path):
        columns = contents(path)["columns"]
        return {key: {"key": key, **column} for key, column in columns.items()}


def _fill(path: Path, data: Mapping[str, Any], extra: Mapping[str, Mapping[str, Any]], size: Size | None) -> Fill:
    rows = tuple(_row(spec, data["benchmark"], size) for spec in [*data["rows"], *data.get("extra_rows", ())])
    columns = tuple(extra[key] for key in data.get("extra_columns", ()))
    own = (data["section"], data["domain"], data["benchmark"], data.get("columns", {}))
    return conforming(Fill(path, *own, columns, rows))


def _row(spec: Mapping[str, Any], benchmark: str, size: Size | None) -> RowFill:
    stated = spec.get("variant", {}).get("options", {}) | spec.get("options", {}) | spec.get("evaluation", {})
    stated |= spec.get("model", {})
    edited = ", ".join(str(value) for value in spec.get("editing", {}).values())
    names = (*filter(None, [edited]), *(f"{name} {typed(value)}" for name, value in stated.items()))
    key = spec["row"] if "row" in spec else spec["key"]
    return RowFill(key, "row" in spec, names, recipe_of(spec, benchmark, size))


def recipe_of(spec: Mapping[str, Any], benchmark: str, size: Size | None = None) -> Recipe:
    """The recipe of an entry of a file: `backbone`, `trainer`, `options`, `evaluation`, `variant`, `editing`.

    Raises:
        ValueError, UserError: it states something that is no option.
    """
    backbone, evaluation = spec["backbone"], dict(spec.get("evaluation", {}))
    variant = _variant(backbone, spec["variant"], size) if "variant" in spec else None
    tokens = _training(spec["trainer"], backbone, spec.get("options", {}), size) if "trainer" in spec else None
    if size is not None:
        evaluation |= {"limit": size.prompts, "images_per_prompt": size.images}
    sampled = _changed(evaluation, sampling_settings(Recipe(benchmark, backbone, None)))
    editing = tuple(sorted(spec.get("editing", {}).items()))
    trained = tokens.options if tokens else ()
    model = tuple(sorted(spec.get("model", {}).items()))
    recipe = Recipe(benchmark, backbone, spec.get("trainer"), trained, sampled, variant, editing, model)
    # an unknown option is to be said when the file is read
    sampling_settings(recipe)
    model_differences(backbone, model, {})
    return recipe


def _variant(backbone: str, spec: Mapping[str, Any], size: Size | None) -> Training:
    """Quick: as many pairs as prompts, but enough for a batch, and no validation curve."""
    made = _training(spec["trainer"], backbone, spec.get("options", {}), size, tokens=False)
    least = int(training_settings(made)["batch"])
    pairs = {"pairs": max(size.prompts, least), "held_out": 0} if size else {}
    return Training(made.trainer, backbone, made.options, _changed(pairs, asdict(PairOptions())))


def _training(name: str, backbone: str, options: Mapping[str, Any], size: Size | None, tokens: bool = True) -> Training:
    """The training with these options, whose values and names are checked."""
    if isinstance(plugins.load("trainers", name), Trainer) is not tokens:
        raise ValueError(f"{name} trains {'no soft tokens' if tokens else 'soft tokens, not weights'}")
    asked = dict(options) | ({"steps": size.steps} if size else {})
    made = Training(name, backbone, _changed(asked, training_settings(Training(name, backbone))))
    training_settings(made)
    return made


def _changed(overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> Options:
    return tuple(sorted((k, v) for k, v in overrides.items() if k not in defaults or defaults[k] != v))
