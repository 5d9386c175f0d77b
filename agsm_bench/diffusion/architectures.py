"""The paper's backbones as their makers published them, for estimates before they are downloaded. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SD15: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD3: dict[str, Any] = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}


@dataclass(frozen=True)
class Architecture:
    """A pipeline's network, and how large its other models are."""

    network: Mapping[str, Any]
    """Its config.json, as far as it differs from the defaults of the class, with `_class_name`."""
    others: Mapping[str, int]
    """Parameters of the other models, by component."""


CLIP_L, BIG_G, T5_XXL, VAE = 123_060_480, 694_659_840, 4_762_310_656, 83_653_863
ARCHITECTURES: Mapping[str, Architecture] = {
    "sd15": Architecture(SD15, {"text_encoder": CLIP_L, "vae": VAE}),
    "sdxl": Architecture(SDXL, {"text_encoder": CLIP_L, "text_encoder_2": BIG_G, "vae": VAE}),
    # its first text encoder has a projection, its VAE 16 channels
    "sd3": Architecture(
        SD3,
        {
            "text_encoder": CLIP_L + 768 * 768,
            "text_encoder_2": BIG_G,
            "text_encoder_3": T5_XXL,
            "vae": 83_819_683,
        },
    ),
}
