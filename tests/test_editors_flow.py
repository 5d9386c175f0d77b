"""FlowEdit, FlowAlign and RF-Inversion against slow readings, in closed form, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from editing_tiny import FLOW, SOURCES, TARGETS, Soft, batch_of, edited, exact, replaced, tiny_denoiser, traces
from tokens_tiny import tokens_for
from torch import Tensor

from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.editing.flow import sigmas_of
from agsm_bench.editing.predictor import Branch, Predictor
from agsm_bench.editors.rf_inversion import RfInversionOptions, invert
from agsm_bench.seeds import generator_for

STEPS = 4
SETTINGS: dict[str, dict[str, Any]] = {
    "flowedit": {"n_max": 3, "n_min": 1, "averages": 2, "guidance_scale": 4.0, "source_guidance_scale": 1.5},
    "flowalign": {"zeta": 0.1, "guidance_scale": 4.0},
    "rf_inversion": {"gamma": 0.3, "eta": 0.8, "start": 0.25, "stop": 0.75, "guidance_scale": 4.0},
}
OWN: dict[str, Any] = {"sources": SOURCES, "targets": SOURCES}
"""Nothing is to change."""


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    return exact(tiny_denoiser("mmdit", tmp_path_factory.mktemp("sd3")))


def levels(steps: int) -> list[float]:
    """Evenly spaced, then shifted by 3 (SD3 paper, Section 5.3.2), twice at the lower end, as diffusers does; and 0."""

    def shifted(sigma: float) -> float:
        return 3 * sigma / (1 + 2 * sigma)

    low = shifted(0.001)
    even = [1 - i * (1 - low) / max(1, steps - 1) for i in range(steps)]
    return [shifted(sigma) for sigma in even] + [0.0]


class Slow:
    """One picture's edit; every prediction is a forward of its own."""

    def __init__(self, denoiser: Denoiser, row: int, soft: Soft | None = None) -> None:
        self.pipe, self.model, self.soft = denoiser.pipe, denoiser.network, soft
        self.x = batch_of().latents[row : row + 1].double()
        self.source, self.target, self.generator = SOURCES[row], TARGETS[row], generator_for("edit", row)

    def eps(self) -> Tensor:
        return torch.randn(1, 4, 8, 8, generator=self.generator).double()

    @torch.no_grad()
    def v(self, z: Tensor, sigma: float, text: str, branch: Branch, away: bool = False) -> Tensor:
        """The network's velocity under a prompt; `away`: with what tokens have for it."""
        context, _, pooled, _ = self.pipe.encode_prompt(
            [text], None, None, do_classifier_free_guidance=False, max_sequence_length=0
        )
        soft = self.soft if self.soft and self.soft.on in ("both", branch) else None
        with soft.tokens.attached(self.model, polarity=soft.away * away) if soft else nullcontext():
            result: Tensor = self.model(z, context, pooled, torch.tensor([1000 * sigma])).sample
        return result

    def cfg(self, z: Tensor, sigma: float, text: str, branch: Branch, scale: float) -> Tensor:
        empty = self.v(z, sigma, "", branch, away=True)
        return empty + scale * (self.v(z, sigma, text, branch) - empty)

    def flowedit(
        self, n_max: int, n_min: int, averages: int, guidance_scale: float, source_guidance_scale: float
    ) -> Tensor:
        z, sigmas, begun = self.x, levels(STEPS), False
        for i in range(STEPS):
            sigma, dsigma = sigmas[i], sigmas[i + 1] - sigmas[i]
            if STEPS - i > n_max:
                continue
            if STEPS - i > n_min:
                total = torch.zeros_like(z)
                for _ in range(averages):
                    z_s = (1 - sigma) * self.x + sigma * self.eps()
                    z_t = z + z_s - self.x
                    total += self.cfg(z_t, sigma, self.target, "target", guidance_scale)
                    total -= self.cfg(z_s, sigma, self.source, "source", source_guidance_scale)
                z = z + dsigma * total / averages
                continue
            if not begun:
                z, begun = z + ((1 - sigma) * self.x + sigma * self.eps()) - self.x, True
            z = z + dsigma * self.cfg(z, sigma, self.target, "target", guidance_scale)
        return z

    def flowalign(self, zeta: float, guidance_scale: float) -> Tensor:
        z, sigmas = self.x, levels(STEPS)
        for i in range(STEPS):
            sigma = sigmas[i]
            q = (1 - sigma) * self.x + sigma * self.eps()
            p = z + q - self.x
            v_source = self.v(p, sigma, self.source, "source")
            v_p = v_source + guidance_scale * (self.v(p, sigma, self.target, "target") - v_source)
            v_q = self.v(q, sigma, self.source, "source")
            ends = (q - sigma * v_q) - (p - sigma * v_p)
            z = z + (sigmas[i + 1] - sigma) * (v_p - v_q) + zeta * ends
        return z

    def rf_inversion(self, gamma: float, eta: float, start: float, stop: float, guidance_scale: float) -> Tensor:
        sigmas, noise, y = levels(STEPS), self.eps(), self.x
        for i in reversed(range(STEPS)):
            t = sigmas[i + 1]
            u = self.v(y, t, "", "source")
            y = y + (sigmas[i] - t) * (u + gamma * ((noise - y) / (1 - t) - u))
        x = y
        for i in range(STEPS):
            t = 1 - sigmas[i]
            v = -self.cfg(x, sigmas[i], self.target, "target", guidance_scale)
            if start <= i / STEPS < stop:
                v = v + eta * ((self.x - x) / (1 - t) - v)
            x = x + (sigmas[i] - sigmas[i + 1]) * v
        return x


