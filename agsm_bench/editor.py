"""What a file in `agsm_bench/editors/` says of an editing method. No torch: `list` and `--help` read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench.contracts import check_options, flag_of, hints_of
from agsm_bench.errors import UserError
from agsm_bench.types import Domain

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.editing.predictor import EditBatch, Predictor

Family = Literal["unet", "mmdit"]
Preset = Literal["paper", "upstream", "shapes"]
SHAPES: Preset = "shapes"
"""Of the miniature backbones: fewer steps, and a smaller scale, as they sample with."""


@dataclass(frozen=True)
class Editor:
    """EDITOR of a file in `agsm_bench/editors/`."""

    family: Family
    """Of the backbones that it edits with: eps prediction of a UNet, or velocity of an MMDiT."""
    options: type
    """Frozen dataclass, each field made by `contracts.option`: the paper's values. It has `steps` and
    `guidance_scale`, the target's scale of CFG."""
    edit: Callable[[Predictor, EditBatch, Any], Tensor]
    """(predictions of the backbone, pictures to edit, options) -> the edited latents [rows, c, h, w]."""
    presets: Mapping[Preset, Mapping[str, Any]] = field(default_factory=dict)
    """By name, what is not as the paper says."""


@dataclass(frozen=True)
class EditorChoice:
    """An editor with its options."""

    name: str
    editor: Editor
    options: Any

    def describe(self, tokens_on: str | None) -> dict[str, Any]:
        """What `RunSpec.editing` holds: all but steps and scale, which a run has of its own.

        Args:
            tokens_on: the branches with soft tokens; None without any.
        """
        own = {k: value for k, value in asdict(self.options).items() if k not in ("steps", "guidance_scale")}
        return {"editor": self.name, **own} | ({"tokens_on": tokens_on} if tokens_on else {})


def options_of(editor: Editor, domain: Domain, preset: Preset | None, given: Mapping[str, Any]) -> Any:
    """The editor's options: the preset's (by default the paper's, of the shapes domain its own), then what is given.

    Args:
        given: values, or their text as typed, by name; None stands for the default.

    Raises:
        UserError: no such option or preset, or a value that it does not take.
    """
    name: Preset = preset or (SHAPES if domain == "shapes" else "paper")
    if name != "paper" and name not in editor.presets:
        known = ", ".join(["paper", *editor.presets])
        raise UserError(f"There is no preset '{name}' of this editor.", f"Use one of: {known}.")
    asked = {key: value for key, value in given.items() if value is not None}
    known_names = [item.name for item in fields(editor.options)]
    if strange := [key for key in asked if key not in known_names]:
        raise UserError(f"The editor has no option '{strange[0]}'.", f"It has: {', '.join(known_names)}.")
    hints = hints_of(editor.options)
    values = {key: _parsed(key, value, hints[key]) for key, value in asked.items()}
    options = editor.options(**{**editor.presets.get(name, {}), **values})
    check_options(options, _typed)
    return options


def _typed(name: str) -> str:
    """Steps, scale and inversion have flags, the others are set."""
    return flag_of(name) if name in ("steps", "guidance_scale", "inversion") else f"--set {name}"


def _parsed(name: str, value: Any, hint: Any) -> Any:
    """The text of a number as one; whole numbers for decimal ones, as JSON gives them."""
    kind = next((kind for kind in (int, float) if hint in (kind, kind | None)), None)
    if kind is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    try:
        if isinstance(value, bool):
            raise ValueError("true or false")
        if kind is int and float(value) != int(float(value)):
            raise ValueError("a part of a whole number")
        return kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name} is '{value}'.", f"Use {'a whole' if kind is int else 'a'} number.") from error
