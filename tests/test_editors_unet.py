"""MasaCtrl and PnP against slow readings of their equations, with the stock pipeline, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from editing_tiny import SOURCES, TARGETS, UNET, Soft, batch_of, edited, exact, replaced, tiny_denoiser, traces
from tokens_tiny import tokens_for
from torch import Tensor
from torch.nn.functional import silu

from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.editors.pnp import NEGATIVE
from agsm_bench.tokens import SoftTokens

STEPS = 3
INVERSIONS = ["ddim", "direct"]
OFF: dict[str, dict[str, Any]] = {"masactrl": {"start_step": STEPS}, "pnp": {"attention_steps": 0, "feature_steps": 0}}
ON: dict[str, dict[str, Any]] = {
    "masactrl": {"start_step": 1},
    "pnp": {"attention_steps": 1, "feature_steps": 2, "negative_prompt": "ugly"},
}
SHORT: dict[str, Any] = {"steps": STEPS, "guidance_scale": 3.0}
SHORTER: dict[str, Any] = {"steps": 2, "guidance_scale": 3.0}
ALWAYS_ON: dict[str, dict[str, Any]] = {"masactrl": ON["masactrl"] | {"start_step": 0}, "pnp": ON["pnp"]}
"""Control in the first step, too: where one is enough."""
ROW = 1
"""Of two that are edited together: the one that is read slowly."""
LATE = ("up_blocks.1.attentions.1", "up_blocks.2.attentions.0", "up_blocks.2.attentions.1")
"""Layers 4 to 6 of the 7 that the tiny UNet has."""
EVERY = ("down_blocks", "mid_block", "up_blocks")


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    return exact(tiny_denoiser("unet", tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def tokens() -> SoftTokens:
    return tokens_for("unet", apply=(True, True, True))


@pytest.fixture(scope="module")
def on(denoiser: Denoiser) -> dict[str, Tensor]:
    """Two pictures by each editor, two steps with control; not to be changed."""
    return {name: edited(name, denoiser, **SHORTER, **ON[name]) for name in UNET}


class SharedAttention:
    """Attention of a batch [source, away, toward] in plain tensor operations, some of it the source's in all rows."""

    def __init__(self, shared: str) -> None:
        self.shared = shared

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        projected = {"q": attn.to_q(hidden_states), "k": attn.to_k(hidden_states), "v": attn.to_v(hidden_states)}
        for part in self.shared:
            projected[part] = projected[part][:1].repeat(len(hidden_states), 1, 1)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in projected.values())
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        output: Tensor = attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2))
        return output


@contextmanager
def controlled(unet: Any, layers: Sequence[str], shared: str) -> Iterator[None]:
    """SharedAttention in the self-attentions named, e.g. `up_blocks.1.attentions.1`."""
    before = dict(unet.attn_processors)
    chosen = [name for name in before if name.startswith(tuple(layers)) and ".attn1." in name]
    assert len(chosen) == len(layers)
    unet.set_attn_processor({name: SharedAttention(shared) if name in chosen else old for name, old in before.items()})
    yield
    unet.set_attn_processor(before)


