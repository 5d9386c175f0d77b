"""Preference pairs from a shapes model, with a painter in its place: it draws what is asked, or something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from PIL import Image

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.errors import UserError
from agsm_bench.shapes.pair_options import PairOptions
from agsm_bench.shapes.pairs import ShapesPairs
from agsm_bench.shapes.preferences import judge, make_preferences
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import place, sample_scene
from agsm_bench.shapes.truth import is_true, parse
from agsm_bench.shapes.vocabulary import COLORS
from agsm_bench.training.preferences import read_preferences
from agsm_bench.variant import weights_hash


class Painter:
    """Right in about half of its pictures; what it draws depends on the generator alone."""

    def sample(self, prompts: Sequence[str], generators: Sequence[torch.Generator], **_: Any) -> list[Image.Image]:
        return [Image.fromarray(self.paint(p, g)) for p, g in zip(prompts, generators, strict=True)]

    def paint(self, prompt: str, generator: torch.Generator) -> np.ndarray:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        claim = parse(prompt)
        scene = sample_scene(rng)
        while rng.random() < 0.99 and not is_true(prompt, scene) and claim.relation is None:
            scene = place([(shape, color or str(rng.choice(COLORS))) for shape, color in claim.items], rng)
        return render(scene if rng.random() < 0.5 else sample_scene(rng))


BACKBONE: Backbone = replace(plugins.load("backbones", "shapes-mmdit"), load=Painter)  # type: ignore[arg-type]


def make(out: Path, train: int, held_out: int, seed: int = 0) -> dict[str, bytes]:
    options = PairOptions(train, held_out, images=3, seed=seed)
    make_preferences(BACKBONE, out, options, lambda *_: None)
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_preferred_picture_shows_what_the_caption_says(tmp_path: Path) -> None:
    make(tmp_path, 12, 4)
    pairs = read_preferences(tmp_path)
    assert (len(pairs.train), len(pairs.held_out)) == (12, 4)
    made = {"backbone": "shapes-mmdit", "weights": weights_hash(BACKBONE), "images": 3, "seed": 0}
    assert pairs.describe().items() >= (made | {"train": 12, "held_out": 4}).items()
    for pair in (*pairs.train, *pairs.held_out):
        preferred, rejected = pair.images(24)
        assert judge(preferred, pair.prompt)
        assert not judge(rejected, pair.prompt)


def test_captions_are_not_test_prompts_and_held_out_ones_are_of_their_own_stream(tmp_path: Path) -> None:
    make(tmp_path, 12, 4)
    tests = {prompt.text for prompt in plugins.load("benchmarks", "geneval").prompts("shapes")}
    for line in map(json.loads, (tmp_path / "preferences.jsonl").read_text().splitlines()):
        assert line["prompt"] not in tests
        assert line["prompt"] == ShapesPairs(0, line["held_out"]).item(line["caption"])[1]


def test_more_pairs_go_on_and_end_like_an_unbroken_call(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", 10, 3)
    make(tmp_path / "broken", 4, 0)
    with (tmp_path / "broken" / "preferences.jsonl").open("a") as torn:
        torn.write('{"prompt": "a cir')
    make(tmp_path / "broken", 10, 0)
    assert make(tmp_path / "broken", 10, 3) == whole
    assert make(tmp_path / "whole", 10, 3) == whole


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    before = make(tmp_path, 2, 0)
    with pytest.raises(UserError, match=r"seed was 0, now 1.*--out"):
        make(tmp_path, 2, 0, seed=1)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(UserError, match="not made here"):
        make(tmp_path, 2, 0)
    assert (tmp_path / "preferences.jsonl").read_bytes() == before["preferences.jsonl"]


def test_the_judge_reads_rendered_scenes() -> None:
    data = ShapesPairs(3, held_out=False)
    items = [data.item(index) for index in range(60)]
    assert np.mean([judge(picture, caption) for picture, caption in items]) > 0.95
    assert np.mean([judge(a[0], b[1]) for a, b in pairwise(items)]) < 0.1
    assert not judge(np.full((24, 24, 3), 255, dtype=np.uint8), "a circle")


def test_usage_errors(cli: Cli, tmp_path: Path) -> None:
    for flag, value in (("--pairs", 0), ("--images", 1), ("--held-out", -1)):
        code, _, err = cli("shapes", "preferences", flag, value, "--out", tmp_path / "out")
        assert (code, flag in err) == (2, True)
    assert cli("shapes", "preferences", "--backbone", "shapes-unit")[0] == 2
    assert not (tmp_path / "out").exists()
