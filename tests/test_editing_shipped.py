"""Editors on the shipped miniatures: pictures that nothing is done to, and the same bytes whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from editing_tiny import FLOW, UNET

from agsm_bench import plugins
from agsm_bench.benchmark import Given, Plain
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.editing.edit import Unreadable, edit
from agsm_bench.editing.predictor import EditBatch, Predictor
from agsm_bench.editor import Editor, EditorChoice, options_of
from agsm_bench.seeds import generator_for
from agsm_bench.shapes.edits import edits
from agsm_bench.shapes.render import render
from agsm_bench.tokens import SoftTokens
from agsm_bench.types import Domain, Prompt, RunSpec, Sample

BACKBONES = {"unet": "shapes-unet", "mmdit": "shapes-mmdit"}
SCENES = edits()[::175][:4]
TOLERANCE = 1.5
"""dB around what was measured."""


@cache
def denoiser_of(family: str) -> Denoiser:
    loaded: Denoiser = plugins.load("backbones", BACKBONES[family]).load()
    return loaded


def editor_of(name: str) -> Editor:
    loaded: Editor = plugins.load("editors", name)
    return loaded


def decibels(pictures: Sequence[Any], sources: Sequence[np.ndarray]) -> float:
    """PSNR, the mean over the pictures."""
    errors = [((np.asarray(a) / 255 - b / 255) ** 2).mean() for a, b in zip(pictures, sources, strict=True)]
    return float(-10 * np.log10(errors).mean())


@pytest.mark.parametrize(
    ("name", "settings", "measured"),
    [
        ("masactrl", {"start_step": 6}, 29.7),
        ("masactrl", {"start_step": 3, "inversion": "direct"}, 30.0),
        ("pnp", {"attention_steps": 0, "feature_steps": 0}, 26.7),
        ("pnp", {"attention_steps": 3, "feature_steps": 2}, 23.7),
        ("flowedit", {"n_max": 4}, 36.0),
        ("flowalign", {}, 36.0),
        ("rf_inversion", {"gamma": 0.0, "eta": 0.0}, 27.1),
        ("rf_inversion", {"stop": 1.0}, 36.0),
        ("rf_inversion", {}, 28.3),
    ],
)
def test_a_picture_that_nothing_is_done_to_comes_back(name: str, settings: dict[str, Any], measured: float) -> None:
    """PSNR of four rendered scenes, the target's caption the source's, all scales 1, six steps.

    The autoencoder alone reaches 36.0 dB, and so do FlowEdit, FlowAlign, and RF-Inversion drawn to the picture all the
    way. With as many steps as the shapes presets have (16, RF-Inversion 12), measured by hand: MasaCtrl without control
    30.8, with it 31.0 (direct 31.1), as it inverts under the empty prompt; PnP without control 33.5, with it 29.5
    (direct 29.7), as it records under the empty prompt; RF-Inversion without any drawing 31.1, as preset 23.3: it is
    drawn to noise that no picture had.
    """
    editor = editor_of(name)
    scales = {"guidance_scale": 1.0} | ({"source_guidance_scale": 1.0} if name == "flowedit" else {})
    denoiser, sources = denoiser_of(editor.family), [render(each.source) for each in SCENES]
    texts = [each.source_text for each in SCENES]
    encoder = denoiser.encoder
    batch = EditBatch(
        encoder.latents(torch.stack([encoder.mean(picture) for picture in sources])),
        texts,
        texts,
        [generator_for("x", i) for i in range(len(texts))],
    )
    options = options_of(editor, "shapes", None, {"steps": 6} | scales | settings)
    with torch.no_grad():
        pictures = denoiser.decode_images(editor.edit(Predictor(denoiser), batch, options))
    assert measured - TOLERANCE < decibels(pictures, sources) < measured + TOLERANCE


def soft_for(family: str) -> SoftTokens:
    """Random tokens, large enough to matter."""
    config = plugins.load("backbones", BACKBONES[family]).tokens
    tokens = SoftTokens.initialise(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in tokens.parameters():
            parameter.mul_(20)
    return tokens


SPEC = RunSpec("pie_bench", "shapes", "", "", guidance_scale=2.0, steps=2, size=24, seed=0, images_per_prompt=1)


def choice_of(name: str) -> EditorChoice:
    """Two steps, both with control."""
    editor = editor_of(name)
    always = {"start_step": 0} if name == "masactrl" else {}
    options = options_of(editor, "shapes", None, {"steps": 2, "guidance_scale": 2.0} | always)
    return EditorChoice(name, editor, options)


def pngs(name: str, samples: Sequence[Sample], batch_size: int, soft: bool = False, seed: int = 0) -> dict[str, Any]:
    """By sample id, in the order in which they came."""
    family = editor_of(name).family
    predict = Predictor(denoiser_of(family), soft_for(family) if soft else None, "target", 1)
    spec, benchmark = replace(SPEC, seed=seed), plugins.load("benchmarks", "pie_bench")
    return {sample.id: png for sample, png in edit(predict, choice_of(name), benchmark, spec, samples, batch_size)}


@cache
def six() -> tuple[Sample, ...]:
    """The last one of the first one's prompt."""
    prompts: list[Prompt] = plugins.load("benchmarks", "pie_bench").prompts("shapes")
    samples = [Sample(prompt, 0) for prompt in prompts[::140]]
    return *samples, Sample(samples[0].prompt, 1)