@pytest.mark.parametrize("soft_on", [None, "both", "target", "source"])
@pytest.mark.parametrize("name", FLOW)
def test_an_edit_equals_a_slow_reading(denoiser: Denoiser, name: str, soft_on: Any) -> None:
    # FlowAlign has no prediction under an empty prompt
    soft = Soft(tokens_for("mmdit"), soft_on, int(name != "flowalign")) if soft_on else None
    found = edited(name, denoiser, soft=soft, steps=STEPS, **SETTINGS[name])
    expected = getattr(Slow(denoiser, 1, soft), name)(**SETTINGS[name])
    assert torch.allclose(found[1], expected[0], atol=1e-5), (found[1] - expected[0]).abs().max()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("flowedit", [{"n_max": 2}, {"n_min": 0}, {"averages": 1}, {"source_guidance_scale": 3.0}]),
        ("flowalign", [{"zeta": 0.0}, {"zeta": 0.2}, {"guidance_scale": 3.0}]),
        ("rf_inversion", [{"gamma": 0.5}, {"eta": 0.9}, {"start": 0.0}, {"stop": 0.5}, {"guidance_scale": 1.0}]),
    ],
)
def test_every_setting_matters(denoiser: Denoiser, name: str, others: list[dict[str, Any]]) -> None:
    """So that the readings compare something."""
    plain = edited(name, denoiser, steps=STEPS, **SETTINGS[name])
    for other in others:
        changed = edited(name, denoiser, steps=STEPS, **(SETTINGS[name] | other))
        assert (changed - plain).abs().max() > 1e-3, other


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.0])
def test_flowedit_with_equal_prompts_and_scales_is_the_identity(denoiser: Denoiser, scale: float) -> None:
    batch = batch_of(**OWN)
    scales: dict[str, Any] = {"guidance_scale": scale, "source_guidance_scale": scale}
    found = edited("flowedit", denoiser, batch, steps=STEPS, n_max=STEPS, **scales)
    assert torch.allclose(found, batch.latents.double(), atol=1e-5)
    apart = edited("flowedit", denoiser, batch, steps=STEPS, n_max=STEPS, **(scales | {"guidance_scale": scale + 1}))
    assert (apart - batch.latents).abs().max() > 1e-2


