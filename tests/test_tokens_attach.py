"""Attaching soft tokens to bare models, compared with forwards written by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tokens_tiny import (
    BLOCKS,
    by_hand,
    inputs_for,
    mmdit_by_hand,
    tiny_mmdit,
    tiny_unet,
    tokens_for,
    unet_by_hand,
)
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from agsm_bench.errors import ExitCode, UserError
from agsm_bench.tokens import attached

CHOICES = [choice for choice in itertools.product([True, False], repeat=3) if any(choice)]
PLACEMENTS = ["unet", "mmdit"]


def _model(placement: str) -> Any:
    return tiny_unet() if placement == "unet" else tiny_mmdit()


def _forward(model: Any, timestep: Any = 500, rows: int = 2, **more: Any) -> Tensor:
    placement = "unet" if isinstance(model, UNet2DConditionModel) else "mmdit"
    if placement == "mmdit":
        timestep = torch.as_tensor(timestep).expand(rows)
    out: Tensor = model(**inputs_for(placement, rows), timestep=timestep, **more).sample
    return out


def _hooks(model: nn.Module) -> int:
    stores = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called")
    return sum(len(getattr(module, store)) for module in model.modules() for store in stores)


@pytest.mark.parametrize("time_dependent", [True, False])
@pytest.mark.parametrize("t", [0, 999, 1000])
@pytest.mark.parametrize("apply", CHOICES)
def test_unet_equals_hand_written_attention(apply: tuple[bool, bool, bool], t: int, time_dependent: bool) -> None:
    model, tokens = tiny_unet(), tokens_for("unet", apply=apply, time_dependent=time_dependent)
    with tokens.attached(model, polarity=torch.tensor([1, 0])), torch.no_grad():
        ours = _forward(model, t)
    with unet_by_hand(model, by_hand(tokens, [t, t], [1, 0])[:, 0], apply), torch.no_grad():
        reference = _forward(model, t)
    assert torch.allclose(ours, reference, atol=1e-5)
    assert (ours - _forward(model, t)).abs().max() > 1e-3


@pytest.mark.parametrize("time_dependent", [True, False])
@pytest.mark.parametrize("t", [0, 999, 1000])
@pytest.mark.parametrize("layers", range(1, BLOCKS + 1))
def test_mmdit_equals_hand_written_forward(layers: int, t: int, time_dependent: bool) -> None:
    model, tokens = tiny_mmdit(), tokens_for("mmdit", layers=layers, time_dependent=time_dependent)
    times = torch.tensor([t, 321])
    with tokens.attached(model, polarity=torch.tensor([0, 1])), torch.no_grad():
        ours = model(**inputs_for("mmdit"), timestep=times).sample
    extra = by_hand(tokens, times.tolist(), [0, 1])
    with torch.no_grad():
        reference = mmdit_by_hand(model, extra, **inputs_for("mmdit"), timestep=times)
    assert torch.allclose(ours, reference, atol=1e-5)
    assert (ours - model(**inputs_for("mmdit"), timestep=times).sample).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{"qk_norm": "rms_norm"}, {"dual_attention_layers": (0, 1)}])
def test_mmdit_variants(options: dict[str, Any]) -> None:
    model, tokens, times = tiny_mmdit(**options), tokens_for("mmdit"), torch.tensor([7.5, 7.5])
    with tokens.attached(model, polarity=1), torch.no_grad():
        ours = model(**inputs_for("mmdit"), timestep=times).sample
    with torch.no_grad():
        extra = by_hand(tokens, [7.5, 7.5], [1, 1])
        reference = mmdit_by_hand(model, extra, **inputs_for("mmdit"), timestep=times)
    assert torch.allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_rows_do_not_depend_on_their_batch(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement)
    times = torch.tensor([3, 400, 999])
    inputs = inputs_for(placement, rows=3)
    with tokens.attached(model) as handle, torch.no_grad():
        handle.polarity = torch.tensor([0, 1, 0])
        batch = model(**inputs, timestep=times).sample
        for row in range(3):
            handle.polarity = row % 2
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            single = model(**one, timestep=times[row : row + 1]).sample
            assert torch.allclose(batch[row], single[0], atol=1e-5)


@pytest.mark.parametrize("timestep", [500, 500.0, torch.tensor(500), torch.tensor([500]), torch.tensor([500, 500])])
def test_every_spelling_of_the_timestep(timestep: Any) -> None:
    model, tokens = tiny_unet(), tokens_for("unet")
    inputs = inputs_for("unet")
    with tokens.attached(model), torch.no_grad():
        expected = _forward(model, torch.tensor([500, 500]))
        assert torch.allclose(_forward(model, timestep), expected, atol=1e-6)
        positional = model(inputs["sample"], timestep, inputs["encoder_hidden_states"], return_dict=False)[0]
        assert torch.allclose(positional, expected, atol=1e-6)


def test_mmdit_positional_arguments() -> None:
    model, tokens = tiny_mmdit(), tokens_for("mmdit")
    with tokens.attached(model), torch.no_grad():
        expected = _forward(model)
        arguments = (*inputs_for("mmdit").values(), torch.tensor([500, 500]))
        assert torch.equal(model(*arguments, None, {}, False)[0], expected)
        assert torch.equal(model(*arguments, joint_attention_kwargs={"scale": 1.0})[0], expected)


def test_tokens_come_right_after_the_first_text_token() -> None:
    model, tokens, seen = tiny_unet(), tokens_for("unet"), []
    text = inputs_for("unet")["encoder_hidden_states"]
    attention = model.mid_block.attentions[0].transformer_blocks[0].attn2
    hook = attention.register_forward_pre_hook(
        lambda *call: seen.append(call[2]["encoder_hidden_states"]), with_kwargs=True
    )
    with tokens.attached(model), torch.no_grad():
        _forward(model)
    hook.remove()
    extra = by_hand(tokens, [500, 500], [0, 0])[:, 0]
    assert torch.equal(seen[0], torch.cat([text[:, :1], extra, text[:, 1:]], dim=1))


def test_masked_text_is_still_masked() -> None:
    model, tokens = tiny_unet(), tokens_for("unet", apply=(True, True, True))
    inputs, mask = inputs_for("unet"), torch.ones(2, 7)
    mask[0, 5:], mask[1, :2] = 0, 0
    with tokens.attached(model), torch.no_grad():
        masked = model(**inputs, timestep=10, encoder_attention_mask=mask).sample
        text = inputs["encoder_hidden_states"]
        kept = torch.stack([text[0, :5], text[1, 2:]])
        shorter = model(inputs["sample"], 10, kept).sample
    assert torch.allclose(masked, shorter, atol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_no_tokens_leave_the_model_as_it_is(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement, count=0)
    before = _forward(model)
    with tokens.attached(model):
        assert torch.equal(_forward(model), before)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_detaching_restores_the_model(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement)
    before = _forward(model)
    with tokens.attached(model):
        assert not torch.equal(_forward(model), before)
    assert torch.equal(_forward(model), before)
    with pytest.raises(RuntimeError), tokens.attached(model):
        model(torch.zeros(2, 3, 8, 8))
    assert _hooks(model) == 0
    assert torch.equal(_forward(model), before)
    with tokens.attached(model):  # and it can be attached to again
        pass


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_failed_forward_does_not_spoil_the_next(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement)
    with tokens.attached(model):
        expected = _forward(model)
        wrong = {**inputs_for(placement), "encoder_hidden_states": torch.zeros(2, 7, 5)}
        with pytest.raises(RuntimeError):
            model(**wrong, timestep=torch.tensor([500, 500]))
        assert torch.equal(_forward(model), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_gradients(placement: str, checkpointing: bool) -> None:
    """Exact gradients, also when other tokens and polarities run before backward, as in AGSM's step."""
    model, tokens, average = _model(placement), tokens_for(placement), tokens_for(placement)
    with torch.no_grad():
        average.base.mul_(-1)
    model.train()
    expected = _gradients(model, tokens)
    if checkpointing:
        model.enable_gradient_checkpointing()
    with attached(tokens, model, polarity=torch.tensor([1, 0])) as handle:
        loss = _forward(model).square().mean()
        handle.tokens, handle.polarity = average, 0
        with torch.no_grad():
            _forward(model)
        loss.backward()
    for name, parameter in tokens.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected[name], atol=1e-6), name
        assert parameter.grad.abs().max() > 1e-6
    assert all(parameter.grad is None for parameter in (*model.parameters(), *average.parameters()))