@cache
def together(name: str, soft: bool = False) -> dict[str, Any]:
    """All six in one batch."""
    return pngs(name, six(), 6, soft)


@pytest.mark.parametrize(("name", "soft"), [*((name, False) for name in (*UNET, *FLOW)), ("flowedit", True)])
def test_pictures_do_not_depend_on_their_batch(name: str, soft: bool) -> None:
    """In one of two, which is filled up, and in another order."""
    whole = together(name, soft)
    assert list(whole) == [sample.id for sample in six()]
    assert len({whole[sample.id] for sample in six()[:5]}) == 5
    few = pngs(name, six()[4:2:-1], 2, soft)
    assert few == {sample.id: whole[sample.id] for sample in six()[3:5]}


@pytest.mark.parametrize("name", [*UNET, *FLOW])
def test_noise_depends_on_the_seed_and_the_sample(name: str) -> None:
    """Of the methods that draw any: all but the two that invert by DDIM."""
    first, again, same = six()[0], six()[5], name in UNET
    found, other = together(name), pngs(name, [first], 1, seed=1)
    assert (found[first.id] == found[again.id]) is same
    assert (found[first.id] == other[first.id]) is same


class Broken(Plain):
    """PIE-Bench with one picture that cannot be read, and one of another size."""

    name = "broken"

    def __init__(self, unreadable: Prompt, large: Prompt) -> None:
        self.unreadable, self.large = unreadable, large

    def prompts(self, domain: Domain) -> list[Prompt]:
        return []

    def given(self, domain: Domain, prompt: Prompt, size: int) -> Given | None:
        from agsm_bench.images import to_png

        given: Given = plugins.load("benchmarks", "pie_bench").given(domain, prompt, size)
        if prompt == self.unreadable:
            return replace(given, picture=lambda: b"not a PNG")
        if prompt == self.large:
            from PIL import Image

            return replace(given, picture=lambda: to_png(Image.new("RGB", (32, 24))))
        return given


def test_a_picture_that_cannot_be_edited_is_named_and_the_rest_goes_on() -> None:
    samples = six()[:5]
    benchmark = Broken(samples[1].prompt, samples[3].prompt)
    predict = Predictor(denoiser_of("mmdit"))
    by_id = {sample.id: got for sample, got in edit(predict, choice_of("flowalign"), benchmark, SPEC, samples, 2)}
    whole = together("flowalign")
    assert sorted(by_id) == [sample.id for sample in samples]
    for i, sample in enumerate(samples):
        if i in (1, 3):
            assert isinstance(by_id[sample.id], Unreadable)
        else:
            assert by_id[sample.id] == whole[sample.id]
    assert "32 x 24" in str(by_id[samples[3].id])
    assert "its source" in str(by_id[samples[1].id])