@pytest.mark.parametrize("zeta", [0.0, 0.5])
@pytest.mark.parametrize("scale", [0.0, 7.0])
def test_flowalign_with_equal_prompts_is_the_identity(denoiser: Denoiser, scale: float, zeta: float) -> None:
    batch = batch_of(**OWN)
    found = edited("flowalign", denoiser, batch, steps=STEPS, guidance_scale=scale, zeta=zeta)
    assert torch.allclose(found, batch.latents.double(), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 13.5])
def test_rf_inversion_wholly_drawn_to_the_picture_returns_it(denoiser: Denoiser, scale: float) -> None:
    batch = batch_of()
    drawn: dict[str, Any] = {"eta": 1.0, "start": 0.0, "stop": 1.0, "guidance_scale": scale}
    assert torch.allclose(
        edited("rf_inversion", denoiser, batch, steps=STEPS, **drawn), batch.latents.double(), atol=1e-5
    )


def inverted(denoiser: Denoiser, gamma: float) -> Tensor:
    batch = batch_of()
    batch = replace(batch, latents=batch.latents.double())
    own = sigmas_of(denoiser.pipe.scheduler, STEPS)
    return invert(Predictor(denoiser), batch, RfInversionOptions(gamma=gamma), own)


def test_rf_inversion_wholly_drawn_to_noise_ends_in_it(denoiser: Denoiser) -> None:
    assert torch.allclose(inverted(denoiser, 1.0), batch_of().noise().double(), atol=1e-5)
    assert (inverted(denoiser, 0.5) - batch_of().noise()).abs().max() > 1e-2


def stock(denoiser: Denoiser, noise: Tensor, scale: float) -> Tensor:
    """The stock pipeline's latents from that noise."""
    result: Tensor = denoiser.pipe(
        list(TARGETS[:2]),
        latents=noise,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        max_sequence_length=0,
        output_type="latent",
    ).images
    return result


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_rf_inversion_not_drawn_to_the_picture_is_the_stock_pipeline(denoiser: Denoiser, scale: float) -> None:
    """From the noise that the picture became. The stock scheduler's steps are in float32."""
    for eta, start, stop in ((0.0, 0.0, 1.0), (0.9, 0.5, 0.25), (0.9, 1.0, 1.0), (0.9, 0.0, 0.0)):
        options: dict[str, Any] = {"gamma": 0.0, "eta": eta, "start": start, "stop": stop}
        found = edited("rf_inversion", denoiser, steps=STEPS, guidance_scale=scale, **options)
        assert torch.allclose(found, stock(denoiser, inverted(denoiser, 0.0), scale), atol=1e-5)


def test_flowedit_of_no_steps_is_the_picture(denoiser: Denoiser) -> None:
    for n_min in (0, 2):
        batch = batch_of()
        found = edited("flowedit", denoiser, batch, steps=STEPS, n_max=0, n_min=n_min)
        assert torch.equal(found, batch.latents.double())


def test_flowedit_of_more_steps_than_there_are_is_all_of_them(denoiser: Denoiser) -> None:
    whole, more = (edited("flowedit", denoiser, steps=STEPS, n_max=n_max) for n_max in (STEPS, STEPS + 30))
    assert torch.equal(whole, more)


@pytest.mark.parametrize("n_max", [1, 3])
def test_flowedit_that_only_samples_is_sdedit(denoiser: Denoiser, n_max: int) -> None:
    """Noised to the level of the first step that is taken, then sampled; more steps than are taken change nothing."""
    found = edited("flowedit", denoiser, steps=STEPS, n_max=n_max, n_min=n_max, guidance_scale=4.0)
    more = edited("flowedit", denoiser, steps=STEPS, n_max=n_max, n_min=n_max + 5, guidance_scale=4.0)
    assert torch.equal(found, more)
    sigmas = levels(STEPS)[STEPS - n_max :]
    for row in range(2):
        slow = Slow(denoiser, row)
        z = (1 - sigmas[0]) * slow.x + sigmas[0] * slow.eps()
        for i in range(n_max):
            z = z + (sigmas[i + 1] - sigmas[i]) * slow.cfg(z, sigmas[i], slow.target, "target", 4.0)
        assert torch.allclose(found[row], z[0], atol=1e-5)


