"""The variants of AGSM against slow loops written from the equations, and where they coincide."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_objectives import NUMBERS, SHAPE, SOFTREPA_OPTIONS, example, rows, slow_softmax
from torch import Tensor

from agsm_bench import plugins
from agsm_bench.backbones.shapes_mmdit import BACKBONE as MMDIT
from agsm_bench.backbones.shapes_unet import BACKBONE as UNET
from agsm_bench.contracts import PairInfo, check_options
from agsm_bench.diffusion.processes import DDPM, Flow
from agsm_bench.errors import UserError
from agsm_bench.trainers import agsm, bt, positive, shared, softrepa
from agsm_bench.training import guided
from agsm_bench.training.guided import DualOptions, GuidedOptions

DUAL = DualOptions(gamma_negative=0.3, temperature=0.5)
BAYES = agsm.Options(gamma_negative=0.3, temperature=0.5, negative_guidance="bayes")
EXCLUDED = torch.tensor(
    [[False, True, False, False], [False] * 4, [True, False, False, True], [True, True, True, False]]
)
"""Two rows with candidates left, one with all, and one with none but its own."""


def slow(name: str, example: tuple[Tensor, ...], options: Any, excluded: Tensor | None = None) -> float:
    """Eq. 17 with the guidance of each variant, one number at a time."""
    predictions, ema, target = example
    p, e, eps = rows(predictions), rows(ema), [x.flatten().tolist() for x in target]
    count, (plus, minus) = len(target), options.gammas()
    matched, mismatched = [], []
    for i in range(count):
        reward = [-sum((a - b) ** 2 for a, b in zip(e[i][j], eps[i], strict=True)) / NUMBERS for j in range(count)]
        out = [excluded is not None and bool(excluded[i, j]) for j in range(count)]
        for j in range(count):
            if out[j]:
                continue
            delta = slow_guidance(name, i, j, e[i], [r / options.temperature for r in reward], out)
            gamma = plus if i == j else -minus
            error = sum((p[i][j][n] - (eps[i][n] + gamma * delta[n])) ** 2 for n in range(NUMBERS)) / NUMBERS
            (matched if i == j else mismatched).append(error)
    negative = sum(mismatched) / len(mismatched) if minus > 0 and mismatched else 0.0
    return sum(matched) / len(matched) + negative


def slow_guidance(name: str, i: int, j: int, e: list[list[float]], r: list[float], out: list[bool]) -> list[float]:
    """D_ij of one pair."""
    candidates = [k for k in range(len(r)) if not out[k]]
    if name == "bt":
        rivals = [k for k in candidates if k != i] if i == j else [j]
        terms = []
        for k in rivals:
            p = 1 / (1 + math.exp(-(r[i] - r[k])))
            two = [p * a + (1 - p) * b for a, b in zip(e[i], e[k], strict=True)]
            terms.append([a - b for a, b in zip(e[j], two, strict=True)])
        return [sum(t[n] for t in terms) / len(terms) for n in range(NUMBERS)] if terms else [0.0] * NUMBERS
    weights = dict(zip(candidates, slow_softmax([r[k] for k in candidates]), strict=True))
    scale = weights[j] / (1 - weights[j]) if name == "bayes" and i != j else 1.0
    return [scale * (e[j][n] - sum(weights[k] * e[k][n] for k in candidates)) for n in range(NUMBERS)]


CASES = [
    ("bt", bt.objective, DUAL),
    ("bt", bt.objective, replace(DUAL, gamma_negative=0.0)),
    ("pl", positive.objective, GuidedOptions(temperature=0.5)),
    ("pl", shared.objective, DUAL),
    ("pl", agsm.objective, agsm.Options(gamma_negative=0.3, temperature=0.5)),
    ("bayes", agsm.objective, BAYES),
]


@pytest.mark.parametrize(("name", "objective", "options"), CASES)
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_variant_is_its_equations(name: str, objective: Any, options: Any, count: int) -> None:
    loss, _ = objective(*example(count), options)
    assert loss.item() == pytest.approx(slow(name, example(count), options), rel=1e-12)


@pytest.mark.parametrize(("name", "objective", "options"), CASES)
def test_excluded_pairs_are_no_candidates_and_train_nothing(name: str, objective: Any, options: Any) -> None:
    predictions, ema, target = example(4)
    leaf = predictions.clone().requires_grad_()
    loss, _ = objective(leaf, ema, target, options, PairInfo(EXCLUDED))
    assert loss.item() == pytest.approx(slow(name, (predictions, ema, target), options, EXCLUDED), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert not gradient[EXCLUDED].any()


def test_softrepa_leaves_excluded_captions_out_of_its_softmax() -> None:
    predictions, _, target = example(4)
    options = SOFTREPA_OPTIONS[1]
    loss, _ = softrepa.objective(predictions, None, target, options, PairInfo(EXCLUDED))
    expected = 0.0
    for i in range(4):
        errors = (predictions[i] - target[i]).square().flatten(1).mean(1)
        kept = [j for j in range(4) if not EXCLUDED[i, j]]
        logits = [options.scale * math.exp(-errors[j] / options.temperature) for j in kept]
        expected -= math.log(slow_softmax(logits)[kept.index(i)])
        expected += float(options.denoising_weight or 0) * errors[i].item()
    assert loss.item() == pytest.approx(expected / 4, rel=1e-12)


@pytest.mark.parametrize(("name", "objective", "options"), CASES)
def test_the_gradient_of_every_variant(name: str, objective: Any, options: Any) -> None:
    predictions, ema, target = example(3)
    assert torch.autograd.gradcheck(lambda p: objective(p, ema, target, options)[0], predictions.requires_grad_())


def test_of_two_captions_bradley_terry_is_plackett_luce() -> None:
    ours = agsm.objective(*example(2), agsm.Options(gamma_negative=0.3, temperature=0.5))
    pairwise = bt.objective(*example(2), DUAL)
    assert pairwise[0].item() == pytest.approx(ours[0].item(), rel=1e-14)
    assert pairwise[1] == pytest.approx(ours[1])


def test_of_four_captions_they_differ() -> None:
    ours, _ = agsm.objective(*example(4), agsm.Options(gamma_negative=0.3, temperature=0.5))
    pairwise, _ = bt.objective(*example(4), DUAL)
    assert pairwise.item() != pytest.approx(ours.item(), rel=1e-3)


def test_positive_is_agsm_without_its_negatives() -> None:
    ours, _ = agsm.objective(*example(4), agsm.Options(gamma_negative=0.0))
    alone, _ = positive.objective(*example(4), GuidedOptions())
    assert alone.item() == ours.item()


def test_of_one_pair_shared_tokens_are_positive_only() -> None:
    both, _ = shared.objective(*example(1), DUAL)
    alone, _ = positive.objective(*example(1), GuidedOptions())
    assert both.item() == alone.item()


@pytest.mark.parametrize("objective", [bt.objective, shared.objective, agsm.objective])
def test_without_guidance_all_are_score_matching(objective: Any) -> None:
    """gamma = 0 on both sides: the plain denoising error of the matched pairs."""
    predictions, ema, target = example(4)
    options = agsm.Options(gamma_positive=0.0, gamma_negative=0.0)
    plain = (predictions.diagonal().movedim(-1, 0) - target).square().mean()
    loss, _ = objective(predictions, ema, target, options)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-14)


def test_bayes_guidance_is_eq_21() -> None:
    """Minus the gradient of log(1 - p) by the rewards, by automatic differentiation, times the predictions."""
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    ema = torch.randn(4, 4, 7, dtype=torch.float64, generator=generator)
    surrogate = guided.plackett_luce(ema, reward)
    found = agsm.bayes(ema, reward, surrogate)
    for i, j in ((0, 1), (3, 2)):
        row = reward[i].clone().requires_grad_()
        (gradient,) = torch.autograd.grad((1 - row.softmax(0)[j]).log(), row)
        torch.testing.assert_close(found[i, j], -gradient @ ema[i])
        weight = reward[i].softmax(0)[j]
        torch.testing.assert_close(found[i, j], weight / (1 - weight) * surrogate[i, j])
    assert (found.diagonal() == surrogate.diagonal()).all()


def test_bayes_guidance_survives_a_sure_caption() -> None:
    """A weight that rounds to 1 gives e_ij minus the others' mean, and no infinity times zero."""
    reward = torch.tensor([[0.0, 1e5], [0.0, -60.0]])
    ema = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]])
    found = agsm.bayes(ema, reward, guided.plackett_luce(ema, reward))
    assert found[0, 1].item() == 2.0
    assert found.isfinite().all()


