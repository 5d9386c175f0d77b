"""The dual encoder's training data: groups of scenes alike but for one thing, each with a true caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import caption
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, place, sample_scene
from agsm_bench.shapes.tokenizer import MAX_LENGTH, build_tokenizer
from agsm_bench.shapes.truth import MOST, Claims, Scenes, claim_arrays, parse, scene_arrays, truth
from agsm_bench.shapes.vocabulary import COLORS, IMAGE_SIZE

CONTRASTS = ("count", "color", "attribution", "relation")
"""What a variant changes; attribution swaps the colours of two objects."""
GROUP = 4
"""A base scene and three variants of it."""
ATTEMPTS = 8
"""Captions drawn in search of one that is false of the scene it is to be told from."""


@dataclass(frozen=True)
class ClipCorpus:
    """Groups of `GROUP` consecutive rows, in memory."""

    images: np.ndarray
    """uint8 [n, 24, 24, 3]."""
    caption_ids: np.ndarray
    """uint8 [n, 16]: the token ids of one true caption each."""
    scenes: Scenes
    claims: Claims


def load_clip_corpus(folder: Path, groups: int, seed: int = 0) -> ClipCorpus:
    """The corpus, a pure function of the seed, made on the first call and kept in `folder`."""
    path = folder / f"clip-corpus-{groups}-{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        corpus = make_clip_corpus(groups, seed)
        parts = {f"scenes-{k}": v for k, v in asdict(corpus.scenes).items()}
        parts |= {f"claims-{k}": v for k, v in asdict(corpus.claims).items()}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, images=corpus.images, caption_ids=corpus.caption_ids, **parts)
        partial.replace(path)
    with np.load(path) as stored:
        scenes = Scenes(*(stored[f"scenes-{k}"] for k in Scenes.__dataclass_fields__))
        claims = Claims(*(stored[f"claims-{k}"] for k in Claims.__dataclass_fields__))
        return ClipCorpus(stored["images"], stored["caption_ids"], scenes, claims)


def make_clip_corpus(groups: int, seed: int) -> ClipCorpus:
    """Draws the groups, renders their scenes and encodes their captions."""
    scenes: list[Scene] = []
    texts: list[str] = []
    for index in range(groups):
        rng = np.random.default_rng(seed_of("shapes-clip", "train", seed, index))
        group = sample_group(rng)
        scenes += group
        texts += caption_group(group, rng)
    encoded = build_tokenizer()(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    ids = np.asarray(encoded.input_ids, dtype=np.uint8)
    images = np.stack([render(scene) for scene in scenes])
    return ClipCorpus(images, ids, scene_arrays(scenes), claim_arrays([parse(text) for text in texts]))


def sample_group(rng: np.random.Generator) -> list[Scene]:
    """A scene, and it with another count, other colours, moved (of one shape only: changed again)."""
    base = sample_scene(rng)
    colors = "attribution" if rng.random() < 0.5 else "color"
    alike = "color" if len(base.objects) == 1 else "count"
    last = "relation" if len({o.shape for o in base.objects}) > 1 else alike
    made = (vary(base, contrast, rng) or vary(base, "color", rng) for contrast in ("count", colors, last))
    return [base, *(scene for scene in made if scene is not None)]


def caption_group(group: Sequence[Scene], rng: np.random.Generator) -> list[str]:
    """A true caption of each; where possible the base's is false of some variant, and theirs of the base."""
    rival = group[int(rng.integers(1, len(group)))]
    first = contrasting_caption(group[0], rival, rng)
    return [first, *(contrasting_caption(scene, group[0], rng) for scene in group[1:])]


def contrasting_caption(scene: Scene, rival: Scene, rng: np.random.Generator) -> str:
    """A caption of the scene that is false of the rival, unless some draws in a row are true of both."""
    other = scene_arrays([rival])
    for _ in range(ATTEMPTS):
        text = caption(scene, rng)
        if not truth(other, claim_arrays([parse(text)])).any():
            break
    return text


def vary(scene: Scene, contrast: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one thing changed; None where there is nothing of that kind to change."""
    if contrast == "count":
        return _recount(scene, rng)
    if contrast == "color":
        return _recolor(scene, rng)
    if contrast == "attribution":
        return _swap_colors(scene, rng)
    return _move(scene, rng) if len(scene.objects) > 1 else None


def _recount(scene: Scene, rng: np.random.Generator) -> Scene:
    """One object more, like one that is there, or one less; placed anew, as the sizes depend on the count."""
    items = [(o.shape, o.color) for o in scene.objects]
    chosen = int(rng.integers(len(items)))
    if len(items) == 1 or (len(items) < MOST and rng.random() < 0.5):
        return place([*items, items[chosen]], rng)
    return place(items[:chosen] + items[chosen + 1 :], rng)


def _recolor(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another colour for one object, or for all of them where they share one: captions name it once."""
    colors = [o.color for o in scene.objects]
    chosen = int(rng.integers(len(colors)))
    color = str(rng.choice([c for c in COLORS if c != colors[chosen]]))
    alike = len(set(colors)) == 1
    return Scene(tuple(replace(o, color=color) if alike or i == chosen else o for i, o in enumerate(scene.objects)))


def _swap_colors(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The colours of two objects of different shapes and colours exchanged."""
    objects = list(scene.objects)
    different = [
        (i, j)
        for i, a in enumerate(objects)
        for j, b in enumerate(objects[:i])
        if a.shape != b.shape and a.color != b.color
    ]
    if not different:
        return None
    i, j = different[int(rng.integers(len(different)))]
    a, b = objects[i], objects[j]
    objects[i], objects[j] = replace(a, color=b.color), replace(b, color=a.color)
    return Scene(tuple(objects))


def _move(scene: Scene, rng: np.random.Generator) -> Scene:
    """Turned by half, which reverses every relation, or x and y exchanged, which turns left into above."""
    if rng.random() < 0.5:
        return Scene(tuple(replace(o, x=IMAGE_SIZE - o.x, y=IMAGE_SIZE - o.y) for o in scene.objects))
    return Scene(tuple(replace(o, x=o.y, y=o.x) for o in scene.objects))