def residual_of_source(layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The forward of a residual layer by hand, its features, before they are added to the input, the source's."""

    def forward(x: Tensor, temb: Tensor, *_: Any) -> Tensor:
        hidden = layer.conv1(silu(layer.norm1(x))) + layer.time_emb_proj(silu(temb))[:, :, None, None]
        features = layer.conv2(silu(layer.norm2(hidden)))
        straight = x if layer.conv_shortcut is None else layer.conv_shortcut(x)
        result: Tensor = straight + features[:1]
        return result

    return forward


class Slow:
    """One picture's edit, read from the equations.

    Args:
        denoiser: with the tiny UNet, and the timesteps of 1000 // steps, one later.
        tokens: attached to every prediction, psi- where CFG leads away from.
    """

    def __init__(self, denoiser: Denoiser, tokens: SoftTokens | None) -> None:
        self.unet, self.tokens, self.pipe = denoiser.network, tokens, denoiser.pipe
        self.times = [1 + i * (1000 // STEPS) for i in reversed(range(STEPS))]

    def level(self, step: int) -> float:
        """abar before a step of sampling; after the last one the picture is clean."""
        return float(self.pipe.scheduler.alphas_cumprod[self.times[step]]) if step < STEPS else 1.0

    @torch.no_grad()
    def noise(self, rows: Sequence[Tensor], texts: Sequence[str], step: int, away: int | None = None) -> list[Tensor]:
        """Predictions of rows [1, c, h, w] in one forward; row `away` is the one that CFG leads away from."""
        context = torch.cat([self.pipe.encode_prompt([text], "cpu", 1, False)[0] for text in texts])
        polarity = torch.tensor([int(i == away) for i in range(len(rows))])
        with ExitStack() as stack:
            if self.tokens is not None:
                stack.enter_context(self.tokens.attached(self.unet, polarity=polarity))
            return list(self.unet(torch.cat(list(rows)), self.times[step], context).sample.split(1))

    def moved(self, z: Tensor, noise: Tensor, before: float, after: float) -> Tensor:
        clean = (z - (1 - before) ** 0.5 * noise) / before**0.5
        return after**0.5 * clean + (1 - after) ** 0.5 * noise

    def inverted(self, picture: Tensor, text: str) -> list[Tensor]:
        """z* before each step of sampling, and the picture."""
        path = [picture]
        for step in reversed(range(STEPS)):
            (noise,) = self.noise([path[0]], [text], step)
            path.insert(0, self.moved(path[0], noise, self.level(step + 1), self.level(step)))
        return path

    def edit(
        self,
        picture: Tensor,
        inverted_text: str,
        texts: tuple[str, str, str],
        direct: bool,
        control: Callable[[int], Any],
    ) -> Tensor:
        """The target; `texts` are those of [source, away, toward] and `control(step)` what rules over their forward."""
        path = self.inverted(picture, inverted_text)
        source = target = path[0]
        for step in range(STEPS):
            before, after = self.level(step), self.level(step + 1)
            with control(step):
                _, away, toward = self.noise([source, target, target], texts, step, away=1)
            (own,) = self.noise([source], [inverted_text], step)
            source = self.moved(source, own, before, after)
            if direct:
                (kept,) = self.noise([path[step]], [inverted_text], step)
                source = source + (path[step + 1] - self.moved(path[step], kept, before, after))
            target = self.moved(target, away + SHORT["guidance_scale"] * (toward - away), before, after)
        return target


def slow_masactrl(slow: Slow, row: int, direct: bool, start_step: int, layers: Sequence[str]) -> Tensor:
    """Keys and values of the source in all rows, from a step on."""

    @contextmanager
    def control(step: int) -> Iterator[None]:
        with ExitStack() as stack:
            if step >= start_step:
                stack.enter_context(controlled(slow.unet, layers, "kv"))
            yield

    picture = batch_of().latents[row : row + 1].double()
    return slow.edit(picture, "", ("", "", TARGETS[row]), direct, control)


def slow_pnp(slow: Slow, row: int, direct: bool, attention_steps: int, feature_steps: int, negative: str) -> Tensor:
    """Queries and keys of the source in all rows, and its features, up to a step each."""
    residual = slow.unet.up_blocks[1].resnets[1]

    @contextmanager
    def control(step: int) -> Iterator[None]:
        with ExitStack() as stack:
            if step < attention_steps:
                stack.enter_context(controlled(slow.unet, LATE, "qk"))
            if step < feature_steps:
                stack.enter_context(replaced(residual, residual_of_source(residual)))
            yield

    picture = batch_of().latents[row : row + 1].double()
    return slow.edit(picture, SOURCES[row], ("", negative, TARGETS[row]), direct, control)


@pytest.mark.parametrize(
    ("start_layer", "layers", "inversion", "with_tokens"),
    [(10, LATE, "ddim", False), (10, LATE, "direct", True), (0, EVERY, "direct", False)],
)
def test_masactrl_equals_a_slow_reading(
    denoiser: Denoiser, tokens: SoftTokens, start_layer: int, layers: tuple[str, ...], inversion: str, with_tokens: bool
) -> None:
    names = [name for name in denoiser.network.attn_processors if ".attn1." in name]
    chosen = [name.removesuffix(".processor") for name in names if name.startswith(layers)]
    soft = Soft(tokens, "both", 1) if with_tokens else None
    options: dict[str, Any] = {"inversion": inversion, "start_step": 1, "start_layer": start_layer}
    found = edited("masactrl", denoiser, soft=soft, **SHORT, **options)
    slow = Slow(denoiser, tokens if with_tokens else None)
    expected = slow_masactrl(slow, ROW, inversion == "direct", 1, chosen)
    assert torch.allclose(found[ROW], expected[0], atol=1e-5), (found[ROW] - expected[0]).abs().max()


@pytest.mark.parametrize(
    ("attention_steps", "feature_steps", "inversion", "with_tokens"),
    [(1, 2, "ddim", False), (2, 1, "direct", True), (2, 0, "direct", False), (0, 2, "ddim", True)],
)
def test_pnp_equals_a_slow_reading(
    denoiser: Denoiser, tokens: SoftTokens, attention_steps: int, feature_steps: int, inversion: str, with_tokens: bool
) -> None:
    soft = Soft(tokens, "both", 1) if with_tokens else None
    until: dict[str, Any] = {
        "attention_steps": attention_steps,
        "feature_steps": feature_steps,
        "negative_prompt": "ugly",
    }
    found = edited("pnp", denoiser, soft=soft, inversion=inversion, **SHORT, **until)
    slow = Slow(denoiser, tokens if with_tokens else None)
    expected = slow_pnp(slow, ROW, inversion == "direct", attention_steps, feature_steps, "ugly")
    assert torch.allclose(found[ROW], expected[0], atol=1e-5), (found[ROW] - expected[0]).abs().max()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("masactrl", [{"start_step": 0}, {"start_layer": 0}]),
        ("pnp", [{"attention_steps": 0}, {"feature_steps": 0}, {"negative_prompt": ""}]),
    ],
)
def test_every_setting_matters(
    denoiser: Denoiser, on: dict[str, Tensor], name: str, others: list[dict[str, Any]]
) -> None:
    """So that the readings compare something."""
    for other in others:
        assert (edited(name, denoiser, **SHORTER, **(ON[name] | other)) - on[name]).abs().max() > 1e-3


@pytest.mark.parametrize("name", UNET)
def test_the_inversions_differ_by_control_alone(denoiser: Denoiser, on: dict[str, Tensor], name: str) -> None:
    assert not torch.equal(edited(name, denoiser, inversion="direct", **SHORTER, **ON[name]), on[name])
    ddim, direct = (edited(name, denoiser, inversion=each, **SHORTER, **OFF[name]) for each in INVERSIONS)
    assert torch.equal(ddim, direct)


@pytest.mark.parametrize(
    ("name", "negative", "inversion", "scale"),
    [("masactrl", "", "ddim", 3.0), ("masactrl", "", "direct", 1.0), ("pnp", NEGATIVE, "direct", 3.0)],
)
def test_without_control_it_is_the_stock_pipeline_from_the_inverted_noise(
    denoiser: Denoiser, name: str, negative: str, inversion: str, scale: float
) -> None:
    slow = Slow(denoiser, None)
    batch = batch_of()
    texts = [""] * 2 if name == "masactrl" else batch.source
    pictures = batch.latents.double().split(1)
    start = torch.cat([slow.inverted(*each)[0] for each in zip(pictures, texts, strict=True)])
    stock = denoiser.pipe(
        list(batch.target),
        negative_prompt=[negative] * 2,
        latents=start,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        output_type="latent",
    ).images
    found = edited(name, denoiser, inversion=inversion, steps=STEPS, guidance_scale=scale, **OFF[name])
    assert torch.allclose(found, stock, atol=1e-5), (found - stock).abs().max()


def test_masactrl_without_layers_has_no_control(denoiser: Denoiser) -> None:
    without = edited("masactrl", denoiser, **SHORTER, start_step=0, start_layer=16)
    assert torch.equal(without, edited("masactrl", denoiser, **SHORTER, start_step=2))


@pytest.mark.parametrize("name", UNET)
def test_rows_do_not_depend_on_each_other(denoiser: Denoiser, on: dict[str, Tensor], name: str) -> None:
    one, three = (edited(name, denoiser, batch_of(rows), **SHORTER, **ON[name]) for rows in (1, 3))
    assert torch.allclose(one, on[name][:1], atol=1e-4)
    assert torch.allclose(three[:2], on[name], atol=1e-4)


@pytest.mark.parametrize(("name", "inversion"), [("masactrl", "direct"), ("pnp", "ddim")])
def test_soft_tokens_on_each_branch(denoiser: Denoiser, tokens: SoftTokens, name: str, inversion: str) -> None:
    ways = [None, *(Soft(tokens, on) for on in ("both", "target", "source")), Soft(tokens, "both", 1)]
    options: dict[str, Any] = {"inversion": inversion, "steps": 1, "guidance_scale": 3.0, **ALWAYS_ON[name]}
    found = [edited(name, denoiser, soft=soft, **options) for soft in ways]
    for i, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in found[:i])


