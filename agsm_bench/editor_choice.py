"""Which editor a request asks for, with its options checked. No torch, as reports resolve the rows of tables by it."""

from __future__ import annotations

from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Backbone
from agsm_bench.editor import Editor, EditorChoice, options_of
from agsm_bench.errors import UserError
from agsm_bench.request import Editing, Request

DEFAULT_EDITORS = {"unet": "masactrl", "mmdit": "flowedit"}
"""By family of the backbone."""


def chosen_editor(request: Request, benchmark: Benchmark, backbone: Backbone) -> EditorChoice | None:
    """The editor asked for, or the backbone's default; None where the benchmark generates.

    Raises:
        UserError: an editor for a benchmark that generates, or of another family than the backbone's.
    """
    asked = request.editing
    if not benchmark.edits:
        if asked.asked:
            raise UserError(f"{benchmark.name} generates images, it edits none.", "Leave out --editor, or: eval pie")
        return None
    if request.model.compile:
        raise UserError("A compiled network has no attention to control.", "Leave out --compile.")
    family = backbone.tokens.placement
    name = asked.editor or DEFAULT_EDITORS[family]
    editor: Editor = plugins.load("editors", name)
    if editor.family != family:
        fitting = [each for each in plugins.names("editors") if plugins.load("editors", each).family == family]
        raise UserError(f"{name} does not edit with {backbone.name}.", f"Use one of: {', '.join(fitting)}.")
    own = {"steps": request.options.steps, "guidance_scale": request.options.guidance_scale}
    flags = {key: value for key, value in {"inversion": asked.inversion, **own}.items() if value is not None}
    given = {**asked.settings, **flags}
    return EditorChoice(name, editor, options_of(editor, backbone.domain, asked.preset, given))


def editing_of(editor: EditorChoice | None, asked: Editing, soft: bool) -> dict[str, Any] | None:
    """What the images of an edit depend on besides steps and scale; with soft tokens, where they are."""
    return editor.describe(asked.tokens_on if soft else None) if editor else None
