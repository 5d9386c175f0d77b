"""DDIM and its inversion, the exchange of outputs, and what the predictions of the branches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from editing_tiny import batch_of, tiny_denoiser, traces
from tokens_tiny import tokens_for
from torch import Tensor, nn

from agsm_bench.diffusion.architectures import SD15, SDXL
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import TextCondition
from agsm_bench.editing.ddim import Ddim
from agsm_bench.editing.exchange import Exchange, self_attentions
from agsm_bench.editing.flow import sigmas_of, timestep_of
from agsm_bench.editing.predictor import Predictor, TokensOn
from agsm_bench.editors.masactrl import keys_and_values
from agsm_bench.editors.pnp import feature_layer, queries_and_keys

PLACEMENTS = ["unet", "mmdit"]
LATENTS = batch_of(3).latents


@pytest.fixture(scope="module", params=PLACEMENTS)
def placement(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def denoiser(placement: str, tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    return tiny_denoiser(placement, tmp_path_factory.mktemp(placement))


def scheduler(**options: Any) -> Any:
    return DDIMScheduler(clip_sample=False, steps_offset=1, **options)


def moving(latents: Tensor, timestep: float) -> Tensor:
    """Some noise that depends on both."""
    return torch.sin(latents.flip(-1) + timestep / 500)


@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_step_is_the_schedulers(steps: int, to_one: bool) -> None:
    stock = scheduler(set_alpha_to_one=to_one)
    ddim = Ddim(stock, steps)
    stock.set_timesteps(steps)
    assert ddim.timesteps == stock.timesteps.tolist()
    expected = LATENTS
    for timestep in stock.timesteps:
        expected = stock.step(moving(expected, int(timestep)), timestep, expected, eta=0.0).prev_sample
    found = ddim.sample(LATENTS, moving)
    assert len(found) == steps + 1
    assert torch.equal(found[0], LATENTS)
    assert torch.allclose(found[-1], expected, atol=1e-5)


def test_the_scheduler_is_not_changed() -> None:
    ddim, flow = scheduler(), FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = ddim.timesteps.clone(), flow.sigmas.clone()
    Ddim(ddim, 4)
    sigmas_of(flow, 4)
    assert torch.equal(ddim.timesteps, before[0])
    assert torch.equal(flow.sigmas, before[1])


@pytest.mark.parametrize("step", range(5))
def test_noised_undoes_denoised(step: int) -> None:
    ddim, noise = Ddim(scheduler(), 5), moving(LATENTS, 7)
    assert torch.allclose(ddim.noised(ddim.denoised(LATENTS, noise, step), noise, step), LATENTS, atol=1e-5)


def test_inversion_asks_for_the_next_noisier_timestep() -> None:
    """z' = sqrt(abar') x0 + sqrt(1 - abar') eps(z, t'), read slowly; the first step leaves the picture itself."""
    own = scheduler(set_alpha_to_one=False)
    asked: list[float] = []

    def spy(latents: Tensor, timestep: float) -> Tensor:
        asked.append(timestep)
        return moving(latents, timestep)

    path = Ddim(own, 4).invert(LATENTS, spy)
    assert asked == [1, 251, 501, 751]
    expected, level = LATENTS, float(own.alphas_cumprod[0])
    for timestep in asked:
        noise, next_level = moving(expected, timestep), float(own.alphas_cumprod[int(timestep)])
        picture = (expected - (1 - level) ** 0.5 * noise) / level**0.5
        expected, level = next_level**0.5 * picture + (1 - next_level) ** 0.5 * noise, next_level
    assert torch.allclose(path[0], expected, atol=1e-5)


def test_direct_inversion_has_the_picture_itself_at_its_end() -> None:
    """The offset z*_{t-1} - DDIM(z*_t) of Ju et al. puts each sampled step onto the path; the end is bit-equal."""
    ddim = Ddim(scheduler(), 6)
    path = ddim.invert(LATENTS, moving)
    assert len(path) == 7
    assert torch.equal(path[-1], LATENTS)
    source = path[0]
    for step, timestep in enumerate(ddim.timesteps):
        sampled = ddim.denoised(source, moving(source, timestep), step)
        offset = path[step + 1] - ddim.denoised(path[step], moving(path[step], timestep), step)
        source = sampled + offset
        assert torch.allclose(source, path[step + 1], atol=1e-5)
    without = ddim.sample(path[0], moving)[-1]
    assert (without - LATENTS).abs().max() > 1e-2


def test_noise_that_does_not_depend_on_the_latents_is_inverted_exactly() -> None:
    ddim, noise = Ddim(scheduler(), 8), moving(LATENTS, 0)
    path = ddim.invert(LATENTS, lambda latents, timestep: noise)
    assert torch.allclose(ddim.sample(path[0], lambda latents, timestep: noise)[-1], LATENTS, atol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_noise_levels_of_flow_are_the_schedulers(shift: float) -> None:
    own = FlowMatchEulerDiscreteScheduler(shift=shift)
    sigmas = sigmas_of(own, 5)
    own.set_timesteps(5)
    assert (len(sigmas), sigmas[0], sigmas[-1]) == (6, 1.0, 0.0)
    assert sigmas == sorted(set(sigmas), reverse=True)
    assert [timestep_of(sigma) for sigma in sigmas[:-1]] == pytest.approx(own.timesteps.tolist(), abs=1e-3)


def test_outputs_are_kept_and_given_to_every_group_of_rows() -> None:
    layer = nn.Linear(3, 2)
    shared, rows = Exchange([layer]), torch.randn(2, 5, 3)
    with shared.recording():
        kept = layer(rows)
    with shared.replacing():
        assert torch.equal(layer(torch.randn(2, 5, 3)), kept)
        assert torch.equal(layer(torch.randn(4, 5, 3)), torch.cat([kept, kept]))
    assert not torch.equal(layer(torch.randn(2, 5, 3)), kept)
    with pytest.raises(RuntimeError, match="midway"), shared.recording():
        raise RuntimeError("midway")
    assert traces(layer) == []


def published(config: dict[str, Any]) -> Any:
    """A backbone's network without its weights."""
    own = {name: value for name, value in config.items() if not name.startswith("_")}
    with torch.device("meta"):
        return UNet2DConditionModel(**own)