def _gradients(model: Any, tokens: Any) -> dict[str, Tensor]:
    """Gradients through the forwards written by hand."""
    extra = by_hand(tokens, [500, 500], [1, 0])
    if isinstance(model, UNet2DConditionModel):
        with unet_by_hand(model, extra[:, 0], tokens.config.apply):
            out = _forward(model)
    else:
        out = mmdit_by_hand(model, extra, **inputs_for("mmdit"), timestep=torch.tensor([500, 500]))
    names, parameters = zip(*tokens.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(out.square().mean(), parameters), strict=True))


def test_checkpointed_backward_after_detaching_fails_loudly() -> None:
    model, tokens = tiny_mmdit().train(), tokens_for("mmdit")
    model.enable_gradient_checkpointing()
    with tokens.attached(model):
        loss = _forward(model).square().mean()
    with pytest.raises(CheckpointError):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_half_precision_model_with_float32_tokens(placement: str, dtype: torch.dtype) -> None:
    model, tokens = _model(placement), tokens_for(placement, count=2)
    inputs = inputs_for(placement)
    with tokens.attached(model), torch.no_grad():
        exact = _forward(model)
        model.to(dtype)
        halves = {name: value.to(dtype) for name, value in inputs.items()}
        half = model(**halves, timestep=torch.tensor([500, 500])).sample
    assert half.dtype == dtype
    assert tokens.base.dtype == torch.float32
    assert (half.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_autocast(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement)
    with tokens.attached(model), torch.autocast("cpu", torch.bfloat16):
        _forward(model).float().square().mean().backward()
    assert tokens.base.grad is not None
    assert tokens.base.grad.dtype == torch.float32
    assert tokens.base.grad[0].abs().sum() > 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_wrong_numbers_of_rows(placement: str) -> None:
    model, tokens = _model(placement), tokens_for(placement)
    with tokens.attached(model, polarity=torch.tensor([0, 1, 0])) as handle:
        with pytest.raises(ValueError, match="3 polarities for 2 rows"):
            _forward(model)
        handle.polarity = 0
        with pytest.raises(ValueError, match="3 timesteps for 2 rows"):
            model(**inputs_for(placement), timestep=torch.tensor([1, 2, 3]))


@pytest.mark.parametrize(
    "rows", [torch.tensor([0.0, 1.0]), torch.tensor([[0, 1]]), torch.tensor([0, 2]), torch.tensor([-1, 0])]
)
def test_wrong_row_polarities(rows: Tensor) -> None:
    with (
        pytest.raises(ValueError, match="polarities"),
        tokens_for("unet").attached(tiny_unet(), polarity=rows),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"placement": "mmdit"}, tiny_unet),
        ({"placement": "unet"}, tiny_mmdit),
        ({"placement": "unet", "dim": 48}, tiny_unet),
        ({"placement": "mmdit", "dim": 48}, tiny_mmdit),
        ({"placement": "mmdit", "layers": BLOCKS + 1}, tiny_mmdit),
        ({"placement": "unet"}, lambda: AutoencoderKL(block_out_channels=(32,))),
        ({"placement": "unet"}, object),
    ],
)
def test_tokens_of_another_backbone_are_refused(options: dict[str, Any], model: Any) -> None:
    with pytest.raises(UserError) as caught, tokens_for(**options).attached(model()):
        pass
    assert caught.value.code == ExitCode.USAGE
    assert "\n" not in str(caught.value)


def test_attaching_twice_is_refused() -> None:
    model, tokens = tiny_unet(), tokens_for("unet")
    with tokens.attached(model):
        with pytest.raises(UserError, match="already attached"), tokens_for("unet").attached(model):
            pass
        assert _hooks(model) > 0  # the first attachment survives the refusal
        with tokens.attached(tiny_unet()):  # another model is free
            pass


def test_senseless_polarities_are_refused() -> None:
    model, tokens = tiny_unet(), tokens_for("unet")
    for wrong in ({"polarity": 2}, {"unconditional_polarity": 1}):
        with pytest.raises(UserError), tokens.attached(model, **wrong):
            pass
    assert _hooks(model) == 0
