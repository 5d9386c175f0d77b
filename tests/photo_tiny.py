"""Tiny random pipelines with the architectures of SD1.5, SDXL and SD3 with T5, saved as users have theirs.

`python tests/photo_tiny.py FOLDER` makes all three, with data, to try the command line on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from coco_tiny import noise, write_coco
from diffusers import (
    DDIMScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from tokens_tiny import WIDTH, _text_settings, _tokenizer, _vae, tiny_sd3, tiny_sd15
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5TokenizerFast

SIZE = 16
"""Side of an image; the VAE halves it."""


def tiny_sdxl(folder: Path) -> Any:
    """A stock SDXL pipeline: two text encoders, the added conditions, transformers of several layers."""
    tokenizer = _tokenizer(folder)
    settings = _text_settings(tokenizer)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(settings).eval(),
        text_encoder_2=CLIPTextModelWithProjection(settings).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        add_watermarker=False,
    )


def tiny_sd3_t5(folder: Path) -> Any:
    """A stock SD3 pipeline with all three text encoders."""
    pipe = tiny_sd3(folder)
    tokenizer = _t5_tokenizer()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=64, d_kv=16, d_ff=37, num_layers=2, num_heads=4, is_encoder_decoder=False
    )
    parts = {name: value for name, value in pipe.components.items() if value is not None}
    parts |= {"text_encoder_3": T5EncoderModel(config).eval(), "tokenizer_3": tokenizer}
    return StableDiffusion3Pipeline(**parts)


def _t5_tokenizer() -> Any:
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((letter, -4.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"),
    ]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return T5TokenizerFast(tokenizer_object=inner, extra_ids=0, model_max_length=16)


MAKERS = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "sd3": tiny_sd3_t5}


def save_tiny(name: str, folder: Path) -> Path:
    """Saves a pipeline with the architecture of a backbone as a diffusers folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe = MAKERS[name](folder / "tokenizer-source")
    pipe.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


def main(folder: Path) -> None:
    """Writes SD1.5's, SDXL's and SD3's to FOLDER/NAME/pipeline and a COCO of five pictures to FOLDER/data."""
    os.environ["AGSM_BENCH_DATA"] = str(folder / "data")
    write_coco(folder / "data", picture=noise)
    for name in MAKERS:
        print(save_tiny(name, folder / name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
