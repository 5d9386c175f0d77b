"""Four preference metrics on the same random weights: our pass against a loop as upstream's evaluators write it.

That loop takes one image and one metric at a time, batch 1, decodes the file for each, and encodes the prompt for each.
The networks are small, of the real kinds; at the real sizes on a CPU the forward passes are nearly all of the time of
both, and the floor says so: the bare forward passes at the best batch, inputs ready.

python tests/bench/scoring.py [IMAGES]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from measured import Measured
from metric_pictures import picture, weight_files, write_clip_vocabulary

from agsm_bench.images import open_rgb
from agsm_bench.metric import Picture
from agsm_bench.metrics import clip, hpsv2, image_reward, pickscore
from agsm_bench.scoring.collection import score_images

PLUGINS = {
    "image_reward/v1.0": image_reward.METRIC,
    "pickscore/v1": pickscore.METRIC,
    "clip/openai-l14": clip.METRIC,
    "hpsv2/v2.1": hpsv2.METRIC,
}
WIDTH, LAYERS, PATCH = 128, 3, 32
SIDE, PER_PROMPT, COUNT = 512, 4, 256


def clip_folder(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
    }
    text = tower | {"vocab_size": write_clip_vocabulary(folder), "eos_token_id": 2}
    CLIPModel(CLIPConfig(text_config=text, vision_config=tower | {"patch_size": PATCH})).save_pretrained(folder)


def hps_folder(folder: Path) -> None:
    import open_clip
    from open_clip import factory

    sizes = {"layers": LAYERS, "width": WIDTH}
    factory._MODEL_CONFIGS["small-hps"] = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 224, "head_width": 64, "patch_size": PATCH, **sizes},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 2, **sizes},
    }
    hpsv2.ARCHITECTURE = "small-hps"
    state = open_clip.create_model("small-hps").state_dict()
    torch.save({"state_dict": state}, folder / hpsv2.FILES["hpsv2/v2.1"])


def image_reward_folder(folder: Path) -> None:
    """A checkpoint under upstream's names, made of our towers."""
    import re

    from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "dog"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {"vocab_size": 32, "hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": LAYERS}
    text = sizes | {"num_attention_heads": 2, "max_position_embeddings": 64}
    (folder / "med_config.json").write_text(json.dumps(text))
    towers = {"hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    vision = BlipVisionModel(BlipVisionConfig(**towers, image_size=224, patch_size=PATCH))
    tower = BlipTextModel(
        BlipTextConfig(**text, encoder_hidden_size=WIDTH, is_decoder=True), add_pooling_layer=False
    ).state_dict()
    names = (
        (r"embeddings\.patch_embedding", "patch_embed.proj"),
        (r"embeddings\.position_embedding", "pos_embed"),
        (r"embeddings\.class_embedding", "cls_token"),
        (r"post_layernorm", "norm"),
        (r"encoder\.layers", "blocks"),
        (r"self_attn\.projection", "attn.proj"),
        (r"self_attn", "attn"),
        (r"layer_norm", "norm"),
    )
    state = {f"blip.text_encoder.{key}": value for key, value in tower.items()}
    for key, value in vision.state_dict().items():
        for new, old in names:
            key = re.sub(new, old, key)
        state[f"blip.visual_encoder.{key}"] = value
    for i, (out, into) in {0: (64, WIDTH), 2: (16, 64), 4: (1, 16)}.items():
        state |= {f"mlp.layers.{i}.weight": torch.randn(out, into), f"mlp.layers.{i}.bias": torch.zeros(out)}
    torch.save(state, folder / "ImageReward.pt")


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def forget_prompts(judge: Any) -> None:
    """Upstream's loops encode the prompt for every image."""
    holder = getattr(judge, "_encoder", judge)
    if hasattr(holder, "_prompts"):
        holder._prompts._kept.clear()


def one_by_one(files: list[Path], prompts: list[str], folders: dict[str, Path], reload: bool) -> dict[str, list[float]]:
    """Upstream's way; `reload`: hpsv2's `score()` reads its checkpoint again for every picture."""
    found: dict[str, list[float]] = {}
    for name, metric in PLUGINS.items():
        paths = weight_files(metric, name, folders[name])
        judge, rows = metric.load([name], paths, "cpu"), []
        for file, prompt in zip(files, prompts, strict=True):
            if reload and name == "hpsv2/v2.1":
                judge._model.load_state_dict(torch.load(paths[hpsv2.FILES[name]], weights_only=True)["state_dict"])
            forget_prompts(judge)
            inputs = judge.prepare(name, Picture(open_rgb(file.read_bytes()), prompt))
            rows.append(float(judge.judge(name, [inputs])[0]))
        found[name] = rows
    return found


def floor(files: list[Path], prompts: list[str], folders: dict[str, Path]) -> tuple[float, float]:
    """Seconds of the forward passes at the best of three batch sizes, and of making each image's inputs once."""
    opened: list[Picture] = []
    forwards = 0.0
    making = seconds(
        lambda: opened.extend(Picture(open_rgb(f.read_bytes()), p) for f, p in zip(files, prompts, strict=True))
    )
    for name, metric in PLUGINS.items():
        judge = metric.load([name], weight_files(metric, name, folders[name]), "cpu")
        inputs: list[Any] = []
        making += seconds(
            lambda judge=judge, name=name, inputs=inputs: inputs.extend(judge.prepare(name, p) for p in opened)
        )

        def forward(size: int, judge: Any = judge, name: str = name, inputs: list[Any] = inputs) -> None:
            forget_prompts(judge)
            for start in range(0, len(inputs), size):
                judge.judge(name, inputs[start : start + size])

        forward(16)
        forwards += min(seconds(lambda size=size, forward=forward: forward(size)) for size in (8, 16, 32))
    return forwards, making


def measure(count: int = COUNT) -> list[Measured]:
    """Our pass over both loops, and over the floor."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders, files = checkpoints(root), pictures(root, count)
        prompts = [f"a photo of {i // PER_PROMPT} dogs" for i in range(count)]
        weights = {name: folders[name] for name in PLUGINS}

        def ours() -> Any:
            return score_images(files, prompts, list(PLUGINS), weights=weights, device="cpu", batch_size=16)

        found = ours()  # imports and first calls are nobody's speed
        pass_, loop = seconds(ours), seconds(lambda: one_by_one(files, prompts, folders, False))
        reloading = seconds(lambda: one_by_one(files, prompts, folders, True))
        forwards, making = floor(files, prompts, folders)
        theirs = one_by_one(files, prompts, folders, False)
    for name in PLUGINS:
        np.testing.assert_allclose(np.array(found.scores[name], float), theirs[name], atol=1e-4, rtol=1e-5)
    alone = f"forward passes {forwards:.2f} s on all threads; decoding and resizing each once, on one, {making:.2f} s"
    return [
        Measured("scoring", "a loop, image by image and metric by metric / ours", loop / pass_, "ratio", 5, False),
        Measured("scoring", "a loop that reloads HPSv2's checkpoint / ours", reloading / pass_, "ratio", 5, False),
        Measured("scoring", "images a second", count / pass_, "1/s", lower_is_better=False, note=alone),
    ]


def checkpoints(root: Path) -> dict[str, Path]:
    """A folder of small random weights a metric."""
    folders = {}
    for name, make in zip(PLUGINS, (image_reward_folder, clip_folder, clip_folder, hps_folder), strict=True):
        folders[name] = root / name.replace("/", "-")
        folders[name].mkdir()
        make(folders[name])
    return folders


def pictures(root: Path, count: int) -> list[Path]:
    """PNGs, `SIDE` wide and high."""
    files = [root / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        picture((SIDE, SIDE), i).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(file)
    return files


if __name__ == "__main__":
    for line in measure(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT):
        print(line.line())
