"""ImageReward v1.0: a human preference model of image and prompt on BLIP (Xu et al. 2023).

transformers' BLIP towers with the authors' checkpoint, key by key. Their package, image-reward, pins timm 0.6.13 and
imports OpenAI's clip, fairscale and names that transformers 5 no longer has: it is the `--reference`, in an
environment of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.preprocessing import shared_clip_pixels
from agsm_bench.weight_files import WeightFile

if TYPE_CHECKING:
    from torch import Tensor

NAME = "image_reward/v1.0"
WEIGHTS = (
    WeightFile("ImageReward.pt", "THUDM/ImageReward"),
    WeightFile("med_config.json", "THUDM/ImageReward"),
    WeightFile("vocab.txt", "google-bert/bert-base-uncased"),
)
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the raw reward (ImageReward.py)."""
MAX_LENGTH = 35
"""Tokens of a prompt; every prompt is padded to as many."""
HEAD_WIDTH = 64
"""Of the vision tower's attention, in every size of ViT."""
EPS = 1e-6
"""Of the vision tower's layer norms; transformers' default, 1e-5, moves scores by 3e-4."""
TEXT_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "layer_norm_eps", "hidden_act"),
)
"""Of med_config.json."""
VISION_KEYS = (
    (r"^patch_embed\.proj", "embeddings.patch_embedding"),
    (r"^pos_embed", "embeddings.position_embedding"),
    (r"^cls_token", "embeddings.class_embedding"),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.attn\.proj", ".self_attn.projection"),
    (r"\.attn\.", ".self_attn."),
    (r"\.norm([12])\.", r".layer_norm\1."),
)
"""timm's names -> transformers'."""
SIZED = ("embeddings.patch_embedding.weight", "embeddings.position_embedding", "encoder.layers.0.mlp.fc1.weight")
"""What the sizes of the vision tower are read from."""


class ImageRewardJudge:
    """Vision tower, text tower with cross attention, and the linear layers on its first token."""

    def __init__(self, files: Files, device: str) -> None:
        from agsm_bench.state_dicts import fill, read_state

        path = files["ImageReward.pt"]
        state = read_state(path)
        vision = _renamed(_below(state, "blip.visual_encoder."))
        text = {k: v for k, v in _below(state, "blip.text_encoder.").items() if not k.endswith("position_ids")}
        head = _below(state, "mlp.layers.")
        if any(key not in vision for key in SIZED) or "0.weight" not in head:
            raise MissingError(f"{path.name} is the checkpoint of another model: it has no BLIP.", f"Get {path} again.")
        self._vision, self._device = _vision_tower(vision), device
        self._text = _text_tower(files["med_config.json"], width=self._vision.config.hidden_size)
        self._head = _linear_layers(head)
        for network, own in ((self._vision, vision), (self._text, text), (self._head, head)):
            fill(network, own, path)
            network.eval().to(device)
        self._tokenizer = _tokenizer(files["vocab.txt"])

    def prepare(self, name: str, picture: Picture) -> tuple[np.ndarray, str]:
        """float32 [3, 224, 224] and the prompt."""
        return shared_clip_pixels(picture, self._vision.config.image_size), picture.prompt or ""

    def judge(self, name: str, prepared: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
        """Rewards, normalised as upstream does, float64 [n]."""
        import torch

        pixels, prompts = zip(*prepared, strict=True)
        asked = {"padding": "max_length", "truncation": True, "max_length": MAX_LENGTH, "return_tensors": "pt"}
        tokens = self._tokenizer(list(prompts), **asked).to(self._device)
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(pixels)).to(self._device)
            seen = self._vision(pixel_values=batch).last_hidden_state
            hidden = self._text(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long, device=seen.device),
                is_decoder=False,
            ).last_hidden_state[:, 0]
            rewards = self._head(hidden).squeeze(-1).double()
        return ((rewards - MEAN) / STD).cpu().numpy()

    def tokens(self, prompt: str) -> tuple[int, int]:
        """See `metric.ReadsPrompts`."""
        count = len(self._tokenizer(prompt, verbose=False).input_ids)
        return count, min(count, MAX_LENGTH)


