"""The dual encoder of the shapes world: a small CLIPModel trained on rendered scenes and true captions.

Pixels are normalised to [-1, 1]. A caption that is true of another picture of the batch is no negative of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from agsm_bench.identity import hash_files
from agsm_bench.shapes.architectures import text_config
from agsm_bench.shapes.clip_corpus import GROUP, ClipCorpus, load_clip_corpus
from agsm_bench.shapes.optimise import Schedule, train
from agsm_bench.shapes.shipped import weights_folder
from agsm_bench.shapes.tokenizer import MAX_LENGTH, build_tokenizer
from agsm_bench.shapes.truth import Claims, Scenes, truth
from agsm_bench.shapes.vocabulary import IMAGE_SIZE

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

NAME = "shapes-clip"
WIDTH = 96
VISION_LAYERS = 4
TEXT_LAYERS = 3
PATCH = 4
PROJECTION = 64
GROUPS_IN_CORPUS = 8000
GROUPS_IN_BATCH = 32
SCHEDULE = Schedule(steps=1500, learning_rate=2e-3, ema_decay=0.995)
MAX_SCALE = 100.0
"""Largest inverse temperature, as in CLIP."""
NOISE = 0.1
"""Largest deviation of the noise on training pixels: generated pictures are not as clean as rendered ones."""
ROWS = 32
"""Pictures or captions encoded at once."""


@dataclass(frozen=True)
class ShapesClip:
    """The trained encoder, in float32."""

    model: CLIPModel
    tokenizer: CLIPTokenizer

    @torch.no_grad()
    def image_features(self, images: np.ndarray, *, filled: bool = False) -> Tensor:
        """Projected features before normalisation, float32 [n, 64], of uint8 images [n, 24, 24, 3].

        With `filled` every batch has the same number of rows, the last one filled up: features are then the
        same, bit for bit, whatever the other images are.
        """
        parts = _batches(torch.from_numpy(images), filled)
        return torch.cat([self.model.get_image_features(pixels(part)).pooler_output for part in parts])[: len(images)]

    @torch.no_grad()
    def text_features(self, texts: Sequence[str], *, filled: bool = False) -> Tensor:
        """Projected features before normalisation, float32 [n, 64]; texts are cut at 16 tokens. `filled`: as above."""
        parts = _batches(encode(self.tokenizer, texts), filled)
        return torch.cat([self.model.get_text_features(part).pooler_output for part in parts])[: len(texts)]

    @torch.no_grad()
    def distances(self, images: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Distance of each uint8 picture [n, 24, 24, 3] from its reference, float64 [n] from 0 to 4.

        Squared distance of the hidden states, normalised at every patch, averaged over patches and layers.
        """
        found = []
        for one, other in zip(_layers(self, images), _layers(self, references), strict=True):
            found.append((one - other).square().sum(dim=-1).mean(dim=(0, 2)))
        return torch.cat(found)[: len(images)].double().numpy()

    def similarity(self, images: np.ndarray, texts: Sequence[str]) -> Tensor:
        """Cosine of each picture and its own text, [n]."""
        if len(images) != len(texts):
            raise ValueError(f"need one text a picture: {len(texts)} texts, {len(images)} pictures")
        return nn.functional.cosine_similarity(self.image_features(images), self.text_features(texts))


def _layers(clip: ShapesClip, images: np.ndarray) -> Iterator[Tensor]:
    """Hidden states [layers, ROWS, patches, width] of length 1, batch by batch."""
    for part in _batches(torch.from_numpy(images), filled=True):
        states = clip.model.vision_model(pixels(part), output_hidden_states=True).hidden_states
        yield nn.functional.normalize(torch.stack(states)[:, :, 1:], dim=-1)


def _batches(inputs: Tensor, filled: bool) -> Sequence[Tensor]:
    """Parts of ROWS rows; `filled`: also the last one, with copies of the last row."""
    if filled:
        inputs = torch.cat([inputs, inputs[-1:].expand(-len(inputs) % ROWS, *inputs.shape[1:])])
    return inputs.split(ROWS)


