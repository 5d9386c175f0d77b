"""Options of the editors: the paper's values, presets, what is typed, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, fields
from typing import Any

import pytest
from editing_tiny import FLOW, UNET

from agsm_bench import plugins
from agsm_bench.editor import Editor, EditorChoice, options_of
from agsm_bench.errors import UserError

NAMES = [*UNET, *FLOW]
PAPER: dict[str, dict[str, Any]] = {
    "masactrl": {"inversion": "ddim", "steps": 50, "guidance_scale": 7.0, "start_step": 4, "start_layer": 10},
    "pnp": {
        "inversion": "ddim",
        "steps": 50,
        "guidance_scale": 7.0,
        "attention_steps": 25,
        "feature_steps": 40,
        "negative_prompt": "ugly, blurry, black, low res, unrealistic",
    },
    "flowedit": {
        "steps": 50,
        "n_max": 33,
        "n_min": 0,
        "averages": 1,
        "guidance_scale": 13.5,
        "source_guidance_scale": 3.5,
    },
    "flowalign": {"steps": 33, "guidance_scale": 13.5, "zeta": 0.01},
    "rf_inversion": {"steps": 28, "guidance_scale": 13.5, "gamma": 0.5, "eta": 0.9, "start": 0.0, "stop": 0.25},
}
"""Paper Appendix F; it leaves RF-Inversion's number of steps open, which is upstream's."""
UPSTREAM: dict[str, dict[str, Any]] = {
    "masactrl": {"guidance_scale": 7.5},
    "pnp": {"guidance_scale": 7.5},
    "flowedit": {},
    "flowalign": {"guidance_scale": 7.5},
    "rf_inversion": {"guidance_scale": 1.0},
}


def editor(name: str) -> Editor:
    loaded: Editor = plugins.load("editors", name)
    return loaded


def test_all_editors_are_here() -> None:
    assert sorted(plugins.names("editors")) == sorted(NAMES)
    assert {name: editor(name).family for name in NAMES} == dict.fromkeys(UNET, "unet") | dict.fromkeys(FLOW, "mmdit")


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_photographs_are_the_papers(name: str) -> None:
    assert asdict(options_of(editor(name), "photo", None, {})) == PAPER[name]
    assert asdict(options_of(editor(name), "photo", "paper", {})) == PAPER[name]
    assert asdict(options_of(editor(name), "shapes", "paper", {})) == PAPER[name]
    assert asdict(editor(name).options()) == PAPER[name]


@pytest.mark.parametrize("name", NAMES)
def test_presets_override_the_paper_and_what_is_given_overrides_presets(name: str) -> None:
    assert asdict(options_of(editor(name), "photo", "upstream", {})) == PAPER[name] | UPSTREAM[name]
    shapes = options_of(editor(name), "shapes", None, {})
    assert shapes == options_of(editor(name), "photo", "shapes", {})
    assert asdict(shapes) == {**PAPER[name], **editor(name).presets["shapes"]}
    given = options_of(editor(name), "shapes", None, {"guidance_scale": 3.0, "steps": None})
    assert (given.steps, given.guidance_scale) == (shapes.steps, 3.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_of_options_that_there_are(name: str) -> None:
    known = {item.name for item in fields(editor(name).options)}
    for preset, values in editor(name).presets.items():
        assert values.keys() <= known
        options_of(editor(name), "photo", preset, {})


def test_text_is_read_as_its_option_asks() -> None:
    typed = {"start_step": "7", "guidance_scale": "2", "inversion": "direct", "start_layer": " 16 "}
    found = options_of(editor("masactrl"), "photo", None, typed)
    assert asdict(found) == PAPER["masactrl"] | {
        "start_step": 7,
        "guidance_scale": 2.0,
        "inversion": "direct",
        "start_layer": 16,
    }
    assert isinstance(found.start_step, int)
    assert isinstance(found.guidance_scale, float)
    for text in ("", "5", "blue = 3"):
        assert options_of(editor("pnp"), "photo", None, {"negative_prompt": text}).negative_prompt == text


def test_whole_numbers_do_for_decimal_ones() -> None:
    found = options_of(editor("flowedit"), "photo", None, {"guidance_scale": 4})
    assert isinstance(found.guidance_scale, float)
    assert json.dumps(EditorChoice("flowedit", editor("flowedit"), found).describe(None)) == json.dumps(
        EditorChoice(
            "flowedit", editor("flowedit"), options_of(editor("flowedit"), "photo", None, {"guidance_scale": "4.0"})
        ).describe(None)
    )


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("masactrl", {"n_max": "3"}, ("no option 'n_max'", "start_layer")),
        ("masactrl", {"start_step": "four"}, ("start_step is 'four'", "whole number")),
        ("masactrl", {"start_step": "4.5"}, ("start_step is '4.5'", "whole number")),
        ("masactrl", {"start_step": ""}, ("start_step is ''", "whole number")),
        ("masactrl", {"start_step": "-1"}, ("--set start_step is -1", "at least 0")),
        ("masactrl", {"start_layer": "17"}, ("--set start_layer is 17", "at most 16")),
        ("masactrl", {"inversion": "null-text"}, ("inversion is 'null-text'", "ddim, direct")),
        ("masactrl", {"steps": "0"}, ("steps is 0", "at least 1")),
        ("pnp", {"guidance_scale": "-0.1"}, ("guidance-scale is -0.1", "at least 0")),
        ("pnp", {"guidance_scale": "much"}, ("guidance_scale is 'much'", "number")),
        ("pnp", {"attention_steps": "-3"}, ("--set attention_steps is -3", "at least 0")),
        ("flowedit", {"averages": "0"}, ("averages is 0", "at least 1")),
        ("flowedit", {"n_min": "-1"}, ("--set n_min is -1", "at least 0")),
        ("flowalign", {"zeta": "nan"}, ("zeta is nan", "finite")),
        ("flowalign", {"zeta": math.nan}, ("zeta is nan", "finite")),
        ("flowalign", {"zeta": "inf"}, ("zeta is inf", "finite")),
        ("flowalign", {"guidance_scale": "1e999"}, ("guidance-scale is inf", "finite")),
        ("flowalign", {"steps": "nan"}, ("steps is 'nan'", "whole number")),
        ("flowalign", {"steps": math.nan}, ("steps is 'nan'", "whole number")),
        ("rf_inversion", {"eta": "1.01"}, ("eta is 1.01", "at most 1")),
        ("rf_inversion", {"gamma": "-0.5"}, ("gamma is -0.5", "at least 0")),
        ("rf_inversion", {"stop": "2"}, ("stop is 2", "at most 1")),
    ],
)
def test_what_an_editor_does_not_take_is_refused(name: str, given: dict[str, Any], words: tuple[str, str]) -> None:
    with pytest.raises(UserError) as refused:
        options_of(editor(name), "photo", None, given)
    assert words[0] in refused.value.message
    assert words[1] in refused.value.fix


@pytest.mark.parametrize("steps", [3.7, math.inf])
def test_a_decimal_number_is_no_whole_one(steps: float) -> None:
    with pytest.raises(UserError, match="whole number"):
        options_of(editor("flowalign"), "photo", None, {"steps": steps})


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError) as refused:
        options_of(editor("pnp"), "photo", "theirs", {})  # type: ignore[arg-type]
    assert "no preset 'theirs'" in refused.value.message
    assert all(name in refused.value.fix for name in ("paper", "upstream", "shapes"))


@pytest.mark.parametrize("name", NAMES)
def test_a_description_leaves_out_what_a_run_has_of_its_own(name: str) -> None:
    options = options_of(editor(name), "photo", None, {})
    own = {key: value for key, value in PAPER[name].items() if key not in ("steps", "guidance_scale")}
    assert EditorChoice(name, editor(name), options).describe(None) == {"editor": name, **own}
    assert EditorChoice(name, editor(name), options).describe("target") == {
        "editor": name,
        **own,
        "tokens_on": "target",
    }


def test_options_are_read_without_torch() -> None:
    code = (
        "import sys; from agsm_bench import plugins; from agsm_bench.editor import options_of\n"
        f"for name in {NAMES!r}: options_of(plugins.load('editors', name), 'photo', 'upstream', {{}})\n"
        "assert not {'torch', 'diffusers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