def test_the_ddpm_coefficient_scales_the_guidance() -> None:
    """The loss is a parabola in the coefficient: three values fix the fourth."""
    options = agsm.Options(gamma_negative=0.3, guidance_coefficient="ddpm")
    a, b, c, d = (agsm.objective(*example(4), options, PairInfo(None, x))[0].item() for x in (0.0, 1.0, 2.0, 3.0))
    assert d == pytest.approx(a - 3 * b + 3 * c, rel=1e-12)
    plain, _ = agsm.objective(*example(4), replace(options, guidance_coefficient="one"), PairInfo(None, 7.0))
    assert b == plain.item()


def test_the_ddpm_coefficient_is_eq_15() -> None:
    beta = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, 0)
    process = DDPM(bar)
    for t in (1, 10, 500, 999):
        by_hand = beta[t] * (1 - bar[t]).sqrt() / ((1 - beta[t]) * (1 - bar[t - 1]))
        assert process.guidance_coefficient(t) == pytest.approx(by_hand.item(), rel=1e-9)
    assert process.guidance_coefficient(0) == process.guidance_coefficient(1)
    assert Flow().guidance_coefficient(500) == 1


def test_the_ddpm_coefficient_is_refused_on_a_flow_backbone() -> None:
    options = agsm.Options(guidance_coefficient="ddpm")
    agsm.TRAINER.check(options, UNET)
    with pytest.raises(UserError, match="eps"):
        agsm.TRAINER.check(options, MMDIT)


@pytest.mark.parametrize("name", ["agsm", "bt", "positive", "shared"])
@pytest.mark.parametrize("flag", ["gamma_positive", "temperature", "reduction"])
def test_bad_options_name_their_flag(name: str, flag: str) -> None:
    options = plugins.load("trainers", name).options(**{flag: -1.0})
    with pytest.raises(UserError) as caught:
        check_options(options)
    assert "--" + flag.replace("_", "-") in caught.value.message


def test_far_predictions_stay_finite() -> None:
    """Rewards of -1e6 overflow nothing in float32."""
    predictions, ema, target = (x.float() for x in example(4))
    for _, objective, options in CASES:
        loss, diagnostics = objective(predictions, ema * 1e3, target, options)
        assert loss.isfinite()
        assert all(math.isfinite(v) for v in diagnostics.values())


def test_shapes_of_a_prediction_do_not_matter() -> None:
    flat = tuple(x.flatten(2 if x.ndim == len(SHAPE) + 2 else 1) for x in example(4))
    for _, objective, options in CASES:
        assert objective(*flat, options)[0].item() == pytest.approx(objective(*example(4), options)[0].item())