def weights_version() -> str:
    """Changes with the shipped files: weights, configuration and vocabulary.

    Raises:
        MissingError: they are not there.
    """
    return hash_files(path for path in weights_folder(NAME).rglob("*") if path.is_file())[:16]


def load_clip() -> ShapesClip:
    """The shipped encoder.

    Raises:
        MissingError: its weights are not there.
    """
    return read_clip(weights_folder(NAME))


def read_clip(folder: Path) -> ShapesClip:
    """The encoder saved in a folder."""
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # ours tells of the work, not of the loading
    model, info = CLIPModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    # transformers makes up missing weights and a missing vocabulary without an error.
    if info["missing_keys"] or len(tokenizer) != model.config.text_config.vocab_size:
        raise ValueError(f"{folder} does not hold the weights and the tokenizer of {NAME}")
    return ShapesClip(model.eval(), tokenizer)


def build_clip(work: Path, steps: int | None = None) -> None:
    """Trains in `work/shapes-clip`, resuming what is there, and saves in `work/shapes-clip/model`."""
    torch.manual_seed(0)
    corpus = load_clip_corpus(work, GROUPS_IN_CORPUS)
    schedule = SCHEDULE if steps is None else replace(SCHEDULE, steps=steps)
    save_clip(train_clip(corpus, schedule, work / NAME, GROUPS_IN_BATCH), work / NAME / "model")


def train_clip(corpus: ClipCorpus, schedule: Schedule, folder: Path, groups: int) -> nn.Module:
    """The averaged model after training on batches of whole groups."""
    model = new_clip()

    def loss_of(generator: torch.Generator) -> Tensor:
        drawn = torch.randint(len(corpus.images) // GROUP, (groups,), generator=generator)
        rows = (drawn[:, None] * GROUP + torch.arange(GROUP)).flatten()
        return batch_loss(model, corpus, rows, generator)

    return train(model, loss_of, schedule, folder)


def new_clip() -> CLIPModel:
    """An untrained encoder."""
    from transformers import CLIPConfig, CLIPModel

    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": WIDTH // 32,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
        "projection_dim": PROJECTION,
    }
    text = text_config(build_tokenizer(), WIDTH, TEXT_LAYERS).to_dict() | {"projection_dim": PROJECTION}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


def save_clip(model: Any, folder: Path) -> None:
    """Half-precision weights, the tokenizer and the image processor, as transformers reads them."""
    from transformers import CLIPImageProcessorPil

    model.to(torch.float16).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, size=side, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor.save_pretrained(folder)


def batch_loss(model: Any, corpus: ClipCorpus, rows: Tensor, generator: torch.Generator) -> Tensor:
    """The contrastive loss of some rows of the corpus."""
    picture = pixels(torch.from_numpy(corpus.images[rows]))
    strength = NOISE * torch.rand(len(rows), 1, 1, 1, generator=generator)
    picture = picture + strength * torch.randn(picture.shape, generator=generator)
    images = model.get_image_features(picture).pooler_output
    texts = model.get_text_features(torch.from_numpy(corpus.caption_ids[rows]).long()).pooler_output
    true = truth(
        Scenes(corpus.scenes.shapes[rows], corpus.scenes.colors[rows], corpus.scenes.relations[rows]),
        Claims(corpus.claims.shapes[rows], corpus.claims.colors[rows], corpus.claims.relations[rows]),
    )
    scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
    return contrastive_loss(images, texts, scale, torch.from_numpy(true))


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """CLIP's symmetric cross entropy; true pairs off the diagonal are left out of the softmax.

    Args:
        true: bool [n, n], whether the caption of the column is true of the picture of the row.
    """
    unit = nn.functional.normalize
    logits = scale * unit(images) @ unit(texts).T
    own = torch.arange(len(logits))
    others = true & ~torch.eye(len(logits), dtype=torch.bool)
    logits = logits.masked_fill(others, -torch.inf)
    cross_entropy = nn.functional.cross_entropy
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def pixels(images: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def encode(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids, int64 [n, 16]."""
    encoded = tokenizer(list(texts), padding="max_length", max_length=MAX_LENGTH, truncation=True)
    return torch.tensor(encoded.input_ids)
