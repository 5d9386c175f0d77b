"""Pictures and prompts that metrics meet, and a vocabulary of CLIP's kind."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from agsm_bench.metric import ImageMetric, Judge, Picture

SIZES = ((300, 200), (37, 211), (224, 224), (225, 500), (1, 1), (640, 641))
PROMPTS = ("a photo of a red dog", "", "cat " * 500, "猫 и собака ü", "two blue birds on a table " * 4, "a red dog")


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Coloured blocks and noise."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize(size, Image.Resampling.BILINEAR)
    noise = rng.integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(blocks).astype(int) + noise).clip(0, 255).astype(np.uint8))


def pictures() -> list[Picture]:
    """One of each size and prompt."""
    return [Picture(picture(size, i), prompt) for i, (size, prompt) in enumerate(zip(SIZES, PROMPTS, strict=True))]


def judged(judge: Judge, name: str, shown: list[Picture]) -> np.ndarray:
    """All in one batch."""
    return judge.judge(name, [judge.prepare(name, each) for each in shown])


def check_company(judge: Judge, name: str, shown: list[Picture], tolerance: float = 1e-5) -> np.ndarray:
    """Asserts that neither the order nor the batch changes a score, and returns the scores."""
    together = judged(judge, name, shown)
    alone = np.concatenate([judged(judge, name, [each]) for each in shown])
    turned = judged(judge, name, shown[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(turned, together, atol=tolerance, rtol=tolerance)
    return together


def weight_files(metric: ImageMetric, name: str, folder: Path) -> dict[str, Path]:
    """Where a test's files are."""
    return {weight.file: folder / weight.file for weight in metric.variants[name].weights}


def write_clip_vocabulary(folder: Path) -> int:
    """OpenAI's vocabulary of CLIP as transformers has it, out of open_clip's; the number of its tokens."""
    import json

    import open_clip
    from open_clip.tokenizer import bytes_to_unicode

    packed = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair.split()) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return len(words)