def load(names: Sequence[str], files: Files, device: str) -> ImageRewardJudge:
    """The model from its files, of whatever size they are; raises MissingError for those of another model."""
    return ImageRewardJudge(files, device)


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for key, value in state.items():
        for old, new in VISION_KEYS:
            key = re.sub(old, new, key)
        found[key] = value
    return found


def _vision_tower(state: Mapping[str, Tensor]) -> Any:
    """Its sizes are those of the checkpoint."""
    from transformers import BlipVisionConfig, BlipVisionModel

    width, _, patch, _ = state["embeddings.patch_embedding.weight"].shape
    positions = state["embeddings.position_embedding"].shape[1] - 1
    layers = len({key.split(".")[2] for key in state if key.startswith("encoder.layers.")})
    return BlipVisionModel(
        BlipVisionConfig(
            hidden_size=width,
            intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD_WIDTH,
            image_size=round(positions**0.5) * patch,
            patch_size=patch,
            layer_norm_eps=EPS,
        )
    )


def _text_tower(config: Any, width: int) -> Any:
    """`width`: of the vision tower, which it attends to."""
    import json

    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    given = json.loads(config.read_text("utf-8"))
    own = {name: given[name] for name in TEXT_SETTINGS if name in given}
    return BlipTextModel(BlipTextConfig(**own, encoder_hidden_size=width, is_decoder=True), add_pooling_layer=False)


def _linear_layers(state: Mapping[str, Tensor]) -> Any:
    """Upstream's MLP: linear layers with nothing between them but dropout, whose numbers the keys keep."""
    from torch import nn

    shapes = {int(key.split(".")[0]): value.shape for key, value in state.items() if key.endswith(".weight")}
    layers = [nn.Linear(shapes[i][1], shapes[i][0]) if i in shapes else nn.Identity() for i in range(max(shapes) + 1)]
    return nn.Sequential(*layers)


def _tokenizer(vocabulary: Any) -> Any:
    from transformers import BertTokenizer

    words = vocabulary.read_text("utf-8").splitlines()
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    if len(tokenizer) != len(words) or "[CLS]" not in words:
        raise MissingError(f"{vocabulary} is no vocabulary of BERT.", f"Get it: agsm-bench metrics get {NAME}")
    return tokenizer


class UpstreamJudge:
    """The package image-reward, picture by picture, as its own evaluation does; the vocabulary is the given file."""

    def __init__(self, files: Files, device: str) -> None:
        try:
            from ImageReward.ImageReward import ImageReward
            from ImageReward.models.BLIP import blip_pretrain
        except Exception as error:  # its imports of clip, timm, fairscale and transformers fail in many ways
            raise MissingError(
                f"The package image-reward does not import here ({type(error).__name__}: {error}).",
                "Leave out --reference, or judge in an environment of its own with transformers 4.49 and openai-clip.",
            ) from error
        from transformers import BertTokenizer

        from agsm_bench.state_dicts import fill, read_state

        path = files["ImageReward.pt"]
        blip_pretrain.init_tokenizer = lambda: BertTokenizer(str(files["vocab.txt"]))  # its own asks the hub
        self._model = ImageReward(med_config=str(files["med_config.json"]), device=device).to(device)
        fill(self._model, read_state(path), path)
        self._model.eval()

    def prepare(self, name: str, picture: Picture) -> Picture:
        return picture

    def judge(self, name: str, prepared: Sequence[Picture]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return np.array([self._model.score(each.prompt, each.image) for each in prepared])


def load_upstream(names: Sequence[str], files: Files, device: str) -> UpstreamJudge:
    """Raises MissingError where the package does not import."""
    return UpstreamJudge(files, device)


METRIC = ImageMetric(
    variants={
        NAME: Variant(
            "up",
            "reward, mean 0 and deviation 1 on upstream's data",
            "shorter side to 224 (bicubic), centre crop, CLIP mean and deviation",
            100,
            needs=("prompt",),
            weights=WEIGHTS,
            decimals=5,
        )
    },
    load=load,
    reference=load_upstream,
)
