"""The shapes world's edits and long captions: true of their own scene, of no other, and read back by the detector."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.edits import KINDS, Edit, edits
from agsm_bench.shapes.long_captions import POINTS, LongCaption, long_captions
from agsm_bench.shapes.reading import has, scene_of, shows
from agsm_bench.shapes.reference import reference_scene
from agsm_bench.shapes.render import object_mask, render
from agsm_bench.shapes.scene import Scene, SceneObject
from agsm_bench.shapes.tokenizer import MAX_LENGTH
from agsm_bench.types import Detection


def test_seven_hundred_edits_of_the_kinds_that_the_world_has() -> None:
    assert Counter(edit.kind for edit in edits()) == KINDS
    assert sum(KINDS.values()) == 700
    assert len({(edit.source, edit.target) for edit in edits()}) == 700


def test_captions_are_true_of_their_own_scene_alone() -> None:
    for edit in edits():
        assert shows(edit.source_text, edit.source), edit
        assert shows(edit.target_text, edit.target), edit
        assert not shows(edit.target_text, edit.source), edit
        assert not shows(edit.source_text, edit.target), edit


def test_captions_fit_the_text_encoder() -> None:
    words = [len(text.split()) for edit in edits() for text in (edit.source_text, edit.target_text)]
    assert max(words) <= MAX_LENGTH - 2
    assert max(len(each.text.split()) for each in long_captions()) <= MAX_LENGTH - 2


def test_the_detector_reads_the_target_and_what_is_kept() -> None:
    """Exact success test: 100% on the true targets, and 0% on pictures left as they were."""
    for edit in edits()[::5]:
        scene = scene_of(detect(render(edit.target)))
        assert shows(edit.target_text, scene), edit
        assert all(has(scene, item, 2.0) for item in edit.kept), edit
        assert not shows(edit.target_text, scene_of(detect(render(edit.source)))), edit


def test_masks_cover_what_differs_and_spare_what_is_kept() -> None:
    for edit in edits()[::7]:
        differs = (render(edit.source) != render(edit.target)).any(axis=-1)
        assert differs.any()
        assert (edit.mask >= differs).all()
        assert not edit.mask.all()
        for item in edit.kept:
            assert not (edit.mask & object_mask(item)).any(), (edit, item)


@pytest.mark.parametrize(("kind", "difference"), [("add_object", 1), ("delete_object", -1), ("color", 0), ("pose", 0)])
def test_kinds_change_the_number_of_objects_as_they_say(kind: str, difference: int) -> None:
    own = [edit for edit in edits() if edit.kind == kind]
    assert {len(edit.target.objects) - len(edit.source.objects) for edit in own} == {difference}


def test_an_edit_is_a_pure_function_of_its_number() -> None:
    edits.cache_clear()
    first = edits()
    edits.cache_clear()
    assert edits() == first
    assert edits("another stream") != first


def test_kept_are_the_objects_in_both_scenes() -> None:
    a, b = SceneObject("circle", "red", 5, 5, 7), SceneObject("square", "blue", 17, 17, 7)
    edit = Edit("color", Scene((a, b)), Scene((replace(a, color="green"), b)), "", "")
    assert edit.kept == (b,)


def test_scenes_are_read_above_genevals_threshold() -> None:
    found = [Detection("circle", (0, 0, 8, 6), score, "red") for score in (0.9, 0.31, 0.3)]
    scene = scene_of(found)
    assert [(o.x, o.y, o.size) for o in scene.objects] == [(4, 3, 8)] * 2


def test_more_objects_than_captions_speak_of_are_never_shown() -> None:
    scene = Scene(tuple(SceneObject("circle", "red", 3.0 + i, 3, 2) for i in range(5)))
    assert not shows("a photo of four red circles", scene)


def test_long_captions_are_distinct_and_true_of_what_they_ask() -> None:
    captions = long_captions()
    assert len(captions) == len({each.text for each in captions}) == 600
    for each in captions[::6]:
        scene = reference_scene(each.text, 0)
        assert each.judge(scene) == dict.fromkeys(POINTS, 1.0)
        assert shows(each.text, scene)


def test_test_points_tell_what_is_wrong() -> None:
    caption = LongCaption(
        "red circle left of blue square and green cross",
        (("circle", "red"), ("square", "blue"), ("cross", "green")),
        "left of",
    )
    circle, square, cross = (
        SceneObject("circle", "red", 4, 4, 7),
        SceneObject("square", "blue", 19, 4, 7),
        SceneObject("cross", "green", 12, 18, 7),
    )
    right = Scene((circle, square, cross))
    assert caption.judge(right) == {"object": 1, "attribute": 1, "relation": 1, "count": 1}
    swapped = Scene((replace(circle, x=19), replace(square, x=4), cross))
    assert caption.judge(swapped) == {"object": 1, "attribute": 1, "relation": 0, "count": 1}
    yellow = Scene((circle, square, replace(cross, color="yellow")))
    assert caption.judge(yellow) == {"object": 1, "attribute": pytest.approx(2 / 3), "relation": 1, "count": 1}
    fewer = Scene((circle, square))
    assert caption.judge(fewer) == {
        "object": pytest.approx(2 / 3),
        "attribute": pytest.approx(2 / 3),
        "relation": 1,
        "count": 0,
    }
    assert caption.judge(Scene(())) == dict.fromkeys(POINTS, 0.0)


def test_two_of_a_shape_need_two_of_it() -> None:
    caption = LongCaption("", (("circle", "red"), ("circle", "blue"), ("cross", "green")), "left of")
    one = Scene((SceneObject("circle", "red", 4, 4, 7), SceneObject("cross", "green", 12, 18, 7)))
    assert caption.judge(one)["object"] == pytest.approx(2 / 3)
    assert np.isclose(caption.judge(one)["attribute"], 2 / 3)