def names_of(unet: Any, modules: list[Any]) -> list[str]:
    known = {id(module): name for name, module in unet.named_modules()}
    return [known[id(module)] for module in modules]


def test_layers_of_sd15_are_upstreams() -> None:
    """MasaCtrl: layers 10 to 15 of 16; PnP: up blocks {1: [1, 2], 2: all, 3: all} and up_blocks[1].resnets[1]."""
    unet = published(SD15)
    layers = names_of(unet, self_attentions(unet))
    assert len(layers) == 16
    assert names_of(unet, keys_and_values(unet, 10))[::2] == [f"{name}.to_k" for name in layers[10:]]
    assert names_of(unet, keys_and_values(unet, 10))[1::2] == [f"{name}.to_v" for name in layers[10:]]
    assert layers[10].startswith("up_blocks.2.attentions.0.")
    assert keys_and_values(unet, 16) == []
    places = [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]
    assert names_of(unet, queries_and_keys(unet)) == [
        f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn1.{part}"
        for block, i in places
        for part in ("to_q", "to_k")
    ]
    assert names_of(unet, [feature_layer(unet)]) == ["up_blocks.1.resnets.1.conv2"]


def test_layers_of_sdxl() -> None:
    """MasaCtrl from 10/16 of the 70 layers on; PnP's decoder but its first transformer; the first up block attends."""
    unet = published(SDXL)
    assert len(self_attentions(unet)) == 70
    assert len(keys_and_values(unet, 10)) == 2 * (70 - 43)
    assert len(queries_and_keys(unet)) == 2 * (2 * 10 + 3 * 2)
    assert names_of(unet, queries_and_keys(unet))[0].startswith("up_blocks.0.attentions.1.transformer_blocks.0.")
    assert names_of(unet, [feature_layer(unet)]) == ["up_blocks.0.resnets.1.conv2"]