def test_flowedit_that_only_samples_from_pure_noise_is_the_stock_pipeline(denoiser: Denoiser) -> None:
    found = edited("flowedit", denoiser, steps=STEPS, n_max=STEPS, n_min=STEPS, guidance_scale=4.0)
    assert torch.allclose(found, stock(denoiser, batch_of().noise().double(), 4.0), atol=1e-5)


def test_averages_are_of_the_difference(denoiser: Denoiser) -> None:
    """One step with several draws is the mean of as many edits of one draw each."""
    one: dict[str, Any] = {"steps": STEPS, "n_max": 1, "n_min": 0, "guidance_scale": 4.0}
    batch = batch_of()
    singles = [edited("flowedit", denoiser, batch, **one) for _ in range(3)]
    assert (singles[0] - singles[1]).abs().max() > 1e-6
    mean = torch.stack(singles).mean(0)
    assert torch.allclose(edited("flowedit", denoiser, averages=3, **one), mean, atol=1e-9)


@pytest.mark.parametrize("name", FLOW)
def test_rows_do_not_depend_on_each_other(denoiser: Denoiser, name: str) -> None:
    whole = edited(name, denoiser, batch_of(3), steps=STEPS, **SETTINGS[name])
    for rows in (1, 2):
        found = edited(name, denoiser, batch_of(rows), steps=STEPS, **SETTINGS[name])
        assert torch.allclose(found, whole[:rows], atol=1e-9)


@pytest.mark.parametrize("name", FLOW)
def test_soft_tokens_on_each_branch(denoiser: Denoiser, name: str) -> None:
    tokens = tokens_for("mmdit")
    ways = [None, *(Soft(tokens, on) for on in ("both", "target", "source"))]
    ways += [Soft(tokens, "both", 1)] if name != "flowalign" else []
    found = [edited(name, denoiser, soft=soft, steps=STEPS, **SETTINGS[name]) for soft in ways]
    for i, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in found[:i])


@pytest.mark.parametrize("name", FLOW)
def test_no_tokens_change_nothing(denoiser: Denoiser, name: str) -> None:
    nothing = Soft(tokens_for("mmdit", count=0), "both", 1)
    plain = edited(name, denoiser, steps=STEPS, **SETTINGS[name])
    assert torch.equal(edited(name, denoiser, soft=nothing, steps=STEPS, **SETTINGS[name]), plain)


@pytest.mark.parametrize("name", FLOW)
def test_nothing_is_left_behind(denoiser: Denoiser, name: str) -> None:
    """Neither at the end nor where the network stops in any of its forwards, late in it."""
    last, calls = denoiser.network.proj_out, 0

    def failing(at: int | None) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == at:
                raise RuntimeError("midway")
            result: Tensor = type(last).forward(last, x)
            return result

        return forward

    soft, before = Soft(tokens_for("mmdit"), "target", 0), traces(denoiser.network)
    with replaced(last, failing(None)):
        plain = edited(name, denoiser, soft=soft, steps=2, **SETTINGS[name])
    assert traces(denoiser.network) == before
    total = calls
    for at in range(1, total + 1):
        calls = 0
        with replaced(last, failing(at)), pytest.raises(RuntimeError, match="midway"):
            edited(name, denoiser, soft=soft, steps=2, **SETTINGS[name])
        assert traces(denoiser.network) == before
    assert torch.equal(edited(name, denoiser, soft=soft, steps=2, **SETTINGS[name]), plain)
