"""The full-size architectures on the meta device: parameter counts, and that tokens fit everywhere they go."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from agsm_bench import plugins
from agsm_bench.diffusion.architectures import ARCHITECTURES
from agsm_bench.tokens import SoftTokens

CLASSES = {
    name: (getattr(diffusers, each.network["_class_name"]), {k: v for k, v in each.network.items() if k[0] != "_"})
    for name, each in ARCHITECTURES.items()
}


def network(name: str) -> Any:
    kind, config = CLASSES[name]
    with torch.device("meta"):
        return kind(**config)


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(("name", "count"), [("sd15", 859_520_964), ("sdxl", 2_567_463_684), ("sd3", 2_028_328_000)])
def test_parameters_of_the_backbones(name: str, count: int) -> None:
    assert parameters(network(name)) == count


def test_parameters_of_the_other_models() -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    big_g = CLIPTextConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280
    )
    clip_l = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    t5 = T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    vae = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
    }
    with torch.device("meta"):
        found = {
            "text_encoder": CLIPTextModelWithProjection(clip_l),
            "text_encoder_2": CLIPTextModelWithProjection(big_g),
            "text_encoder_3": T5EncoderModel(t5),
            "vae": diffusers.AutoencoderKL(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, **vae),
        }
        of_unets = diffusers.AutoencoderKL(**vae)
    others = ARCHITECTURES["sd3"].others
    assert {name: parameters(model) for name, model in found.items()} == others
    assert parameters(of_unets) == ARCHITECTURES["sdxl"].others["vae"]


@pytest.mark.parametrize(
    ("name", "count"),
    [("sd15", 2 * 4 * 768 + 100 * 768), ("sdxl", 2 * 4 * 2048 + 100 * 2048), ("sd3", 829_440)],
)
def test_parameters_of_the_tokens(name: str, count: int) -> None:
    assert parameters(SoftTokens(plugins.load("backbones", name).tokens)) == count


def inputs(name: str, rows: int) -> dict[str, Any]:
    side, length = (128, 589) if name == "sd3" else (CLASSES[name][1]["sample_size"], 77)
    config = CLASSES[name][1]
    text = torch.empty(rows, length, config["joint_attention_dim" if name == "sd3" else "cross_attention_dim"])
    image = torch.empty(rows, 16 if name == "sd3" else 4, side, side)
    if name == "sd3":
        return {"hidden_states": image, "encoder_hidden_states": text, "pooled_projections": torch.empty(rows, 2048)}
    added = {"text_embeds": torch.empty(rows, 1280), "time_ids": torch.empty(rows, 6)}
    return {"sample": image, "encoder_hidden_states": text, **({"added_cond_kwargs": added} if name == "sdxl" else {})}


@pytest.mark.parametrize("name", CLASSES)
def test_every_hook_sees_the_tokens(name: str) -> None:
    """The length of the text that each attention layer of the chosen blocks gets; nothing else changes."""
    model, config = network(name), plugins.load("backbones", name).tokens
    lengths: dict[str, int] = {}

    def note(label: str) -> Any:
        def hook(_: object, __: object, kwargs: dict[str, Any]) -> None:
            lengths[label] = kwargs["encoder_hidden_states"].shape[1]

        return hook

    layers = {
        label: layer for label, layer in model.named_modules() if label.endswith(".attn" if name == "sd3" else ".attn2")
    }
    for label, layer in layers.items():
        layer.register_forward_pre_hook(note(label), with_kwargs=True)
    with torch.device("meta"):
        tokens, arguments = SoftTokens(config), inputs(name, 2)
        with tokens.attached(model), torch.no_grad():
            output = model(timestep=torch.full((2,), 500), **arguments).sample
    image = arguments["hidden_states" if name == "sd3" else "sample"]
    assert output.shape == image.shape
    text = arguments["encoder_hidden_states"].shape[1]
    first = tuple(f"transformer_blocks.{i}." for i in range(5)) if name == "sd3" else ("down_blocks", "mid_block")
    assert lengths == {label: text + 4 * label.startswith(first) for label in layers}
    assert sum(label.startswith(first) for label in layers) == {"sd15": 7, "sdxl": 34, "sd3": 5}[name]


@pytest.mark.slow
def test_a_step_of_full_size_sd15_trains_the_tokens_that_it_used() -> None:
    """Random weights on the CPU, a picture of 512 pixels, psi+: 4 GB of weights and as much for the backward."""
    torch.manual_seed(0)
    kind, config = CLASSES["sd15"]
    model = kind(**config).requires_grad_(False)
    model.enable_gradient_checkpointing()
    tokens = SoftTokens.initialise(plugins.load("backbones", "sd15").tokens, torch.Generator().manual_seed(0))
    noised, text, noise = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768), torch.randn(1, 4, 64, 64)
    optimizer = torch.optim.AdamW(tokens.parameters(), lr=1e-3)
    before = tokens.base.detach().clone()
    with tokens.attached(model.train()):
        prediction = model(noised, torch.tensor([705]), text).sample
        assert prediction.shape == noise.shape
        (prediction - noise).square().mean().backward()
    assert tokens.base.grad is not None
    assert tokens.time is not None
    assert tokens.time.grad is not None
    assert tokens.base.grad.isfinite().all()
    assert (tokens.base.grad[0].abs().sum(-1) > 0).all()
    assert tokens.base.grad[1].abs().max() == 0
    assert tokens.time.grad.abs().sum(-1).nonzero().flatten().tolist() == [70]
    assert all(parameter.grad is None for parameter in model.parameters())
    optimizer.step()
    assert (tokens.base.detach()[0] - before[0]).abs().max() == pytest.approx(1e-3, rel=0.05)
