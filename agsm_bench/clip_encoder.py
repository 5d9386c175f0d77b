"""A transformers CLIPModel as a metric reads it: pixels and prompts to features of length 1."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.damage import why
from agsm_bench.errors import MissingError
from agsm_bench.metric import Files
from agsm_bench.state_dicts import fill, read_state

if TYPE_CHECKING:
    from torch import Tensor

CLIP_FILES = ("config.json", "model.safetensors", "vocab.json", "merges.txt")
KEPT = 4096
"""Prompts whose features are kept."""
MAX_LENGTH = 77
"""Tokens of a prompt, BOS and EOS included; what is longer is cut, and EOS comes last."""


class PromptFeatures:
    """Features of prompts, those of the last `KEPT` kept: a benchmark has several images a prompt."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        self._encode = encode
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def of(self, prompts: Sequence[str]) -> Tensor:
        """[n, d]."""
        import torch

        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._kept]
        if new:
            self._kept |= dict(zip(new, self._encode(new), strict=True))
        for prompt in prompts:
            self._kept.move_to_end(prompt)
        found = torch.stack([self._kept[prompt] for prompt in prompts])
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


class ClipEncoder:
    """The model and its tokenizer, float32.

    Args:
        files: those of `CLIP_FILES`.
        device: torch's name of it.

    Raises:
        MissingError: the files are of another model.
    """

    def __init__(self, files: Files, device: str) -> None:
        import torch
        from transformers import CLIPConfig, CLIPModel

        config, weights, vocab, merges = (files[name] for name in CLIP_FILES)
        with torch.device("meta"):
            model = CLIPModel(CLIPConfig.from_json_file(config))
        model.to_empty(device="cpu")
        _restore_buffers(model)
        fill(model, read_state(weights), weights, ignored=("text_model.embeddings.pos", "vision_model.embeddings.pos"))
        self._tokenizer = read_tokenizer(vocab, merges, model.config.text_config.vocab_size)
        self._model, self._device = model.eval().to(device), device
        self._prompts = PromptFeatures(self._encode)

    @property
    def scale(self) -> float:
        """exp of the learnt `logit_scale`."""
        return float(self._model.logit_scale.detach().exp())

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return int(self._model.config.vision_config.image_size)

    def cosines(self, pixels: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Of each picture float32 [3, size, size] and its own prompt, float64 [n] from -1 to 1."""
        import torch

        with torch.inference_mode():
            return (self.images(pixels) * self.texts(prompts)).sum(dim=-1).double().cpu().numpy()

    def images(self, pixels: Sequence[np.ndarray]) -> Tensor:
        """Features [n, d] of pictures float32 [3, size, size], on the device."""
        import torch

        batch = torch.from_numpy(np.stack(pixels)).to(self._device)
        return torch.nn.functional.normalize(self._model.get_image_features(batch).pooler_output, dim=-1)

    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Features [n, d] of prompts, on the device."""
        return self._prompts.of(prompts)

    def tokens(self, prompt: str) -> tuple[int, int]:
        """See `metric.ReadsPrompts`."""
        count = len(self._tokenizer(prompt, verbose=False).input_ids)
        return count, min(count, MAX_LENGTH)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        import torch

        asked = {"padding": "max_length", "max_length": MAX_LENGTH, "truncation": True, "return_tensors": "pt"}
        inputs = self._tokenizer(list(prompts), **asked).to(self._device)
        features = self._model.get_text_features(inputs.input_ids, attention_mask=inputs.attention_mask)
        return torch.nn.functional.normalize(features.pooler_output, dim=-1)


def read_tokenizer(vocab: Path, merges: Path, size: int) -> Any:
    """A CLIPTokenizer from its two files.

    Raises:
        MissingError: they are damaged, or hold another number of tokens than the model knows.
    """
    from transformers import CLIPTokenizer

    try:
        lines = merges.read_text("utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
        tokenizer = CLIPTokenizer(vocab=json.loads(vocab.read_text("utf-8")), merges=pairs)
    except Exception as error:  # the library of tokenizers raises nothing more special
        raise MissingError(f"{vocab} and {merges.name} are no vocabulary ({why(error)}).", "Get them again.") from error
    if len(tokenizer) != size:  # transformers makes one without a vocabulary, and no error
        raise MissingError(f"{vocab} has {len(tokenizer)} tokens, and the model knows {size}.", "Get it again.")
    return tokenizer


def _restore_buffers(model: Any) -> None:
    """Positions are no weights: they are not in a checkpoint, and are empty after the meta device."""
    import torch

    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
