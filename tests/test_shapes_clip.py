"""The truth of captions, and the dual encoder."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import shapes_metadata
from agsm_bench.geneval_rules import relations, strict
from agsm_bench.shapes import clip
from agsm_bench.shapes.captions import caption, dominant_relation, noisy_caption
from agsm_bench.shapes.clip import (
    ShapesClip,
    contrastive_loss,
    load_clip,
    new_clip,
    pixels,
    read_clip,
    save_clip,
    train_clip,
)
from agsm_bench.shapes.clip_corpus import CONTRASTS, GROUP, ClipCorpus, load_clip_corpus, sample_group, vary
from agsm_bench.shapes.clip_study import draw_pair, hard_negatives, retrieval
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.optimise import Schedule
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, SceneObject, sample_scene
from agsm_bench.shapes.tokenizer import build_tokenizer, words
from agsm_bench.shapes.truth import claim_arrays, is_true, parse, scene_arrays, truth
from agsm_bench.shapes.vocabulary import RELATIONS
from agsm_bench.types import Detection

CIRCLE = SceneObject("circle", "red", 6, 12, 7)
SQUARE = SceneObject("square", "blue", 18, 12, 7)
PAIR = Scene((CIRCLE, SQUARE))
SINGULAR = {"circles": "circle", "squares": "square", "triangles": "triangle", "crosses": "cross"}
FLOORS = {"count": 0.95, "color": 0.95, "attribution": 0.95, "relation": 0.55}
"""Relations are the encoder's known weakness: 0.62 to 0.65 measured, chance is 0.5."""
TINY = Schedule(steps=3, learning_rate=1e-3, warmup=2, save_every=2)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(5)
    return [sample_scene(rng) for _ in range(1200)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_captions_are_true(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    texts = [caption(scene, rng) for scene in scenes]
    true = truth(scene_arrays(scenes), claim_arrays([parse(text) for text in texts])).diagonal()
    assert [text for text, holds in zip(texts, true, strict=True) if not holds] == []


def test_noisy_captions_parse_and_are_true_only_if_harmless(scenes: list[Scene]) -> None:
    """The independent check: a literal reading, by words, of captions without a relation."""
    rng = np.random.default_rng(1)
    texts = [noisy_caption(scene, other, rng) for scene, other in zip(scenes, scenes[::-1], strict=True)]
    true = truth(scene_arrays(scenes), claim_arrays([parse(text) for text in texts])).diagonal()
    assert true.tolist() == [_literal(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    assert 0.2 < true.mean() < 0.6


def _literal(text: str, scene: Scene) -> bool:
    """Another implementation: the words of each phrase against the objects, in every order."""
    for opening in ("a photo of ", "a picture of ", "an image of "):
        text = text.removeprefix(opening)
    found = next((r for r in RELATIONS if f" {r} " in text), None)
    asked: list[set[str]] = []
    for phrase in text.replace(f" {found} ", " and ").split(" and "):
        words = [SINGULAR.get(word, word) for word in phrase.split() if word != "a"]
        count = {"two": 2, "three": 3, "four": 4}.get(words[0], 1)
        asked += [set(words[count > 1 :])] * count
    return any(
        len(order) == len(asked)
        and all(want <= {o.shape, o.color} for want, o in zip(asked, order, strict=True))
        and (found is None or found in relations(order[0].box, order[1].box))
        for order in permutations(scene.objects)
    )


def test_truth_agrees_with_the_strict_reading_of_geneval(scenes: list[Scene]) -> None:
    entries = shapes_metadata()[::5]
    table = truth(scene_arrays(scenes[:400]), claim_arrays([parse(e["prompt"]) for e in entries]))
    for row, scene in zip(table, scenes[:400], strict=True):
        seen = [Detection(o.shape, o.box, 1.0, o.color) for o in scene.objects]
        assert [strict(seen, entry) for entry in entries] == row.tolist()
    assert table.any(axis=1).mean() > 0.3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a circle and a square", True),
        ("a photo of a square and a red circle", True),
        ("a circle left of a square", True),
        ("a square left of a circle", False),
        ("a circle above a square", False),
        ("a red square and a blue circle", False),
        ("a circle", False),
        ("two circles", False),
        ("a circle and a square and a circle", False),
    ],
)
def test_truth_of_a_pair(text: str, expected: bool) -> None:
    assert is_true(text, PAIR) is expected


def test_a_repeated_object_finds_any_order_for_its_relation() -> None:
    third = replace(CIRCLE, x=18, y=4)
    scene = Scene((third, CIRCLE, replace(SQUARE, y=18)))
    assert is_true("red circle above blue square and red circle", scene)
    assert is_true("red circle above red circle and blue square", scene) is False


@pytest.mark.parametrize(
    "text",
    ["", "a dog", "two circle", "three red squares left of a circle", "a circle and a square above a cross",
     "two circles and three squares", "a  circle", "circles"],
)  # fmt: skip
def test_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shapes world|two single objects"):
        parse(text)


def test_every_stated_relation_holds_by_genevals_rule(scenes: list[Scene]) -> None:
    for scene in scenes:
        for a, b in permutations(scene.objects, 2):
            stated = dominant_relation(a, b)
            assert stated is None or stated in relations(a.box, b.box)


def test_groups_are_valid_scenes_alike_but_for_one_thing() -> None:
    for index in range(25):
        group = sample_group(np.random.default_rng(index))
        assert len(group) == GROUP
        for scene in group:
            seen = sorted((d.label, d.color) for d in detect(render(scene)))
            assert seen == sorted((o.shape, o.color) for o in scene.objects)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_pairs_are_told_apart_by_their_captions(contrast: str) -> None:
    for index in range(20):
        pair = draw_pair(contrast, index)
        table = [[is_true(text, scene) for text in pair.texts] for scene in pair.scenes]
        assert table == [[True, False], [False, True]]
        shapes, colors, counts = zip(*map(_summary, pair.scenes), strict=True)
        assert (counts[0] != counts[1]) == (contrast == "count")
        assert (colors[0] != colors[1]) == (contrast in ("count", "color"))
        assert (shapes[0] != shapes[1]) == (contrast == "count")


def test_nothing_to_vary_gives_no_variant() -> None:
    alone = Scene((CIRCLE,))
    assert vary(alone, "relation", np.random.default_rng(0)) is None
    assert vary(alone, "attribution", np.random.default_rng(0)) is None


def _summary(scene: Scene) -> tuple[list[str], list[str], int]:
    return sorted(o.shape for o in scene.objects), sorted(o.color for o in scene.objects), len(scene.objects)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> ClipCorpus:
    folder = tmp_path_factory.mktemp("corpus")
    made, read = load_clip_corpus(folder, 12), load_clip_corpus(folder, 12)
    assert (made.images == read.images).all()
    assert (made.scenes.relations == read.scenes.relations).all()
    assert (made.claims.colors == read.claims.colors).all()
    return read


def test_corpus_pairs_are_true_and_captions_uncut(corpus: ClipCorpus) -> None:
    end = build_tokenizer().eos_token_id
    assert len(corpus.images) == 12 * GROUP
    assert truth(corpus.scenes, corpus.claims).diagonal().all()
    assert (corpus.caption_ids[:, -1] == end).all()
    assert (corpus.caption_ids[:, -2] == end).mean() > 0.9


def test_loss_ignores_true_pairs_off_the_diagonal() -> None:
    images, texts = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    true = torch.eye(5, dtype=torch.bool)
    true[1, 3] = True
    scores = torch.cosine_similarity(images[:, None], texts[None], dim=-1) * 7
    total = 0.0
    for i in range(5):
        row = [j for j in range(5) if (i, j) != (1, 3)]
        column = [j for j in range(5) if (j, i) != (1, 3)]
        total += float(torch.logsumexp(scores[i, row], 0) - scores[i, i]) / 10
        total += float(torch.logsumexp(scores[column, i], 0) - scores[i, i]) / 10
    assert float(contrastive_loss(images, texts, torch.tensor(7.0), true)) == pytest.approx(total, rel=1e-5)


def test_resumed_training_equals_unbroken(corpus: ClipCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return train_clip(corpus, TINY, tmp_path / name, groups=1).state_dict()

    losses = iter([clip.batch_loss] * 2)
    unbroken = run("unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(clip, "batch_loss", lambda *given: next(losses)(*given))
        with pytest.raises(StopIteration):
            run("resumed")
    resumed = run("resumed")
    assert all(torch.equal(unbroken[key], value) for key, value in resumed.items())


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> ShapesClip:
    folder = tmp_path_factory.mktemp("clip") / "model"
    torch.manual_seed(0)
    save_clip(new_clip(), folder)
    return read_clip(folder)


def test_features_do_not_depend_on_the_batch(untrained: ShapesClip, scenes: list[Scene]) -> None:
    images = np.stack([render(scene) for scene in scenes[:70]])
    together = untrained.image_features(images)
    apart = torch.cat([untrained.image_features(images[i : i + 7]) for i in range(0, 70, 7)])
    assert together.shape == (70, 64)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


def test_similarity_is_the_cosine_of_each_row(untrained: ShapesClip, scenes: list[Scene]) -> None:
    images = np.stack([render(scene) for scene in scenes[:3]])
    texts = ["a circle", "two red squares", "a photo of a dog"]
    together = untrained.similarity(images, texts)
    alone = torch.cat([untrained.similarity(images[i : i + 1], texts[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert together.abs().max() <= 1 + 1e-6
    with pytest.raises(ValueError, match="one text a picture"):
        untrained.similarity(images, texts[:2])


def test_similarity_is_what_transformers_computes(untrained: ShapesClip, scenes: list[Scene]) -> None:
    """CLIPModel's own forward pass; an own end token selects the state at the end of the caption."""
    images = np.stack([render(scene) for scene in scenes[:2]])
    ids = untrained.tokenizer(["a circle", "a circle"], return_tensors="pt").input_ids
    output = untrained.model(input_ids=ids, pixel_values=pixels(torch.from_numpy(images)))
    expected = output.logits_per_image.diagonal() / untrained.model.logit_scale.exp()
    torch.testing.assert_close(untrained.similarity(images, ["a circle"] * 2), expected, rtol=0, atol=1e-5)


def test_incomplete_weights_are_refused(untrained: ShapesClip, tmp_path: Path) -> None:
    untrained.model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not hold"):
        read_clip(tmp_path)


def test_the_saved_image_processor_is_our_normalisation(tmp_path: Path, scenes: list[Scene]) -> None:
    from transformers import CLIPImageProcessorPil

    save_clip(new_clip(), tmp_path)
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    images = np.stack([render(scene) for scene in scenes[:2]])
    expected = pixels(torch.from_numpy(images))
    assert torch.equal(processor(list(images), return_tensors="pt").pixel_values, expected)


@pytest.fixture(scope="module")
def shipped() -> ShapesClip:
    try:
        return load_clip()
    except MissingError:
        pytest.skip("shapes-clip is not built")


def test_the_shipped_tokenizer_knows_the_words_by_todays_ids(shipped: ShapesClip) -> None:
    assert shipped.tokenizer(words()).input_ids == build_tokenizer()(words()).input_ids


def test_the_shipped_encoder_retrieves(shipped: ShapesClip) -> None:
    found = retrieval(shipped, pools=2)
    assert min(interval.value for interval in found.values()) > 0.85


@pytest.mark.parametrize(("contrast", "floor"), FLOORS.items())
def test_the_shipped_encoder_tells_scenes_apart(shipped: ShapesClip, contrast: str, floor: float) -> None:
    chosen = hard_negatives(shipped, contrast, pairs=100)
    assert min(interval.value for interval in chosen.values()) > floor


def test_loading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    logging.enable_progress_bar()
    load_clip()
    assert "Loading" not in capfd.readouterr().err