def test_self_attentions_come_in_the_order_in_which_they_run(tmp_path: Path) -> None:
    denoiser = tiny_denoiser("unet", tmp_path)
    ran: list[Any] = []
    layers = self_attentions(denoiser.network)
    handles = [layer.register_forward_hook(lambda module, *_: ran.append(module)) for layer in layers]
    Predictor(denoiser)(LATENTS, 5, Predictor(denoiser).condition(["red"] * 3, "source"))
    for handle in handles:
        handle.remove()
    assert len(layers) == 7
    assert all(a is b for a, b in zip(ran, layers, strict=True))


def test_noise_is_each_rows_own() -> None:
    whole, alone = batch_of(3), batch_of(1)
    first, second = whole.noise(), whole.noise()
    assert not torch.equal(first, second)
    assert torch.equal(alone.noise()[0], first[0])
    assert torch.equal(alone.noise()[0], second[0])


def test_guidance_leads_from_away_to_toward(denoiser: Denoiser) -> None:
    predict = Predictor(denoiser)
    toward, away = (predict.condition([text] * 3, "target") for text in ("red", ""))
    own, other = predict(LATENTS, 500, toward), predict(LATENTS, 500, away)
    assert (own - other).abs().max() > 1e-2
    for scale in (0.0, 0.5, 1.0, 7.0):
        guided = predict.guided(LATENTS, 500, toward, away, scale)
        assert torch.allclose(guided, other + scale * (own - other), atol=1e-5)


@pytest.mark.parametrize("on", ["both", "target", "source"])
def test_tokens_are_on_the_branches_asked_for_alone(denoiser: Denoiser, placement: str, on: TokensOn) -> None:
    """Also in one call with both branches: the other one's predictions do not change by a bit."""
    tokens = tokens_for(placement)
    plain, soft = Predictor(denoiser), Predictor(denoiser, tokens, on)
    before = [plain(LATENTS, 300, plain.condition(["red cat"] * 3, "source"))]
    with tokens.attached(denoiser.network):
        with_tokens = plain(LATENTS, 300, plain.condition(["red cat"] * 3, "source"))
    assert (with_tokens - before[0]).abs().max() > 1e-3
    branches = [soft.condition(["red cat"] * 3, branch) for branch in ("source", "target")]
    together = soft.each([LATENTS, LATENTS], 300, branches)
    for branch, condition, found in zip(("source", "target"), branches, together, strict=True):
        expected = with_tokens if on in ("both", branch) else before[0]
        assert torch.equal(soft(LATENTS, 300, condition), expected)
        assert torch.allclose(found, expected, atol=1e-5)
        if on != "both":
            assert torch.equal(found, expected)


def test_negative_polarity_reaches_the_away_prediction_alone(denoiser: Denoiser, placement: str) -> None:
    tokens = tokens_for(placement)
    predict, plain = Predictor(denoiser, tokens, "both", 1), Predictor(denoiser)
    by_hand = []
    for text, polarity in (("red", 0), ("", 1), ("", 0)):
        with tokens.attached(denoiser.network, polarity=polarity):
            by_hand.append(plain(LATENTS, 300, plain.condition([text] * 3, "target")))
    toward, negative, positive = by_hand
    assert (negative - positive).abs().max() > 1e-3
    away = predict.condition([""] * 3, "target", unconditional=True)
    guided = predict.guided(LATENTS, 300, predict.condition(["red"] * 3, "target"), away, 3.0)
    assert torch.allclose(guided, negative + 3 * (toward - negative), atol=1e-5)
    assert torch.equal(predict(LATENTS, 300, predict.condition([""] * 3, "source")), positive)
    assert torch.equal(predict(LATENTS, 300, away), negative)


def test_a_prompt_is_encoded_once_a_batch_and_an_empty_one_once(
    denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encode = denoiser.encode_text

    def spy(prompts: Sequence[str]) -> TextCondition:
        asked.extend(prompts)
        return encode(prompts)

    monkeypatch.setattr(denoiser, "encode_text", spy)
    predict = Predictor(denoiser)
    for _ in range(2):
        found = predict.condition(["red", "", "red", ""], "source").text.context
        assert torch.equal(found[:2], found[2:])
        assert not torch.equal(found[0], found[1])
    for _ in range(2):
        predict.condition(["ugly", "ugly"], "target", unconditional=True)
    assert sorted(asked) == ["", "red", "red", "ugly"]