@pytest.mark.parametrize("name", UNET)
def test_negative_tokens_are_where_guidance_leads_away_from(denoiser: Denoiser, tokens: SoftTokens, name: str) -> None:
    """A scale of 1 has no such prediction, and tokens on the source alone do not get there."""
    for scale, on, same in ((1.0, "both", True), (3.0, "source", True), (3.0, "target", False)):
        found = [
            edited(name, denoiser, soft=Soft(tokens, on, away), steps=1, guidance_scale=scale, **ALWAYS_ON[name])  # type: ignore[arg-type]
            for away in (0, 1)
        ]
        assert torch.equal(*found) is same


@pytest.mark.parametrize("name", UNET)
def test_no_tokens_change_nothing(denoiser: Denoiser, on: dict[str, Tensor], name: str) -> None:
    nothing = Soft(tokens_for("unet", count=0), "both", 1)
    assert torch.equal(edited(name, denoiser, soft=nothing, **SHORTER, **ON[name]), on[name])


@pytest.mark.parametrize("name", UNET)
def test_nothing_is_left_behind(denoiser: Denoiser, tokens: SoftTokens, name: str) -> None:
    """Neither at the end nor where the network stops in any of its forwards, late in it."""
    last, calls = denoiser.network.conv_out, 0

    def failing(at: int | None) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == at:
                raise RuntimeError("midway")
            result: Tensor = type(last).forward(last, x)
            return result

        return forward

    options: dict[str, Any] = {"steps": 1, "guidance_scale": 3.0, **ALWAYS_ON[name]}
    before, plain = traces(denoiser.network), edited(name, denoiser, **options)
    assert traces(denoiser.network) == before
    with replaced(last, failing(None)):
        edited(name, denoiser, soft=Soft(tokens, "both", 1), **options)
    assert traces(denoiser.network) == before
    total, soft = calls, Soft(tokens, "both", 1)
    assert total >= 3
    for at in range(1, total + 1):
        calls = 0
        with replaced(last, failing(at)), pytest.raises(RuntimeError, match="midway"):
            edited(name, denoiser, soft=soft, **options)
        assert traces(denoiser.network) == before
    assert torch.equal(edited(name, denoiser, **options), plain)
